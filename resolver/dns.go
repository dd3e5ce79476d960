package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns" // SRV records with their lifetimes, and a DNS server of one's choice: the standard library has neither
)

// Network is what a Resolver asks of the world. Its methods may be called concurrently.
type Network interface {
	// Addresses looks up the A and AAAA records of host, through CNAMEs. ttl is how long the answer counts. No
	// record is no error.
	Addresses(ctx context.Context, host string) (addrs []netip.Addr, ttl time.Duration, err error)
	// Services looks up the SRV records of name. No record is no error.
	Services(ctx context.Context, name string) (services []Service, ttl time.Duration, err error)
	// Dial connects to "ip:port". It has to use the dialer, which refuses denied addresses.
	Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error)
}

// asker answers the steps' questions from the caches and the network.
type asker struct{ r *Resolver }

func (a asker) wellKnown(ctx context.Context, host string) (WellKnown, error) {
	return a.r.wellKnown.get(ctx, host, func(ctx context.Context, before previous[WellKnown]) answer[WellKnown] {
		return a.r.lookupWellKnown(ctx, host, before)
	})
}

func (a asker) services(ctx context.Context, name string) ([]Service, error) {
	return a.r.services.get(ctx, name, func(ctx context.Context, before previous[[]Service]) answer[[]Service] {
		services, ttl, err := a.r.network.Services(ctx, name)
		if err != nil { // the steps go on as if there were none; where SRV records are never answered, each question costs seconds
			return before.instead(err, min(failedTTL<<min(before.failures, 8), absentTTL))
		}
		return answer[[]Service]{value: services, keep: bounded(ttl, len(services) > 0)}
	})
}

func (a asker) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(host); err == nil { // in an SRV record: wrong there, but deployed servers call it
		return []netip.Addr{literal}, nil
	}
	return a.r.addresses.get(ctx, host, func(ctx context.Context, before previous[[]netip.Addr]) answer[[]netip.Addr] {
		addrs, ttl, err := a.r.network.Addresses(ctx, host)
		if err != nil {
			return before.instead(err, failedTTL)
		}
		return answer[[]netip.Addr]{value: addrs[:min(len(addrs), maxAddresses)], keep: bounded(ttl, len(addrs) > 0)}
	})
}

// bounded is how long a DNS answer counts.
func bounded(ttl time.Duration, some bool) time.Duration {
	if !some {
		return absentTTL
	}
	return min(max(ttl, minTTL), maxTTL)
}

// RealNetwork is the Network of this machine, with the DNS server of that address or the system's.
func RealNetwork(server string) Network {
	if server == "" {
		return systemNetwork{&net.Resolver{PreferGo: true}}
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), "53")
	}
	return dnsNetwork{servers: func() ([]string, error) { return []string{server}, nil }}
}

// systemNetwork looks up addresses as every program of the machine does, /etc/hosts included.
type systemNetwork struct{ resolver *net.Resolver }

func (n systemNetwork) Addresses(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	if strings.Contains(host, ".") {
		host = dns.Fqdn(host) // server names are whole names: the search domains of resolv.conf stay out
	} // names without a dot are the machine's own business; /etc/hosts has them only as they are
	addrs, err := n.resolver.LookupNetIP(ctx, "ip", host)
	var failure *net.DNSError
	if errors.As(err, &failure) && failure.IsNotFound {
		return nil, 0, nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, systemTTL, err
}

func (n systemNetwork) Services(ctx context.Context, name string) ([]Service, time.Duration, error) {
	return n.servers().Services(ctx, name)
}

func (n systemNetwork) Alias(ctx context.Context, name string) (string, error) {
	return n.servers().Alias(ctx, name)
}

// servers asks the system's DNS servers.
func (n systemNetwork) servers() dnsNetwork {
	return dnsNetwork{servers: func() ([]string, error) { return systemServers("/etc/resolv.conf") }}
}

func (n systemNetwork) Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, network, address)
}

// systemServers are the DNS servers that the system names in the file. It is read each time: it may change while we
// run.
func systemServers(file string) ([]string, error) {
	config, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("no DNS server is known: %w", err)
	}
	servers := make([]string, len(config.Servers))
	for i, server := range config.Servers {
		servers[i] = net.JoinHostPort(server, config.Port)
	}
	if len(servers) == 0 {
		servers = []string{"127.0.0.1:53"} // what resolv.conf(5) says of an empty file
	}
	return servers, nil
}

// dnsNetwork asks DNS servers itself.
type dnsNetwork struct {
	servers func() ([]string, error) // in the order in which to ask them
}

func (n dnsNetwork) Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, network, address)
}

// Addresses asks for both kinds at once. IPv4 comes first, then the two take turns: more servers announce IPv6 that
// doesn't work than the other way round.
func (n dnsNetwork) Addresses(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	var v4, v6 records
	var err4, err6 error
	var group sync.WaitGroup
	group.Go(func() { v4, err4 = n.lookup(ctx, host, dns.TypeA) })
	group.Go(func() { v6, err6 = n.lookup(ctx, host, dns.TypeAAAA) })
	group.Wait()
	var addrs []netip.Addr
	ttl := maxTTL
	for i := range max(len(v4.list), len(v6.list)) {
		for _, kind := range [...]records{v4, v6} {
			if i < len(kind.list) {
				addrs = append(addrs, addressOf(kind.list[i]))
				ttl = min(ttl, kind.ttl)
			}
		}
	}
	if len(addrs) == 0 {
		return nil, 0, errors.Join(err4, err6)
	}
	return addrs, ttl, nil
}

