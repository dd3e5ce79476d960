package hostile

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"hanse/testnet/peer"
)

// calm runs what is hostile beside a bystander, and bounds what the node takes meanwhile and afterwards.
func calm(ctx context.Context, n *node, most int64, within time.Duration, attack func()) {
	GinkgoHelper()
	b := newBystander(ctx, n)
	before := n.use()
	started, stop := time.Now(), n.peak()
	attack()
	time.Sleep(time.Until(started.Add(time.Second))) // so that the bystander had the time for something
	peak := stop()
	b.end(within)
	AddReportEntry("memory", fmt.Sprintf("peak %.1f MB, before %v", float64(peak)/1e6, before))
	Expect(peak).To(BeNumerically("<", most))
	Eventually(func() int { return n.use().goroutines }, patience, 100*time.Millisecond).Should(BeNumerically("<", before.goroutines+60))
	Expect(n.use().descriptors).To(BeNumerically("<", before.descriptors+60))
}

// bodies that no endpoint takes.
func bodies() map[string]string {
	return map[string]string{
		"nothing": "", "no JSON": `{"a":`, "a list": `[]`, "not UTF-8": "{\"a\":\"\xff\"}", "deep": strings.Repeat(`{"a":`, 100_000),
		"deep lists": `{"pdus":` + strings.Repeat("[", 100_000), "twice": `{"pdus":[],"pdus":[{}]}`, "numbers": `{"pdus":1e999}`,
		"wrong types": `{"pdus":"x","edus":7,"origin":[],"limit":"y","latest_events":{},"server_keys":[]}`,
		"huge":        `{"a":"` + strings.Repeat("x", 14<<20) + `"}`,
	}
}

