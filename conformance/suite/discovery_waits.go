package suite

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

// longest is how long a server may wait for a well-known file before it goes on: a user waits for the answer.
const longest = time.Minute

var _ = Describe("Discovery: well-known, slow and kept", Label("s2s:discovery"), Label(labelNames), Serial, func() {
	It("3. is waited for, and holds up nobody else",
		follows(discoverySection, "a regular HTTPS request may take its time; another server has nothing to do with it"), func(ctx SpecContext) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0, "machine."+name)
			target := machine(name)
			asked, release := make(chan struct{}, 1), make(chan struct{})
			delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				asked <- struct{}{}
				select {
				case <-release:
					wellKnown(fmt.Sprintf("%s:%d", target, port))(w, r, next)
				case <-r.Context().Done():
				}
			})
			ended := make(chan struct{})
			go func() {
				defer GinkgoRecover()
				defer close(ended)
				found(ctx, p, p.Name)
			}()
			Eventually(asked).Should(Receive())
			other := newPeer()
			found(ctx, other, other.Name)
			Expect(ended).NotTo(BeClosed())
			close(release)
			Eventually(ended).Should(BeClosed())
		})

	// One wait for both: it is the server's to say how long it is.
	It("3. is not waited for without end",
		says(discoverySection, "3. If the response is invalid (bad JSON, missing properties, non-200 response, etc), skip to step 4."), func(ctx SpecContext) {
			if !places[2].WellKnown {
				Skip("port 443 of a loopback address may not be bound here")
			}
			silent, endless := freshName(), freshName()
			host := startPeer(peer.Config{Name: id.ServerName(silent), Listen: net.JoinHostPort(ip(), "443"), CertificateNames: []string{silent, endless}})
			host.On("well-known", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Host == silent {
					peer.Hang()(w, r, next)
				}
				for r.Context().Err() == nil {
					_, _ = io.WriteString(w, " ") // until who asks goes away
					_ = http.NewResponseController(w).Flush()
					time.Sleep(20 * time.Millisecond)
				}
			})
			ended := make(chan string, 2)
			for _, name := range []string{silent, endless} {
				p, port := listenAt(id.ServerName(name), 0)
				zone.AddSRV("_matrix-fed._tcp", name, machine(name), port, 10, 0)
				zone.AddAddress(name, places[2].IP)
				go func() {
					defer GinkgoRecover()
					defer func() { ended <- name }()
					found(ctx, p, p.Name)
				}()
			}
			for range 2 {
				Eventually(ended).WithTimeout(longest).Should(Receive())
			}
		})

	DescribeTable("3. is nothing where the answer breaks off",
		says(discoverySection, "3. If the response is invalid (bad JSON, missing properties, non-200 response, etc), skip to step 4."), func(ctx SpecContext, hook peer.Hook) {
			name := freshName()
			p, port := listenAt(id.ServerName(name), 0)
			zone.AddSRV("_matrix-fed._tcp", name, machine(name), port, 10, 0)
			delegate(name, hook)
			Expect(found(ctx, p, p.Name).Host).To(Equal(name))
		},
		Entry("before it", peer.Hook(func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) })),
		Entry("in its middle", peer.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			const whole = `{"m.server":"nowhere.test:1"}`
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)+1))
			_, _ = io.WriteString(w, whole) // one byte less than promised
			panic(http.ErrAbortHandler)
		})),
	)

	// keeps asks twice, and the second time where another answer would be given.
	keeps := func(ctx SpecContext, first func(target string) peer.Hook, direct bool) {
		GinkgoHelper()
		name := freshName()
		var certificate []string
		if !direct {
			certificate = []string{"machine." + name}
		}
		p, port := listenAt(id.ServerName(name), 0, certificate...)
		target := machine(name)
		if direct {
			zone.AddSRV("_matrix-fed._tcp", name, target, port, 10, 0)
		}
		var asked atomic.Int32
		delegate(name, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if asked.Add(1) == 1 {
				first(fmt.Sprintf("%s:%d", target, port))(w, r, next)
			} else {
				wellKnown("nowhere.test:1")(w, r, next)
			}
		})
		found(ctx, p, p.Name)
		_, err := profileOf(ctx, id.UserID("@nobody:"+name))
		Expect(status(err)).To(Equal(http.StatusNotFound), "%s", errorText(err))
		Expect(p.Requests("profile")).To(HaveLen(2))
		Expect(asked.Load()).To(BeEquivalentTo(1))
	}

	DescribeTable("3. is kept while its header says so",
		says(discoverySection, "3. Servers should respect the cache control headers present on the response, or use a sensible default when headers are not present."), func(ctx SpecContext, header string, value func() string) {
			keeps(ctx, func(target string) peer.Hook {
				return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					w.Header().Set(header, value())
					wellKnown(target)(w, r, next)
				}
			}, false)
		},
		Entry("Cache-Control: max-age=3600", "Cache-Control", func() string { return "max-age=3600" }),
		Entry("Cache-Control: public, max-age=3600, must-revalidate", "Cache-Control", func() string { return "public, max-age=3600, must-revalidate" }),
		Entry("Expires, in an hour", "Expires", func() string { return time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) }),
	)

	DescribeTable("3. is not asked again at once after an error",
		says(discoverySection, "3. Errors are recommended to be cached for up to an hour, and servers are encouraged to exponentially back off for repeated failures."), func(ctx SpecContext, hook peer.Hook) {
			keeps(ctx, func(string) peer.Hook { return hook }, true)
		},
		Entry("500", peer.Fail(http.StatusInternalServerError, "M_UNKNOWN")),
		Entry("bad JSON", peer.Answer(http.StatusOK, `{"m.server":`)),
		Entry("another server's name that is none", peer.Answer(http.StatusOK, `{"m.server":"a b:c"}`)),
	)
})