func addressOf(record dns.RR) netip.Addr {
	var ip net.IP
	switch record := record.(type) {
	case *dns.A:
		ip = record.A
	case *dns.AAAA:
		ip = record.AAAA
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// Services asks for SRV records.
func (n dnsNetwork) Services(ctx context.Context, name string) ([]Service, time.Duration, error) {
	found, err := n.lookup(ctx, name, dns.TypeSRV)
	services := make([]Service, 0, len(found.list))
	for _, record := range found.list {
		if srv, ok := record.(*dns.SRV); ok {
			services = append(services, Service{Host: strings.TrimSuffix(srv.Target, "."), Port: srv.Port, Priority: srv.Priority, Weight: srv.Weight})
		}
	}
	return services, found.ttl, err
}

// Alias looks up the CNAME record of a name, for who wants to tell of it; "" if there is none.
func (n dnsNetwork) Alias(ctx context.Context, name string) (string, error) {
	found, err := n.lookup(ctx, name, dns.TypeCNAME)
	for _, record := range found.list {
		if alias, ok := record.(*dns.CNAME); ok {
			return strings.TrimSuffix(alias.Target, "."), nil
		}
	}
	return "", err
}

// records are the records of one name and kind.
type records struct {
	list []dns.RR
	ttl  time.Duration // the least of them and of the aliases on the way
}

// lookup asks for records of one kind, through aliases. No record is no error.
func (n dnsNetwork) lookup(ctx context.Context, name string, kind uint16) (records, error) {
	name = dns.Fqdn(name)
	found := records{ttl: maxTTL}
	for range maxAliases {
		reply, err := n.exchange(ctx, name, kind)
		if err != nil {
			return records{}, err
		}
		found.list, name = pick(reply.Answer, name, kind, &found.ttl)
		if len(found.list) > 0 || name == "" {
			return found, nil
		}
	}
	return records{}, fmt.Errorf("more than %d aliases", maxAliases)
}

// pick takes the records of one kind out of an answer, through the aliases in it. When the answer ends with an
// alias, next is the name to ask for now; "" when there is no such record.
func pick(answer []dns.RR, name string, kind uint16, ttl *time.Duration) (list []dns.RR, next string) {
	asked := name
	for range maxAliases {
		alias := ""
		for _, record := range answer {
			header := record.Header()
			if !strings.EqualFold(header.Name, name) {
				continue
			}
			if cname, ok := record.(*dns.CNAME); ok && kind != dns.TypeCNAME {
				alias = cname.Target
			} else if header.Rrtype != kind {
				continue
			} else {
				list = append(list, record)
			}
			*ttl = min(*ttl, time.Duration(header.Ttl)*time.Second)
		}
		if len(list) > 0 || alias == "" {
			break
		}
		name = alias
	}
	if len(list) == 0 && name != asked {
		return nil, name
	}
	return list, ""
}

// exchange puts one question to the servers, one after the other, until one answers. NXDOMAIN is an answer.
func (n dnsNetwork) exchange(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	servers, err := n.servers()
	if err != nil {
		return nil, err
	}
	question := new(dns.Msg).SetQuestion(name, kind)
	question.SetEdns0(1232, false) // the size that passes everywhere
	var last error
	for range dnsTries {
		for _, server := range servers {
			reply, err := exchangeOne(ctx, question, server)
			if err == nil {
				return reply, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			last = fmt.Errorf("DNS server %s, %s %s: %w", server, dns.TypeToString[kind], name, err)
		}
	}
	return nil, cmp.Or(last, errors.New("no DNS server is known"))
}

// exchangeOne puts one question to one server: by TCP if the answer is too long for UDP, without extensions if the
// server doesn't understand them.
func exchangeOne(ctx context.Context, question *dns.Msg, server string) (*dns.Msg, error) {
	question = question.Copy()
	network := "udp"
	var reply *dns.Msg
	for range 3 {
		question.Id = dns.Id()
		client := dns.Client{Net: network, Timeout: dnsTimeout, UDPSize: 1232}
		var err error
		if reply, _, err = client.ExchangeContext(ctx, question, server); err != nil {
			return nil, err
		}
		switch {
		case reply.Truncated && network == "udp":
			network = "tcp"
			continue
		case reply.Rcode == dns.RcodeFormatError && len(question.Extra) > 0:
			question.Extra = nil
			continue
		}
		break
	}
	if len(reply.Question) != 1 || reply.Question[0].Qtype != question.Question[0].Qtype ||
		!strings.EqualFold(reply.Question[0].Name, question.Question[0].Name) {
		return nil, errors.New("it answers another question")
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("it answers %s", dns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}
