package node

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateSoon is how long before its end a certificate should have been renewed.
const certificateSoon = 20 * 24 * time.Hour

// renewalDue is when a certificate should have been renewed at the latest: certificateSoon before its end, later if it lives for less than
// 90 days. ACME clients do it when a third of its life is left, 30 days at most.
func renewalDue(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-min(certificateSoon, leaf.NotAfter.Sub(leaf.NotBefore)*2/9))
}

// certificatesInUse are those that who connects is shown, by file, and those got by ACME by name.
func (n *Node) certificatesInUse() map[string]*x509.Certificate {
	all := map[string]*x509.Certificate{}
	for _, f := range n.certificates {
		if leaf := f.leaf(); leaf != nil {
			all[f.certificate] = leaf
		}
	}
	if n.acmeStore != nil {
		n.acmeStore.inUse(all)
	}
	return all
}

// leaf is the certificate in use.
func (f *certificateFiles) leaf() *x509.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pair.Leaf
}

// watchCertificates says, until ctx ends, which certificates in use should have been renewed, and writes what ACME got and could not be
// written.
func (n *Node) watchCertificates(ctx context.Context) error {
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	said := map[string]time.Time{}
	for {
		sayDue(n.certificatesInUse(), said, n.log)
		if n.acmeStore != nil {
			n.acmeStore.write(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// duePause is how often the log has that a certificate should have been renewed.
const duePause = 24 * time.Hour

// sayDue warns of each certificate that should have been renewed. said is when the log had it last.
func sayDue(all map[string]*x509.Certificate, said map[string]time.Time, log *slog.Logger) {
	now := time.Now()
	for name, leaf := range all {
		if last, known := said[name]; now.Before(renewalDue(leaf)) || known && now.Sub(last) < duePause {
			continue
		}
		said[name] = now
		until := leaf.NotAfter.UTC().Format(time.RFC3339)
		if now.After(leaf.NotAfter) {
			log.Error("a certificate has expired, and nobody will connect: renew it, or see what the log says of ACME", "certificate", name, "valid_until", until)
		} else {
			log.Warn("a certificate should have been renewed by now: renew it, or see what the log says of ACME", "certificate", name, "valid_until", until)
		}
	}
}

// registerCertificates makes a gauge of when the certificates in use end.
func (n *Node) registerCertificates() {
	n.telemetry.Registry.MustRegister(certificateGauge{n.certificatesInUse, prometheus.NewDesc("hanse_certificate_valid_until_seconds",
		"Until when a certificate in use is valid, in seconds since 1970, by file, or by name if it was got by ACME.", []string{"certificate"}, nil)})
}

// certificateGauge implements prometheus.Collector.
type certificateGauge struct {
	inUse func() map[string]*x509.Certificate
	what  *prometheus.Desc
}

func (g certificateGauge) Describe(to chan<- *prometheus.Desc) { to <- g.what }

func (g certificateGauge) Collect(to chan<- prometheus.Metric) {
	for name, leaf := range g.inUse() {
		to <- prometheus.MustNewConstMetric(g.what, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()), name)
	}
}
