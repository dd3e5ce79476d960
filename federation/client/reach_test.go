package client_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/resolver"
)

// version answers like /version and remembers the requests.
type version struct {
	mu       sync.Mutex
	requests []*http.Request
}

func (v *version) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.requests = append(v.requests, r)
	v.mu.Unlock()
	_, _ = w.Write([]byte(`{"server":{"name":"x","version":"1"}}`))
}

func (v *version) last() *http.Request {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests[len(v.requests)-1]
}

var _ = Describe("reaching a server", func() {
	var (
		w   *world
		v   *version
		ctx context.Context
	)
	BeforeEach(func() {
		w, v, ctx = newWorld(), &version{}, context.Background()
	})

	It("uses the target's Host header and certificate name", func() {
		srv := w.serve(v, true, "delegated.example")
		w.dir.targets[peer] = []resolver.Target{{Addr: address(srv), Host: "matrix.example:4848", TLSName: "delegated.example"}}
		_, err := w.client().Version(ctx, peer)
		Expect(err).NotTo(HaveOccurred())
		Expect(v.last().Host).To(Equal("matrix.example:4848"))
		Expect(v.last().TLS.ServerName).To(Equal("delegated.example"))
		Expect(v.last().Header.Get("Authorization")).To(BeEmpty())
		Expect(v.last().Header.Get("User-Agent")).To(Equal("Hanse"))
	})

	It("takes IP literals, without SNI", func() {
		srv := w.serve(v, true, "127.0.0.1")
		w.dir.targets["127.0.0.1:1"] = []resolver.Target{{Addr: address(srv), Host: "127.0.0.1:1", TLSName: "127.0.0.1"}}
		_, err := w.client().Version(ctx, "127.0.0.1:1")
		Expect(err).NotTo(HaveOccurred())
		Expect(v.last().TLS.ServerName).To(BeEmpty())
		Expect(v.last().Host).To(Equal("127.0.0.1:1"))
	})

	It("takes IPv6 literals", func() {
		listener, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			Skip("no IPv6 here")
		}
		srv := httptest.NewUnstartedServer(v)
		_ = srv.Listener.Close()
		srv.Listener = listener
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate("::1")}}
		srv.StartTLS()
		DeferCleanup(srv.Close)
		w.dir.targets["[::1]"] = []resolver.Target{{Addr: address(srv), Host: "[::1]", TLSName: "::1"}}
		_, err = w.client().Version(ctx, "[::1]")
		Expect(err).NotTo(HaveOccurred())
		Expect(v.last().Host).To(Equal("[::1]"))
	})

	It("tries the next address, after a refused connection and after a wrong certificate", func() {
		wrong := w.serve(v, true, "other.example")
		right := w.serve(v, true, string(peer))
		w.dir.targets[peer] = []resolver.Target{
			{Addr: closedPort(), Host: string(peer), TLSName: string(peer)}, target(wrong, string(peer)), target(right, string(peer)),
		}
		_, err := w.client().Version(ctx, peer)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.dir.forgot).To(BeEmpty())
	})

	It("refuses a certificate for another name, and one of an unknown CA", func() {
		srv := w.serve(v, true, "other.example")
		w.dir.targets[peer] = []resolver.Target{target(srv, string(peer))}
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageTLS))
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Unreachable()).To(BeTrue())
		Expect(e.Error()).To(ContainSubstring("other.example"))
		Expect(w.dir.forgot).To(Equal([]id.ServerName{peer}))

		stranger := newWorld().serve(v, true, string(peer))
		w.dir.targets[peer] = []resolver.Target{target(stranger, string(peer))}
		Expect(failure(second(w.client().Version(ctx, peer))).Stage).To(Equal(client.StageTLS))
		Expect(v.requests).To(BeEmpty())
	})

	It("says when nobody listens", func() {
		w.dir.targets[peer] = []resolver.Target{{Addr: closedPort(), Host: string(peer), TLSName: string(peer)}}
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageConnect))
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Timeout).To(BeFalse())
		Expect(e.Status).To(BeZero())
		Expect(w.dir.forgot).To(Equal([]id.ServerName{peer}))
	})

	It("says when the server can't be found", func() {
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageResolve))
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Server).To(Equal(peer))
		w.dir.targets[peer] = nil
		Expect(failure(second(w.client().Version(ctx, peer))).Stage).To(Equal(client.StageResolve))
	})

	It("tells a server that can't be reached from one that is slow", func() {
		w.config.Timeouts = client.Timeouts{Connect: 30 * time.Millisecond}
		normal := w.config.Dial
		w.config.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		w.peer(v)
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageConnect))
		Expect(e.Timeout).To(BeTrue())

		w.config.Dial = normal
		w.config.Timeouts = client.Timeouts{Short: 60 * time.Millisecond}
		release := make(chan struct{})
		DeferCleanup(func() { close(release) })
		w.peer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		e = failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageResponse))
		Expect(e.Timeout).To(BeTrue())
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Unreachable()).To(BeFalse())
		Expect(e.Error()).To(ContainSubstring("slow"))
	})

	It("bounds a handshake that does not go on", func() {
		w.config.Timeouts = client.Timeouts{Connect: time.Second}
		listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, says nothing
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(listener.Close)
		addr := netip.MustParseAddrPort(listener.Addr().String())
		w.dir.targets[peer] = []resolver.Target{{Addr: addr, Host: string(peer), TLSName: string(peer)}}
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageTLS))
		Expect(e.Timeout).To(BeTrue())
	})

	It("ends with its context", func() {
		release := make(chan struct{})
		DeferCleanup(func() { close(release) })
		ctx, cancel := context.WithCancel(ctx)
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { cancel() }, // the client is told before
		})
		w.peer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e).To(MatchError(context.Canceled))
		Expect(e.Stage).To(Equal(client.StageResponse))
		Expect(w.dir.forgot).To(BeEmpty())
	})

	It("never dials without a guard by accident", func() {
		w.config.Dial = nil
		w.peer(v)
		e := failure(second(w.client().Version(ctx, peer)))
		Expect(e.Stage).To(Equal(client.StageConnect))
		Expect(e.Error()).To(ContainSubstring("no dialer"))
	})
})

