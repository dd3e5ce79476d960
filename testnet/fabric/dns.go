package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// recordTTL is short so that a change in a testnet is seen at once.
const recordTTL = 5 // seconds

// Zone is the set of DNS records of a testnet. Safe for concurrent use; the zero value is an empty zone.
type Zone struct {
	mu      sync.RWMutex
	records map[zoneKey][]dns.RR // guarded by mu
	names   map[string]bool      // guarded by mu
}

type zoneKey struct {
	name string
	kind uint16
}

// AddAddress adds an A or AAAA record.
func (z *Zone) AddAddress(name string, address netip.Addr) {
	header := dns.RR_Header{Name: dns.Fqdn(name), Class: dns.ClassINET, Ttl: recordTTL}
	if address.Is4() {
		header.Rrtype = dns.TypeA
		z.add(&dns.A{Hdr: header, A: address.AsSlice()})
		return
	}
	header.Rrtype = dns.TypeAAAA
	z.add(&dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
}

// AddSRV adds a service record: service is "_matrix-fed._tcp" or "_matrix._tcp".
func (z *Zone) AddSRV(service, name, target string, port, priority, weight uint16) {
	z.add(&dns.SRV{
		Hdr:      dns.RR_Header{Name: dns.Fqdn(service + "." + name), Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: recordTTL},
		Priority: priority, Weight: weight, Port: port, Target: dns.Fqdn(target),
	})
}

// AddAlias adds a CNAME record, which is the answer to each question about a name that has no record of the kind.
func (z *Zone) AddAlias(name, target string) {
	z.add(&dns.CNAME{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: recordTTL}, Target: dns.Fqdn(target)})
}

// Remove deletes every record of a name, the service records below it included.
func (z *Zone) Remove(name string) {
	name = strings.ToLower(dns.Fqdn(name))
	z.mu.Lock()
	defer z.mu.Unlock()
	for key := range z.records {
		if key.name == name || strings.HasSuffix(key.name, "._tcp."+name) {
			delete(z.records, key)
			delete(z.names, key.name)
		}
	}
}

func (z *Zone) add(record dns.RR) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records, z.names = map[zoneKey][]dns.RR{}, map[string]bool{}
	}
	header := record.Header()
	header.Name = strings.ToLower(header.Name)
	key := zoneKey{header.Name, header.Rrtype}
	z.records[key] = append(z.records[key], record)
	z.names[header.Name] = true
}

// ServeDNS answers from the zone: NXDOMAIN for a name that it does not hold.
func (z *Zone) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	answer := new(dns.Msg).SetReply(request)
	answer.Authoritative = true
	if len(request.Question) == 1 {
		z.mu.RLock()
		question := request.Question[0]
		name := strings.ToLower(question.Name)
		if answer.Answer = z.records[zoneKey{name, question.Qtype}]; len(answer.Answer) == 0 {
			answer.Answer = z.records[zoneKey{name, dns.TypeCNAME}]
		}
		if !z.names[name] {
			answer.Rcode = dns.RcodeNameError
		}
		z.mu.RUnlock()
	} else {
		answer.Rcode = dns.RcodeFormatError
	}
	_ = w.WriteMsg(answer) // a client that went away asks again
}

// DNS is a DNS server for one zone, bound to its address.
type DNS struct {
	udp net.PacketConn
	tcp net.Listener
	z   *Zone
}

// ListenDNS binds address ("127.0.0.1:0" takes a free port) for UDP and TCP.
func ListenDNS(address string, z *Zone) (*DNS, error) {
	var failures []error
	for range 20 { // a free TCP port may be taken for UDP: try another
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("start the testnet's DNS server: %w", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return &DNS{udp: udp, tcp: tcp, z: z}, nil
		}
		failures = append(failures, err, tcp.Close())
	}
	return nil, fmt.Errorf("start the testnet's DNS server: %w", errors.Join(failures...))
}

// Addr is where the server answers, as "ip:port".
func (d *DNS) Addr() string { return d.tcp.Addr().String() }

// Run answers until ctx ends.
func (d *DNS) Run(ctx context.Context) error {
	servers := []*dns.Server{{PacketConn: d.udp, Handler: d.z}, {Listener: d.tcp, Handler: d.z}}
	failed := make(chan error, len(servers))
	for _, server := range servers {
		go func() { failed <- server.ActivateAndServe() }()
	}
	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		running--
	}
	_ = d.udp.Close() // closing the sockets ends the servers, started or not
	_ = d.tcp.Close()
	for range running {
		<-failed
	}
	return err
}
