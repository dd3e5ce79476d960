package fabric

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

func TestCertificatesOfTheCAAreTrusted(t *testing.T) {
	folder := t.TempDir()
	ca, err := LoadOrCreateCA(folder)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateCA(folder) // the second start of a testnet
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := again.Issue("node1.test", "127.0.0.9")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{"node1.test": true, "127.0.0.9": true, "node2.test": false, "127.0.0.8": false} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()})
		if (err == nil) != good {
			t.Errorf("certificate for %s: %v", name, err)
		}
	}
}

func TestDNSAnswersFromTheZone(t *testing.T) {
	var zone Zone
	zone.AddAddress("node1.test", netip.MustParseAddr("127.0.0.9"))
	zone.AddSRV("_matrix-fed._tcp", "node1.test", "node1.test", 8448, 10, 5)
	server, err := ListenDNS("127.0.0.1:0", &zone)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- server.Run(ctx) }()

	ask := func(network, name string, kind uint16) *dns.Msg {
		t.Helper()
		client := dns.Client{Net: network}
		answer, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, kind), server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, network := range []string{"udp", "tcp"} {
		if got := ask(network, "NODE1.test.", dns.TypeA); len(got.Answer) != 1 || got.Answer[0].(*dns.A).A.String() != "127.0.0.9" {
			t.Errorf("%s A: %v", network, got)
		}
		if got := ask(network, "_matrix-fed._tcp.node1.test.", dns.TypeSRV); len(got.Answer) != 1 || got.Answer[0].(*dns.SRV).Port != 8448 {
			t.Errorf("%s SRV: %v", network, got)
		}
		if got := ask(network, "node1.test.", dns.TypeAAAA); got.Rcode != dns.RcodeSuccess || len(got.Answer) != 0 {
			t.Errorf("%s: a known name without such a record: %v", network, got)
		}
		if got := ask(network, "nobody.test.", dns.TypeA); got.Rcode != dns.RcodeNameError {
			t.Errorf("%s: an unknown name: %v", network, got)
		}
	}
	zone.Remove("node1.test")
	if got := ask("udp", "_matrix-fed._tcp.node1.test.", dns.TypeSRV); got.Rcode != dns.RcodeNameError {
		t.Errorf("a removed name: %v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPlacesAreDistinctAndFree(t *testing.T) {
	places, err := Places(600)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, place := range places {
		for _, address := range []string{place.Client(), place.Federation()} {
			if seen[address] {
				t.Errorf("%s is given twice", address)
			}
			seen[address] = true
		}
	}
	if err := free(places); err != nil {
		t.Error(err)
	}
	one, err := onePlace(3)
	if err != nil || one[0].ClientPort == one[1].ClientPort {
		t.Errorf("places on one address: %v, %v", one, err)
	}
}
