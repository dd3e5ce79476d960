package client_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
)

// says is a handler that answers always the same.
func says(status int, body string, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

var _ = Describe("answers", func() {
	var (
		w   *world
		ctx context.Context
	)
	BeforeEach(func() {
		w, ctx = newWorld(), context.Background()
	})

	DescribeTable("that are errors", func(status int, body, code, message string, temporary bool) {
		w.peer(says(status, body))
		e := failure(second(w.client().Event(ctx, peer, oddEvent)))
		Expect(e.Status).To(Equal(status))
		Expect(e.Stage).To(Equal(client.StageResponse))
		Expect(e.Temporary).To(Equal(temporary))
		Expect(e.Matrix.Code).To(Equal(code))
		Expect(e.Matrix.Message).To(Equal(message))
		Expect(e.Refusal()).To(BeIdenticalTo(e.Matrix))
		Expect(e.Unreachable()).To(BeFalse())
		Expect(e.Unwrap()).To(BeNil(), "a peer's words must not pass for ours")
	},
		Entry("a Matrix error", 403, `{"errcode":"M_FORBIDDEN","error":"no"}`, "M_FORBIDDEN", "no", false),
		Entry("a page of a proxy", 502, `<html>Bad Gateway</html>`, "M_UNKNOWN", "", true),
		Entry("nothing", 404, ``, "M_UNKNOWN", "", false),
		Entry("slow down", 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":1200}`, "M_LIMIT_EXCEEDED", "slow", true),
		Entry("a redirect", 301, ``, "M_UNKNOWN", "", false),
	)

	It("that tell when to come again in a header", func() {
		w.peer(says(429, `{"errcode":"M_LIMIT_EXCEEDED"}`, "Retry-After", "7"))
		e := failure(second(w.client().Event(ctx, peer, oddEvent)))
		Expect(e.Matrix.RetryAfter()).To(Equal(7 * time.Second))
	})

	It("that redirect are not followed", func() {
		called := false
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/elsewhere") {
				called = true
			}
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}))
		Expect(failure(second(w.client().Event(ctx, peer, oddEvent))).Status).To(Equal(307))
		Expect(called).To(BeFalse())
	})

	DescribeTable("that make no sense are a lasting failure", func(body string) {
		w.peer(says(200, body))
		e := failure(second(w.client().StateIDs(ctx, peer, oddRoom, oddEvent)))
		Expect(e.Status).To(Equal(200))
		Expect(e.Stage).To(Equal(client.StageResponse))
		Expect(e.Temporary).To(BeFalse())
		Expect(e.Refusal()).To(BeNil())
	}, Entry("no JSON", `<html>`), Entry("half an answer", `{"pdu_ids":["$a"`), Entry("another form", `{"pdu_ids":5}`), Entry("nothing", ``))

	It("that are too large are cut off", func() {
		w.config.Limits = client.Limits{Small: 1000}
		w.peer(says(200, `{"pdus":[{"a":"`+strings.Repeat("x", 2000)+`"}]}`))
		e := failure(second(w.client().Event(ctx, peer, oddEvent)))
		Expect(e.Temporary).To(BeFalse())
		Expect(e.Error()).To(ContainSubstring("larger than 1000 bytes"))
	})

	It("of just the largest size are taken", func() {
		body := `{"pdus":[{"a":"` + strings.Repeat("x", 2000) + `"}]}`
		w.config.Limits = client.Limits{Small: int64(len(body))}
		w.peer(says(200, body))
		Expect(second(w.client().Event(ctx, peer, oddEvent))).To(Succeed())
	})

	It("of many kilobytes are bounded together, as long as they are worked on", func() {
		body := `{"pdu_ids":[],"auth_chain_ids":[],"x":"` + strings.Repeat("x", 600) + `"}`
		w.config.Limits = client.Limits{Held: 1000}
		w.peer(says(200, body))
		c := w.client()
		ask := func(ctx context.Context) error { return second(c.StateIDs(ctx, peer, oddRoom, oddEvent)) }
		Expect(ask(ctx)).To(Succeed())
		Expect(ask(ctx)).To(Succeed(), "what was read doesn't count any more")
		held, release := client.Hold(ctx)
		Expect(ask(held)).To(Succeed())
		e := failure(ask(ctx))
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Error()).To(ContainSubstring("too much is being fetched"))
		release()
		Expect(ask(ctx)).To(Succeed())
	})

	It("are bounded after decompression", func() {
		w.config.Limits = client.Limits{State: 1 << 20}
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			zip := gzip.NewWriter(rw)
			_, _ = io.WriteString(zip, `{"pdus":["`)
			_, _ = io.Copy(zip, io.LimitReader(zeros{}, 20<<20))
			_ = zip.Close()
		}))
		e := failure(second(w.client().State(ctx, peer, oddRoom, oddEvent)))
		Expect(e.Error()).To(ContainSubstring("larger than"))
	})

	It("that stand still are given up", func() {
		w.config.Timeouts = client.Timeouts{Stall: 50 * time.Millisecond}
		release := make(chan struct{})
		DeferCleanup(func() { close(release) })
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, `{"pdus":[`)
			_ = http.NewResponseController(rw).Flush()
			<-release
		}))
		e := failure(second(w.client().State(ctx, peer, oddRoom, oddEvent)))
		Expect(e.Timeout).To(BeTrue())
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Status).To(Equal(200))
		Expect(e.Error()).To(ContainSubstring("stood still"))
	})

	It("that trickle are given up", func() {
		w.config.Timeouts = client.Timeouts{Stall: 200 * time.Millisecond}
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, q *http.Request) {
			_, _ = io.WriteString(rw, `{"pdus":[`)
			for q.Context().Err() == nil {
				_, _ = io.WriteString(rw, ` `)
				_ = http.NewResponseController(rw).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}))
		e := failure(second(w.client().State(ctx, peer, oddRoom, oddEvent)))
		Expect(e.Timeout).To(BeTrue())
		Expect(e.Temporary).To(BeTrue())
	})

	It("that break off are a passing failure", func() {
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, `{"pdus":[`)
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}))
		e := failure(second(w.client().State(ctx, peer, oddRoom, oddEvent)))
		Expect(e.Temporary).To(BeTrue())
		Expect(e.Timeout).To(BeFalse())
	})

	It("of many megabytes are streamed", func() {
		const events = 20_000
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			to := bufio.NewWriter(rw)
			_, _ = to.WriteString(`{"auth_chain":[],"state":[`)
			for i := range events {
				if i > 0 {
					_ = to.WriteByte(',')
				}
				_, _ = fmt.Fprintf(to, `{"n":%d,"x":%q}`, i, strings.Repeat("x", 400))
			}
			_, _ = to.WriteString(`]}`)
			_ = to.Flush()
		}))
		answer, err := w.client().SendJoin(ctx, peer, oddRoom, oddEvent, []byte(`{}`), false)
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.State).To(HaveLen(events))
	})
})