var _ = Describe("requests", Serial, func() {
	It("with bodies that are nothing, at every endpoint of the server-server API", func(ctx SpecContext) {
		n := startNode()
		p := newPeer()
		room := "!x:" + string(n.name)
		calm(ctx, n, 300e6, 2*time.Second, func() {
			for what, body := range bodies() {
				for _, target := range []string{
					"PUT /_matrix/federation/v1/send/1", "PUT /_matrix/federation/v1/send_join/%s/$x", "PUT /_matrix/federation/v2/send_join/%s/$x",
					"PUT /_matrix/federation/v1/send_leave/%s/$x", "PUT /_matrix/federation/v2/send_leave/%s/$x", "PUT /_matrix/federation/v1/send_knock/%s/$x",
					"PUT /_matrix/federation/v1/invite/%s/$x", "PUT /_matrix/federation/v2/invite/%s/$x",
					"POST /_matrix/federation/v1/get_missing_events/%s", "POST /_matrix/federation/v1/publicRooms", "POST /_matrix/key/v2/query",
				} {
					method, uri, _ := strings.Cut(strings.ReplaceAll(target, "%s", url.PathEscape(room)), " ")
					signature, err := p.Authorization(peer.ByHand{Method: method, URI: uri, Body: []byte("{}")}, p.Key(), p.Name, n.name)
					Expect(err).NotTo(HaveOccurred())
					answer, err := p.Do(ctx, n.name, peer.ByHand{Method: method, URI: uri, Body: []byte(body), Authorization: []string{signature.String()}})
					if err != nil && what == "huge" {
						continue // cut off while it was still sending
					}
					Expect(err).NotTo(HaveOccurred(), "%s: %s", target, what)
					Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%s: %s: %s", target, what, answer)
					Expect(answer.Code()).To(MatchRegexp("^M_[A-Z_]+$"), "%s: %s: %s", target, what, answer)
				}
			}
		})
	})

	It("with parameters that are nothing, at every endpoint of the server-server API", func(ctx SpecContext) {
		n := startNode()
		p := newPeer()
		for _, target := range []string{
			"/make_join/%s/%s", "/make_leave/%s/%s", "/make_knock/%s/%s?ver=10", "/event/%s", "/state/%s?event_id=%s", "/state_ids/%s?event_id=%s",
			"/event_auth/%s/%s", "/backfill/%s?v=%s&limit=10", "/query/directory?room_alias=%s", "/query/profile?user_id=%s", "/publicRooms?limit=%s",
		} {
			for _, value := range []string{"x", "%21x:" + string(n.name), "$x", "%00", "%ff", "%2F%2e%2e", "@x:elsewhere.test", "-1", strings.Repeat("x", 3000)} {
				answer, err := p.Do(ctx, n.name, peer.ByHand{Method: "GET", URI: "/_matrix/federation/v1" + strings.ReplaceAll(target, "%s", value)})
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(And(BeNumerically(">=", 400), BeNumerically("<", 500)), "%s with %.40s: %s", target, value, answer)
				Expect(answer.Code()).To(MatchRegexp("^M_[A-Z_]+$"), "%s with %.40s: %s", target, value, answer)
			}
		}
	})

	It("of clients, huge and many at once", func(ctx SpecContext) {
		n := startNode()
		u := n.newUser(ctx)
		calm(ctx, n, 450e6, 4*time.Second, func() {
			huge := appendRequest(nil, "PUT", "/_matrix/client/v3/user/"+url.PathEscape(u.ID)+"/account_data/x", "Bearer "+u.Token, []byte(`{"a":"`+strings.Repeat("x", 1900<<10)+`"}`))
			got := load(ctx, slicesOf(30, func(int) caller { return &asker{n, huge} }), 2*time.Second, 0)
			AddReportEntry("2 MB bodies", got.String())
			Expect(got.refused[http.StatusInternalServerError]).To(BeZero())
		})
	})

	It("that come a byte at a time", func(ctx SpecContext) {
		n := startNode()
		u := n.newUser(ctx)
		calm(ctx, n, 200e6, 2*time.Second, func() {
			var open []io.Closer
			for i := range 400 {
				w, err := n.dialClient()
				if i%4 == 0 {
					_ = w.Close()
					w, err = n.dialFederation("http/1.1")
				}
				Expect(err).NotTo(HaveOccurred())
				open = append(open, w)
				if i%2 == 0 {
					_, err = io.WriteString(w, "GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\nX-")
				} else {
					_, err = fmt.Fprintf(w, "PUT /_matrix/client/v3/rooms/!x:%s/send/m.room.message/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n{", n.name, u.Token)
				}
				Expect(err).NotTo(HaveOccurred())
			}
			time.Sleep(2 * time.Second)
			for _, w := range open {
				_ = w.Close() // they have lasted long enough
			}
		})
	})

	It("that stop in the middle of their bodies", func(ctx SpecContext) {
		connections := 300
		if measuring() {
			connections = 1500
		}
		n := startNode()
		u := n.newUser(ctx)
		half := strings.Repeat("x", 180e6/connections) // together more than all bodies may take
		calm(ctx, n, 450e6, 4*time.Second, func() {
			var refused, unhinted atomic.Int64
			var sending sync.WaitGroup
			for range connections {
				w, err := n.dialClient()
				Expect(err).NotTo(HaveOccurred())
				sending.Go(func() {
					defer w.Close()
					_ = w.SetDeadline(time.Now().Add(3 * time.Second)) // it is open
					_, _ = fmt.Fprintf(w, "PUT /_matrix/client/v3/user/%s/account_data/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 2000000\r\n\r\n%s",
						url.PathEscape(u.ID), u.Token, half) // a refusal may cut it off
					answer, err := w.read()
					if err != nil {
						return // nobody waits for the rest any more
					}
					refused.Add(1)
					if answer.status != http.StatusTooManyRequests || answer.retryAfter == 0 {
						unhinted.Add(1)
					}
				})
			}
			sending.Wait()
			AddReportEntry("bodies that stop", fmt.Sprintf("%d of %d refused", refused.Load(), connections))
			Expect(unhinted.Load()).To(BeZero(), "refused, but not told to come later")
		})
	})

	It("in floods of streams that are reset at once", func(ctx SpecContext) {
		n := startNode()
		calm(ctx, n, 300e6, 3*time.Second, func() {
			for range 10 {
				w, err := n.dialFederation("h2")
				Expect(err).NotTo(HaveOccurred())
				Expect(w.Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol).To(Equal("h2"))
				go func() { _, _ = io.Copy(io.Discard, w) }() // what it says doesn't matter
				flood(w, 2000)
				_ = w.Close() // the node may have closed it
			}
		})
	})
})

// flood opens streams and resets them, until the other side has enough.
func flood(to io.Writer, streams uint32) {
	if _, err := io.WriteString(to, http2.ClientPreface); err != nil {
		return
	}
	framer := http2.NewFramer(to, nil)
	if framer.WriteSettings() != nil {
		return
	}
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/_matrix/key/v2/server"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return
		}
	}
	for i := range streams {
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: []byte(block.String()), EndStream: true, EndHeaders: true})
		if err != nil || framer.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			return
		}
	}
}
