package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"hanse/node/appservice"
)

// applicationServices are those whose registrations are configured.
func (n *Node) applicationServices() (*appservice.Services, error) {
	registrations, errs := appservice.Load(n.config.ApplicationServices, n.name)
	if len(errs) > 0 {
		return nil, errors.Join(errs...) // Validate has found it, unless a file has changed since
	}
	roots, err := n.config.trustedCAs()
	if err != nil {
		return nil, fmt.Errorf("federation.trusted_cas: %w", err)
	}
	config := appservice.Config{
		Self: n.name, Registrations: registrations, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		UserAgent: "Hanse/" + Version(), Log: n.log,
	}
	if n.network != nil {
		config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			return n.network.Dial(ctx, &net.Dialer{}, network, address)
		}
	}
	return appservice.New(config)
}

// registerServiceStats makes metrics of what application services were sent. The label is a service's id: those are in the
// configuration, and few.
func (n *Node) registerServiceStats() {
	for service, stats := range n.services.Stats() {
		label := prometheus.Labels{"service": service}
		counter := func(name, help string, value func(appservice.Stats) int64) {
			n.telemetry.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: label},
				func() float64 { return float64(value(stats())) }))
		}
		gauge := func(name, help string, value func(appservice.Stats) float64) {
			n.telemetry.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: label},
				func() float64 { return value(stats()) }))
		}
		counter("hanse_application_service_transactions_total", "Transactions that an application service has taken.",
			func(s appservice.Stats) int64 { return s.Transactions })
		counter("hanse_application_service_events_total", "Events put into transactions to an application service.",
			func(s appservice.Stats) int64 { return s.Events })
		counter("hanse_application_service_ephemeral_total", "Typing, receipts and presence that an application service has taken.",
			func(s appservice.Stats) int64 { return s.Ephemeral })
		counter("hanse_application_service_messages_total", "Messages to devices put into transactions to an application service.",
			func(s appservice.Stats) int64 { return s.Messages })
		counter("hanse_application_service_failures_total", "Transactions that an application service did not take.",
			func(s appservice.Stats) int64 { return s.Failures })
		gauge("hanse_application_service_oldest_seconds", "For how long something has been waiting for an application service; of what was there at the start, since then.",
			func(s appservice.Stats) float64 { return s.Oldest.Seconds() })
	}
}