// zeros is an endless row of '0'.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

var _ = Describe("servers without the newest endpoints", func() {
	const unknown = `{"errcode":"M_UNRECOGNIZED","error":"?"}`
	var (
		w     *world
		ctx   context.Context
		paths []string
		last  string
	)
	BeforeEach(func() {
		w, ctx, paths = newWorld(), context.Background(), nil
	})

	// old answers v2 paths with an error and v1 paths with a pair.
	old := func(status int, refusal, answer string) {
		w.peer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			paths = append(paths, strings.Join(strings.Split(r.URL.EscapedPath(), "/")[3:5], "/"))
			body, _ := io.ReadAll(r.Body)
			last = string(body)
			if strings.Contains(r.URL.Path, "/v2/") {
				says(status, refusal).ServeHTTP(rw, r)
				return
			}
			says(200, "[200,"+answer+"]").ServeHTTP(rw, r)
		}))
	}

	DescribeTable("are asked through v1", func(status int, refusal string) {
		old(status, refusal, `{"state":[{"s":1}],"auth_chain":[],"origin":"peer.example"}`)
		answer, err := w.client().SendJoin(ctx, peer, oddRoom, oddEvent, []byte(`{}`), true)
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.State).To(HaveLen(1))
		Expect(answer.Origin).To(Equal(peer))
		Expect(paths).To(Equal([]string{"v2/send_join", "v1/send_join"}))
	},
		Entry("404 M_UNRECOGNIZED", 404, unknown), Entry("a bare 404", 404, "404 page not found"),
		Entry("405 M_UNRECOGNIZED", 405, unknown), Entry("400 M_UNRECOGNIZED", 400, unknown))

	It("get leaves through v1", func() {
		old(404, unknown, `{}`)
		Expect(w.client().SendLeave(ctx, peer, oddRoom, oddEvent, []byte(`{}`))).To(Succeed())
		Expect(paths).To(Equal([]string{"v2/send_leave", "v1/send_leave"}))
	})

	It("get invites to old rooms through v1, in its form", func() {
		old(404, unknown, `{"event":{"signed":1}}`)
		event, err := w.client().Invite(ctx, peer, federation.InviteRequest{RoomID: oddRoom, EventID: id.EventID("$a:b"),
			RoomVersion: "2", Event: []byte(`{"i":1}`), InviteRoomState: raws(`{"r":1}`)})
		Expect(err).NotTo(HaveOccurred())
		Expect(event).To(MatchJSON(`{"signed":1}`))
		Expect(paths).To(Equal([]string{"v2/invite", "v1/invite"}))
		Expect(last).To(MatchJSON(`{"i":1,"unsigned":{"invite_room_state":[{"r":1}]}}`))
	})

	It("get no invites to rooms whose events they can't read", func() {
		old(404, unknown, `{}`)
		_, err := w.client().Invite(ctx, peer, federation.InviteRequest{RoomID: oddRoom, EventID: oddEvent, RoomVersion: "10", Event: []byte(`{}`)})
		Expect(failure(err).Status).To(Equal(404))
		Expect(paths).To(Equal([]string{"v2/invite"}))
	})

	DescribeTable("are not suspected because a room is unknown or closed", func(status int, refusal string) {
		old(status, refusal, `{}`)
		Expect(failure(second(w.client().SendJoin(ctx, peer, oddRoom, oddEvent, []byte(`{}`), false))).Status).To(Equal(status))
		Expect(paths).To(HaveLen(1))
	}, Entry("404 M_NOT_FOUND", 404, `{"errcode":"M_NOT_FOUND"}`), Entry("403", 403, `{"errcode":"M_FORBIDDEN"}`), Entry("400", 400, `{"errcode":"M_BAD_JSON"}`))

	It("can't be sent what has no canonical form", func() {
		old(200, `{}`, `{}`)
		e := failure(w.client().SendLeave(ctx, peer, oddRoom, oddEvent, []byte(`{"a":1,"a":2}`)))
		Expect(e.Stage).To(Equal(client.StageRequest))
		Expect(e.Temporary).To(BeFalse())
		Expect(e.Refusal().Status).To(Equal(400))
		Expect(paths).To(BeEmpty())
	})
})
