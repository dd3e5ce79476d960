package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("DNS", func() {
	var z *zone
	var n dnsNetwork
	BeforeEach(func() {
		z = startZone()
		n = dnsNetwork{servers: func() ([]string, error) { return []string{z.addr}, nil }}
	})
	addresses := func(ctx context.Context, host string) []string {
		GinkgoHelper()
		addrs, _, err := n.Addresses(ctx, host)
		Expect(err).NotTo(HaveOccurred())
		texts := []string{}
		for _, a := range addrs {
			texts = append(texts, a.String())
		}
		return texts
	}

	It("gives addresses of both kinds in turn, with the least lifetime", func(ctx SpecContext) {
		z.add("a.test. 300 IN AAAA 2001:db8::1", "a.test. 300 IN AAAA 2001:db8::2", "a.test. 100 IN A 192.0.2.1")
		Expect(addresses(ctx, "a.test")).To(Equal([]string{"192.0.2.1", "2001:db8::1", "2001:db8::2"}))
		_, ttl, _ := n.Addresses(ctx, "a.test")
		Expect(ttl).To(Equal(100 * time.Second))
	})
	It("takes capitals as they come", func(ctx SpecContext) {
		z.add("a.test. 300 IN A 192.0.2.1")
		Expect(addresses(ctx, "A.Test")).To(Equal([]string{"192.0.2.1"}))
	})
	It("follows aliases, asking again where the answer ends with one", func(ctx SpecContext) {
		z.add("a.test. 300 IN CNAME b.test.", "b.test. 20 IN CNAME c.test.", "c.test. 300 IN A 192.0.2.1")
		Expect(addresses(ctx, "a.test")).To(Equal([]string{"192.0.2.1"}))
		_, ttl, _ := n.Addresses(ctx, "a.test")
		Expect(ttl).To(Equal(20 * time.Second))
	})
	It("follows aliases within an answer", func(ctx SpecContext) {
		z.answer("a.test", func(request, reply *dns.Msg) {
			if request.Question[0].Qtype == dns.TypeA {
				reply.Rcode = dns.RcodeSuccess
				for _, line := range []string{"c.test. 9 IN A 192.0.2.7", "b.test. 9 IN CNAME c.test.", "a.test. 9 IN CNAME b.test.", "x.test. 9 IN A 192.0.2.8"} {
					record, _ := dns.NewRR(line)
					reply.Answer = append(reply.Answer, record)
				}
			}
		})
		Expect(addresses(ctx, "a.test")).To(Equal([]string{"192.0.2.7"}))
		Expect(z.count("b.test A")).To(BeZero())
	})
	It("doesn't follow aliases for ever", func(ctx SpecContext) {
		z.add("a.test. 300 IN CNAME b.test.", "b.test. 300 IN CNAME a.test.")
		_, _, err := n.Addresses(ctx, "a.test")
		Expect(err).To(MatchError(ContainSubstring("more than 8 aliases")))
	})
	It("has no error for what doesn't exist", func(ctx SpecContext) {
		z.add("txt.test. 300 IN TXT x")
		Expect(addresses(ctx, "nowhere.test")).To(BeEmpty())
		Expect(addresses(ctx, "txt.test")).To(BeEmpty())
		services, _, err := n.Services(ctx, "_matrix-fed._tcp.nowhere.test")
		Expect(services).To(BeEmpty())
		Expect(err).NotTo(HaveOccurred())
	})
	It("has an error for what can't be known", func(ctx SpecContext) {
		z.answer("broken.test", func(_, reply *dns.Msg) { reply.Rcode = dns.RcodeServerFailure })
		_, _, err := n.Addresses(ctx, "broken.test")
		Expect(err).To(MatchError(ContainSubstring("SERVFAIL")))
		Expect(z.count("broken.test A")).To(Equal(dnsTries))
	})
	It("takes one kind of address when the other can't be known", func(ctx SpecContext) {
		z.add("half.test. 300 IN A 192.0.2.1")
		z.answer("half.test", func(request, reply *dns.Msg) {
			if request.Question[0].Qtype == dns.TypeAAAA {
				reply.Rcode = dns.RcodeRefused
			}
		})
		Expect(addresses(ctx, "half.test")).To(Equal([]string{"192.0.2.1"}))
	})
	It("takes long answers by TCP", func(ctx SpecContext) {
		for i := range 60 {
			z.add(fmt.Sprintf("_matrix-fed._tcp.many.test. 300 IN SRV %d 0 8448 some-quite-long-name-%d.many.test.", i, i))
		}
		services, _, err := n.Services(ctx, "_matrix-fed._tcp.many.test")
		Expect(err).NotTo(HaveOccurred())
		Expect(services).To(HaveLen(60))
		Expect(z.overTCP()).To(Equal(1))
	})
	It("asks without extensions where they aren't understood", func(ctx SpecContext) {
		z.add("old.test. 300 IN A 192.0.2.1")
		z.answer("old.test", func(request, reply *dns.Msg) {
			if request.IsEdns0() != nil {
				reply.Rcode, reply.Answer = dns.RcodeFormatError, nil
			}
		})
		Expect(addresses(ctx, "old.test")).To(Equal([]string{"192.0.2.1"}))
	})
	It("takes no answer to another question", func(ctx SpecContext) {
		z.answer("a.test", func(_, reply *dns.Msg) { reply.Question[0].Name = "b.test." })
		_, _, err := n.Addresses(ctx, "a.test")
		Expect(err).To(MatchError(ContainSubstring("another question")))
	})
	It("asks the next server when one doesn't answer", func(ctx SpecContext) {
		z.add("a.test. 300 IN A 192.0.2.1")
		n.servers = func() ([]string, error) { return []string{"127.0.0.1:1", z.addr}, nil }
		Expect(addresses(ctx, "a.test")).To(Equal([]string{"192.0.2.1"}))
	})
	It("reads services", func(ctx SpecContext) {
		z.add("_matrix._tcp.a.test. 30 IN SRV 1 2 3 b.test.", "_matrix-fed._tcp.a.test. 30 IN SRV 0 0 0 .")
		services, ttl, err := n.Services(ctx, "_matrix._tcp.a.test")
		Expect(err).NotTo(HaveOccurred())
		Expect(services).To(Equal([]Service{{Host: "b.test", Port: 3, Priority: 1, Weight: 2}}))
		Expect(ttl).To(Equal(30 * time.Second))
		services, _, err = n.Services(ctx, "_matrix-fed._tcp.a.test")
		Expect(err).NotTo(HaveOccurred())
		Expect(services).To(Equal([]Service{{}}))
	})
	It("takes an address for the name of a service's host", func(ctx SpecContext) {
		r, _, _ := newLab("_matrix-fed._tcp.a.test. 60 IN SRV 1 1 99 127.0.0.1.")
		Expect(resolved(ctx, r, "a.test")).To(Equal([]string{"127.0.0.1:99 a.test a.test 4"}))
	})

	It("is asked by address, with or without the port", func() {
		for given, want := range map[string]string{"192.0.2.53": "192.0.2.53:53", "192.0.2.53:5353": "192.0.2.53:5353", "2001:db8::53": "[2001:db8::53]:53", "[2001:db8::53]": "[2001:db8::53]:53"} {
			servers, err := RealNetwork(given).(dnsNetwork).servers()
			Expect(err).NotTo(HaveOccurred())
			Expect(servers).To(Equal([]string{want}))
		}
	})
	It("reads the system's servers", func() {
		file := filepath.Join(GinkgoT().TempDir(), "resolv.conf")
		_, err := systemServers(file)
		Expect(err).To(MatchError(ContainSubstring("no DNS server is known")))
		for text, want := range map[string][]string{
			"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch x.test\n": {"192.0.2.1:53", "[2001:db8::1]:53"},
			"# nothing\n": {"127.0.0.1:53"},
		} {
			Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
			Expect(systemServers(file)).To(Equal(want))
		}
	})
	It("bounds lifetimes", func() {
		Expect(bounded(0, true)).To(Equal(minTTL))
		Expect(bounded(24*time.Hour, true)).To(Equal(maxTTL))
		Expect(bounded(time.Hour, false)).To(Equal(absentTTL))
	})
	It("caches what it was told", func(ctx SpecContext) {
		r := New(Config{DNSServer: z.addr, Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
		z.add("a.test. 300 IN A 192.0.2.1")
		for range 3 {
			Expect(resolved(ctx, r, "a.test:1")).To(HaveLen(1))
		}
		Expect(z.count("a.test A")).To(Equal(1))
		r.Forget("a.test:1")
		Expect(resolved(ctx, r, "a.test:1")).To(HaveLen(1))
		Expect(z.count("a.test A")).To(Equal(2))
	})
})