// second is the error of a call whose answer doesn't matter.
func second[T any](_ T, err error) error { return err }

var _ = Describe("connections", func() {
	var (
		w   *world
		v   *version
		ctx context.Context
	)
	BeforeEach(func() {
		w, v, ctx = newWorld(), &version{}, context.Background()
	})

	start := func(http2 bool, names ...string) (*httptest.Server, *atomic.Int64) {
		var n atomic.Int64
		srv := httptest.NewUnstartedServer(v)
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate(names...)}}
		srv.EnableHTTP2 = http2
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				n.Add(1)
			}
		}
		srv.StartTLS()
		DeferCleanup(srv.Close)
		return srv, &n
	}

	DescribeTable("are used again", func(http2 bool) {
		srv, n := start(http2, string(peer))
		w.dir.targets[peer] = []resolver.Target{target(srv, string(peer))}
		c := w.client()
		for range 10 {
			Expect(second(c.Version(ctx, peer))).To(Succeed())
		}
		Expect(n.Load()).To(BeEquivalentTo(1))
		Expect(v.last().ProtoMajor == 2).To(Equal(http2))
	}, Entry("HTTP/1.1", false), Entry("HTTP/2", true))

	It("are shared by calls at the same time over HTTP/2", func() {
		srv, n := start(true, string(peer))
		w.dir.targets[peer] = []resolver.Target{target(srv, string(peer))}
		c := w.client()
		Expect(second(c.Version(ctx, peer))).To(Succeed())
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() {
				defer GinkgoRecover()
				Expect(second(c.Version(ctx, peer))).To(Succeed())
			})
		}
		calls.Wait()
		Expect(n.Load()).To(BeEquivalentTo(1))
	})

	It("are not shared by servers that only look alike", func() {
		plain, a := start(true, string(peer))
		secure, b := start(true, string(peer))
		w.dir.targets[peer] = []resolver.Target{target(plain, string(peer))}
		w.dir.targets[peer+":443"] = []resolver.Target{{Addr: address(secure), Host: string(peer) + ":443", TLSName: string(peer)}}
		c := w.client()
		Expect(second(c.Version(ctx, peer))).To(Succeed())
		Expect(v.last().Host).To(Equal("peer.example"))
		Expect(second(c.Version(ctx, peer+":443"))).To(Succeed())
		Expect(v.last().Host).To(Equal("peer.example:443"))
		Expect([]int64{a.Load(), b.Load()}).To(Equal([]int64{1, 1}))
	})

	It("that died meanwhile don't make a call fail", func() {
		srv, n := start(false, string(peer))
		w.dir.targets[peer] = []resolver.Target{target(srv, string(peer))}
		c := w.client()
		for range 3 {
			Expect(second(c.Version(ctx, peer))).To(Succeed())
			srv.CloseClientConnections()
			Expect(c.SendLeave(ctx, peer, oddRoom, oddEvent, []byte(`{}`))).To(Succeed())
			srv.CloseClientConnections()
		}
		Expect(n.Load()).To(BeNumerically(">", 1))
	})
})
