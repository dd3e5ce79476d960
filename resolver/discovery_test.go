package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
)

// resolved is the targets as "address Host certificate-name step".
func resolved(ctx context.Context, r *Resolver, server string) []string {
	GinkgoHelper()
	targets, steps, err := r.Explain(ctx, id.ServerName(server))
	Expect(err).NotTo(HaveOccurred(), "steps: %v", steps)
	var got []string
	for _, t := range targets {
		number, _, _ := strings.Cut(t.Via, " ")
		got = append(got, fmt.Sprint(t.Addr, " ", t.Host, " ", t.TLSName, " ", number))
	}
	return got
}

var _ = Describe("server discovery over a real network", func() {
	const here = " 60 IN A 127.0.0.1"

	It("goes through the steps", func(ctx SpecContext) {
		r, l, z := newLab("known.test."+here, "other.test."+here, "plain.test."+here, "both.test."+here, "old.test."+here, "srv.test."+here,
			"_matrix-fed._tcp.both.test. 60 IN SRV 0 0 1001 srv.test.", "_matrix._tcp.both.test. 60 IN SRV 0 0 1002 srv.test.",
			"_matrix._tcp.old.test. 60 IN SRV 0 0 1003 srv.test.")
		l.web.serve("known.test", `{"m.server":"other.test:444"}`)

		Expect(resolved(ctx, r, "127.0.0.1:99")).To(Equal([]string{"127.0.0.1:99 127.0.0.1:99 127.0.0.1 1"}))
		Expect(resolved(ctx, r, "known.test:99")).To(Equal([]string{"127.0.0.1:99 known.test:99 known.test 2"}))
		Expect(l.web.count("known.test")).To(BeZero(), "a name with a port has no well-known")
		Expect(resolved(ctx, r, "known.test")).To(Equal([]string{"127.0.0.1:444 other.test:444 other.test 3.2"}))
		Expect(resolved(ctx, r, "both.test")).To(Equal([]string{"127.0.0.1:1001 both.test both.test 4"}))
		Expect(resolved(ctx, r, "old.test")).To(Equal([]string{"127.0.0.1:1003 old.test old.test 5"}))
		Expect(resolved(ctx, r, "plain.test")).To(Equal([]string{"127.0.0.1:8448 plain.test plain.test 6"}))
		Expect(z.count("_matrix-fed._tcp.plain.test SRV")).To(Equal(1))
	})

	It("goes on when nobody listens at port 443", func(ctx SpecContext) {
		r, l, _ := newLab("plain.test." + here)
		l.closed = true
		Expect(resolved(ctx, r, "plain.test")).To(Equal([]string{"127.0.0.1:8448 plain.test plain.test 6"}))
	})

	It("says what it tried when a server can't be found", func(ctx SpecContext) {
		r, _, _ := newLab()
		_, err := r.Resolve(ctx, "nowhere.test")
		var failure *Error
		Expect(errors.As(err, &failure)).To(BeTrue())
		Expect(err).To(MatchError("can't find server nowhere.test: the address of nowhere.test: there is none"))
		Expect(failure.Steps).To(HaveLen(4))
	})

	It("doesn't dial a name without an address", func(ctx SpecContext) {
		r, _, _ := newLab()
		_, err := r.DialContext(ctx, "tcp", "nowhere.test:1")
		Expect(err).To(MatchError("nowhere.test has no address"))
		_, err = r.DialContext(ctx, "tcp", "nowhere.test")
		Expect(err).To(HaveOccurred())
	})

	It("ends with its context", func(ctx SpecContext) {
		r, l, _ := newLab("slow.test." + here)
		l.web.handle("slow.test", func(_ http.ResponseWriter, in *http.Request) { <-in.Context().Done() })
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		_, err := r.Resolve(short, "slow.test")
		Expect(err).To(MatchError(context.DeadlineExceeded))
		l.web.serve("slow.test", `{"m.server":"127.0.0.1:5"}`)
		Expect(resolved(ctx, r, "slow.test")).To(HaveLen(1), "what was given up is not remembered")
	})

	It("finds localhost by the system's resolver", func(ctx SpecContext) {
		r := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
		Expect(resolved(ctx, r, "localhost:99")).To(ContainElement("127.0.0.1:99 localhost:99 localhost 2"))
	})

	Describe("well-known", func() {
		const elsewhere = "127.0.0.1:7 127.0.0.1:7 127.0.0.1 3.1"
		answer := `{"m.server":"127.0.0.1:7"}`
		var r *Resolver
		var l *lab
		BeforeEach(func() {
			r, l, _ = newLab("a.test."+here, "b.test."+here, "c.test."+here, "denied.test. 60 IN A 127.0.0.2")
		})
		redirect := func(from, to string) {
			l.web.handle(from, func(out http.ResponseWriter, in *http.Request) { http.Redirect(out, in, to, http.StatusFound) })
		}
		failsWith := func(ctx context.Context, what string) {
			GinkgoHelper()
			_, steps, err := r.Explain(ctx, "a.test")
			Expect(err).NotTo(HaveOccurred())
			Expect(steps[0].Err).To(MatchError(ContainSubstring(what)))
			Expect(steps[len(steps)-1].Number).To(Equal("6"))
		}

		It("says who asks", func(ctx SpecContext) {
			agent := ""
			l.web.handle("a.test", func(_ http.ResponseWriter, in *http.Request) { agent = in.Header.Get("User-Agent") })
			_, _ = r.Resolve(ctx, "a.test")
			Expect(agent).To(Equal("Hanse test"))
		})
		It("follows redirects", func(ctx SpecContext) {
			redirect("a.test", "https://b.test/.well-known/matrix/server")
			redirect("b.test", "https://c.test/.well-known/matrix/server")
			l.web.serve("c.test", answer)
			Expect(resolved(ctx, r, "a.test")).To(Equal([]string{elsewhere}))
		})
		It("doesn't follow redirects for ever", func(ctx SpecContext) {
			redirect("a.test", "https://b.test/.well-known/matrix/server")
			redirect("b.test", "https://a.test/.well-known/matrix/server")
			failsWith(ctx, "more than 5 redirects")
			Expect(l.web.count("a.test") + l.web.count("b.test")).To(Equal(maxRedirects + 1))
		})
		It("doesn't follow redirects to plain HTTP", func(ctx SpecContext) {
			redirect("a.test", "http://b.test/.well-known/matrix/server")
			failsWith(ctx, "not https")
		})
		It("doesn't follow redirects to denied addresses", func(ctx SpecContext) {
			redirect("a.test", "https://denied.test/.well-known/matrix/server")
			failsWith(ctx, "127.0.0.2 is refused (loopback)")
		})
		It("doesn't follow redirects to denied address literals", func(ctx SpecContext) {
			redirect("a.test", "https://169.254.169.254/latest/meta-data")
			failsWith(ctx, "169.254.169.254 is refused (link-local)")
		})
		It("takes no answer but 200", func(ctx SpecContext) {
			l.web.handle("a.test", func(out http.ResponseWriter, _ *http.Request) {
				out.WriteHeader(http.StatusCreated)
				_, _ = out.Write([]byte(answer))
			})
			failsWith(ctx, "201")
		})
		It("takes no answer that isn't JSON", func(ctx SpecContext) {
			l.web.serve("a.test", `<html>`)
			failsWith(ctx, "not the JSON")
		})
		It("reads no endless answer", func(ctx SpecContext) {
			l.web.serve("a.test", strings.Repeat(" ", maxWellKnown)+answer)
			failsWith(ctx, "more than 65536 bytes")
		})
		It("trusts only its roots", func(ctx SpecContext) {
			l.web.serve("a.test", answer)
			r = New(Config{Network: l, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
			failsWith(ctx, "certificate")
		})
		It("is asked once by many", func(ctx SpecContext) {
			l.web.serve("a.test", answer)
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					defer GinkgoRecover()
					Expect(resolved(ctx, r, "a.test")).To(Equal([]string{elsewhere}))
				})
			}
			group.Wait()
			Expect(l.web.count("a.test")).To(Equal(1))
		})
		It("isn't asked again at once after a failure", func(ctx SpecContext) {
			for range 5 {
				Expect(resolved(ctx, r, "a.test")).To(HaveLen(1))
				r.Forget("a.test")
			}
			Expect(l.web.count("a.test")).To(Equal(1))
		})
		It("is asked again after Forget", func(ctx SpecContext) {
			l.web.serve("a.test", answer)
			Expect(resolved(ctx, r, "a.test")).To(Equal([]string{elsewhere}))
			l.web.serve("a.test", `{"m.server":"127.0.0.1:8"}`)
			Expect(resolved(ctx, r, "a.test")).To(Equal([]string{elsewhere}))
			r.Forget("a.test")
			Expect(resolved(ctx, r, "a.test")[0]).To(HavePrefix("127.0.0.1:8 "))
		})
		It("counts on while the host doesn't answer, but not against its word", func(ctx SpecContext) {
			before := previous[WellKnown]{value: WellKnown{Server: "old.test"}, told: time.Now().Add(-25 * time.Hour)}
			l.closed = true
			got := r.lookupWellKnown(ctx, "a.test", before)
			Expect(got.value.Server).To(BeEquivalentTo("old.test"))
			Expect(got.err).NotTo(HaveOccurred())
			before.told = time.Now().Add(-49 * time.Hour)
			Expect(r.lookupWellKnown(ctx, "a.test", before).err).To(HaveOccurred(), "too old")
			before.told = time.Now()
			l.closed = false
			Expect(r.lookupWellKnown(ctx, "a.test", before).err).To(MatchError(ContainSubstring("404")))
		})
		It("counts on while the host says that it can't answer now", func(ctx SpecContext) {
			before := previous[WellKnown]{value: WellKnown{Server: "old.test"}, told: time.Now().Add(-25 * time.Hour)}
			for status, counts := range map[int]bool{429: true, 500: true, 502: true, 503: true, 400: false, 403: false, 404: false, 410: false} {
				l.web.handle("a.test", func(out http.ResponseWriter, _ *http.Request) { out.WriteHeader(status) })
				Expect(r.lookupWellKnown(ctx, "a.test", before).err == nil).To(Equal(counts), "%d", status)
			}
		})
		It("backs off", func(ctx SpecContext) {
			var keeps []time.Duration
			for failures := range 20 {
				keeps = append(keeps, r.lookupWellKnown(ctx, "a.test", previous[WellKnown]{failures: failures}).keep)
			}
			Expect(keeps[:3]).To(Equal([]time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}))
			Expect(keeps[19]).To(Equal(time.Hour))
		})
	})

	Describe("denied addresses", func() {
		It("are left out of the targets", func(ctx SpecContext) {
			r, _, _ := newLab("mixed.test. 60 IN A 10.0.0.1", "mixed.test. 60 IN A 127.0.0.1", "mixed.test. 60 IN AAAA fe80::1")
			Expect(resolved(ctx, r, "mixed.test:1")).To(Equal([]string{"127.0.0.1:1 mixed.test:1 mixed.test 2"}))
		})
		It("make a server unreachable if it has no others", func(ctx SpecContext) {
			r, _, _ := newLab("private.test. 60 IN A 10.0.0.1")
			for _, name := range []string{"private.test", "private.test:1", "10.0.0.1", "[::ffff:10.0.0.1]:5"} {
				_, err := r.Resolve(ctx, id.ServerName(name))
				var refusal *DeniedError
				Expect(errors.As(err, &refusal)).To(BeTrue(), "%s: %v", name, err)
			}
		})
	})
})
