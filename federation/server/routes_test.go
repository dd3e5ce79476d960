package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/server"
	"hanse/keys"
)

var _ = Describe("routes", func() {
	var w *world
	BeforeEach(func() {
		w = newWorld()
		w.start()
	})

	DescribeTable("that don't exist are 404 M_UNRECOGNIZED", func(path string) {
		got := w.do("GET", path, "")
		Expect(got.status).To(Equal(404))
		Expect(got.code()).To(Equal("M_UNRECOGNIZED"))
		Expect(got.header.Get("Content-Type")).To(Equal("application/json"))
	},
		Entry("nothing like it", "/_matrix/federation/v1/nonsense"),
		Entry("outside", "/"),
		Entry("a group without a handler", "/_matrix/federation/v1/state/!a:b"),
		Entry("a doubled slash, which is no redirect", "/_matrix//federation/v1/version"),
		Entry("dots", "/_matrix/federation/v1/x/../version"),
		Entry("a slash at the end", "/_matrix/federation/v1/version/"),
		Entry("too many segments", "/_matrix/federation/v1/make_join/!a:b/@c:d/e"),
		Entry("v3", "/_matrix/federation/v3/send_join/!a:b/$c"),
	)

	It("refuse other methods with 405 M_UNRECOGNIZED", func() {
		for _, method := range []string{"POST", "DELETE", "PATCH", "GET"} {
			got := w.do(method, "/_matrix/federation/v1/send/1", "")
			Expect(got.status).To(Equal(405))
			Expect(got.code()).To(Equal("M_UNRECOGNIZED"))
			Expect(got.header.Get("Allow")).To(Equal("PUT, OPTIONS"))
		}
	})

	It("answer HEAD and OPTIONS", func() {
		got := w.do("HEAD", "/_matrix/federation/v1/version", "")
		Expect(got.status).To(Equal(200))
		Expect(got.body).To(BeEmpty())
		got = w.do("OPTIONS", "/_matrix/federation/v1/version", "")
		Expect(got.status).To(Equal(204))
		Expect(got.header.Get("Allow")).To(Equal("GET, HEAD, OPTIONS"))
	})

	It("publish version and keys to anybody", func() {
		Expect(w.do("GET", "/_matrix/federation/v1/version", "").body).To(MatchJSON(`{"server":{"name":"Hanse","version":"1"}}`))
		for _, path := range []string{"", "/", "/ed25519:a"} {
			got := w.do("GET", "/_matrix/key/v2/server"+path, "")
			Expect(got.status).To(Equal(200))
			Expect(got.body).To(Equal(`{"server_name":"me.example:8448"}`))
		}
		Expect(w.heard).To(BeEmpty())
	})

	It("answer as a notary", func() {
		var asked keys.NotaryRequest
		w.fake.answer = func(q keys.NotaryRequest) ([]json.RawMessage, error) {
			asked = q
			return []json.RawMessage{json.RawMessage(`{"a":1}`)}, nil
		}
		got := w.do("POST", "/_matrix/key/v2/query", `{"server_keys":{"a.example":{"ed25519:x":{"minimum_valid_until_ts":5}}}}`)
		Expect(got.body).To(Equal(`{"server_keys":[{"a":1}]}`))
		Expect(asked.ServerKeys).To(Equal(map[id.ServerName]map[id.KeyID]keys.Criteria{"a.example": {"ed25519:x": {MinimumValidUntilTS: 5}}}))
		got = w.do("GET", "/_matrix/key/v2/query/a.example:80/ed25519:x?minimum_valid_until_ts=7", "")
		Expect(got.status).To(Equal(200))
		Expect(asked.ServerKeys).To(Equal(map[id.ServerName]map[id.KeyID]keys.Criteria{"a.example:80": {"ed25519:x": {}}}))
		Expect(asked.MinimumValidUntilTS).To(BeEquivalentTo(7))
		Expect(w.do("GET", "/_matrix/key/v2/query/a.example", "").status).To(Equal(200))
		Expect(asked).To(Equal(keys.NotaryRequestFor("a.example", 0)))
		Expect(w.do("POST", "/_matrix/key/v2/query", `{"server_keys":{"no name":{}}}`).code()).To(Equal("M_BAD_JSON"))
		Expect(w.do("GET", "/_matrix/key/v2/query/no%20name", "").code()).To(Equal("M_INVALID_PARAM"))
		Expect(w.do("GET", "/_matrix/key/v2/query/a.example?minimum_valid_until_ts=x", "").code()).To(Equal("M_INVALID_PARAM"))
		Expect(w.do("POST", "/_matrix/key/v2/query", `{"server_keys":`).code()).To(Equal("M_NOT_JSON"))
		wrong := w.do("POST", "/_matrix/key/v2/query", `{"server_keys":5}`)
		Expect(wrong.code()).To(Equal("M_BAD_JSON"))
		Expect(wrong.body).To(ContainSubstring("server_keys must not be a JSON number"))
		many := map[string]any{}
		for i := range 101 {
			many["s"+strconv.Itoa(i)] = map[string]any{}
		}
		body, _ := json.Marshal(map[string]any{"server_keys": many})
		Expect(w.do("POST", "/_matrix/key/v2/query", string(body)).code()).To(Equal("M_INVALID_PARAM"))
	})

	DescribeTable("refuse what is neither true nor false", func(method, uri string) {
		w.config.Handlers.Directory, w.config.Handlers.Spaces = struct{ server.DirectoryHandler }{}, struct{ server.SpaceHandler }{} // not asked
		w.start()
		Expect(w.call(method, uri, map[string]string{"PUT": "{}"}[method]).code()).To(Equal("M_INVALID_PARAM"))
	},
		Entry(nil, "GET", "/_matrix/federation/v1/publicRooms?include_all_networks=x"),
		Entry(nil, "GET", "/_matrix/federation/v1/hierarchy/!a:b?suggested_only=x"),
		Entry(nil, "PUT", "/_matrix/federation/v2/send_join/!a:b/$x?omit_members=x"))

	It("take identifiers with escaped slashes", func() {
		var asked federation.SendRequest
		w.fake.sendJoin = func(q federation.SendRequest) (federation.SendJoinResponse, error) {
			asked = q
			return federation.SendJoinResponse{}, nil
		}
		got := w.call("PUT", "/_matrix/federation/v2/send_join/%21a%2F..%2Fb%3Aex.org/$x%2Fy+z%252F", `{"x":1}`)
		Expect(got.status).To(Equal(200))
		Expect(got.body).To(MatchJSON(`{"auth_chain":[],"state":[],"members_omitted":false}`))
		Expect(asked.RoomID).To(BeEquivalentTo("!a/../b:ex.org"))
		Expect(asked.EventID).To(BeEquivalentTo("$x/y+z%2F"))
	})

	It("answer old servers in pairs", func() {
		w.fake.sendJoin = func(federation.SendRequest) (federation.SendJoinResponse, error) {
			return federation.SendJoinResponse{State: []json.RawMessage{json.RawMessage(`{"s":1}`)}}, nil
		}
		got := w.call("PUT", "/_matrix/federation/v1/send_join/!a:b/$c", `{}`)
		Expect(got.body).To(MatchJSON(`[200,{"auth_chain":[],"state":[{"s":1}],"members_omitted":false,"origin":"me.example:8448"}]`))
		var invited federation.InviteRequest
		w.fake.invite = func(q federation.InviteRequest) (json.RawMessage, error) {
			invited = q
			return json.RawMessage(`{"signed":1}`), nil
		}
		got = w.call("PUT", "/_matrix/federation/v1/invite/!a:b/$c:d", `{"unsigned":{"invite_room_state":[{"r":1}]}}`)
		Expect(got.body).To(Equal(`[200,{"event":{"signed":1}}]`))
		Expect(invited.RoomVersion).To(Equal(roomversion.V1))
		Expect(invited.InviteRoomState).To(HaveLen(1))
		got = w.call("PUT", "/_matrix/federation/v2/invite/!a:b/$c", `{"room_version":"10","event":{"e":1},"invite_room_state":[]}`)
		Expect(got.body).To(Equal(`{"event":{"signed":1}}`))
		Expect(string(invited.Event)).To(Equal(`{"e":1}`))
	})

	It("assume room version 1 where make_join says none", func() {
		var asked federation.MakeRequest
		w.fake.makeJoin = func(q federation.MakeRequest) (federation.MakeJoinResponse, error) {
			asked = q
			return federation.MakeJoinResponse{RoomVersion: "1", Event: json.RawMessage(`{}`)}, nil
		}
		Expect(w.call("GET", "/_matrix/federation/v1/make_join/!a:b/@c:other.example", "").status).To(Equal(200))
		Expect(asked.Versions).To(Equal([]roomversion.Version{"1"}))
		Expect(w.call("GET", "/_matrix/federation/v1/make_join/!a:b/@c:other.example?ver=5&ver=12", "").status).To(Equal(200))
		Expect(asked.Versions).To(Equal([]roomversion.Version{"5", "12"}))
		Expect(w.call("GET", "/_matrix/federation/v1/make_join/a/@c:d", "").code()).To(Equal("M_INVALID_PARAM"))
		Expect(w.call("GET", "/_matrix/federation/v1/make_join/!a:b/c", "").code()).To(Equal("M_INVALID_PARAM"))
	})
})

var _ = Describe("bodies", func() {
	const uri = "/_matrix/federation/v1/send/1"
	var w *world
	BeforeEach(func() { w = newWorld() })

	// unsigned sends a body under a header that parses: what is wrong with the body shows before the signature does.
	unsigned := func(body io.Reader) (int, string) {
		q, err := http.NewRequest("PUT", w.url+uri, body)
		Expect(err).NotTo(HaveOccurred())
		q.Header.Set("Authorization", w.sign(0, "PUT", uri, "{}").String())
		answer, err := http.DefaultClient.Do(q)
		Expect(err).NotTo(HaveOccurred())
		defer func() { _ = answer.Body.Close() }()
		data, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, federation.DecodeError(answer.StatusCode, data).Code
	}

	DescribeTable("that are no JSON object", func(body, code string) {
		w.start()
		status, got := unsigned(strings.NewReader(body))
		Expect(status).To(Equal(400))
		Expect(got).To(Equal(code))
	},
		Entry("nothing", "", "M_NOT_JSON"), Entry("text", "hello", "M_NOT_JSON"), Entry("half an object", `{"a":`, "M_NOT_JSON"),
		Entry("an array", `[]`, "M_BAD_JSON"), Entry("a duplicate key", `{"a":1,"a":2}`, "M_BAD_JSON"), Entry("two objects", `{}{}`, "M_NOT_JSON"),
		Entry("not UTF-8", "{\"a\":\"\xff\"}", "M_NOT_JSON"))

	It("of another form are M_BAD_JSON", func() {
		w.start()
		Expect(w.call("PUT", uri, `{"pdus":5}`).code()).To(Equal("M_BAD_JSON"))
		many := `{"pdus":[` + strings.TrimSuffix(strings.Repeat("{},", 51), ",") + `]}`
		got := w.call("PUT", uri, many)
		Expect(got.code()).To(Equal("M_BAD_JSON"))
		Expect(got.body).To(ContainSubstring("more than 50"))
	})

	It("that are too large are 413 M_TOO_LARGE, whether they say so or not", func() {
		w.start()
		large := bytes.Repeat([]byte{' '}, 13<<20+1)
		status, code := unsigned(bytes.NewReader(large))
		Expect(status).To(Equal(413))
		Expect(code).To(Equal("M_TOO_LARGE"))
		status, code = unsigned(struct{ io.Reader }{bytes.NewReader(large)}) // chunked
		Expect(status).To(Equal(413))
		Expect(code).To(Equal("M_TOO_LARGE"))
	})

	It("share a bounded memory", func() {
		w.config.Limits = server.Limits{BodyMemory: 100}
		w.start()
		status, code := unsigned(strings.NewReader(`{"a":"` + strings.Repeat("x", 200) + `"}`))
		Expect(status).To(Equal(429))
		Expect(code).To(Equal("M_LIMIT_EXCEEDED"))
		for range 5 { // what was held is given back
			Expect(w.call("PUT", uri, `{"pdus":[]}`).status).To(Equal(200))
		}
	})

	It("of one address keep nobody else's out, whoever they say to be of", func() {
		load := &server.Load{}
		w.config.Limits, w.config.Load = server.Limits{BodyMemory: 1 << 20, BodyTime: time.Hour}, load
		w.config.From = func(r *http.Request) string { return r.Header.Get("X-Test-From") }
		w.start()
		refused := make(chan struct{}, 16)
		for range 16 {
			reader, writer := io.Pipe()
			DeferCleanup(writer.Close)
			go func() {
				_, _ = writer.Write([]byte(`{"a":"` + strings.Repeat("x", 64<<10))) // and no more
			}()
			go func() {
				defer GinkgoRecover()
				request, err := http.NewRequest("PUT", w.url+uri, reader)
				Expect(err).NotTo(HaveOccurred())
				request.Header.Set("Authorization", w.sign(0, "PUT", uri, `{}`).String())
				request.Header.Set("X-Test-From", "a stranger")
				if answer, err := http.DefaultClient.Do(request); err == nil {
					_ = answer.Body.Close()
					refused <- struct{}{}
				}
			}()
		}
		Eventually(func() bool { return len(refused) > 0 || load.Bodies.Load() == 1<<20 }).Should(BeTrue())
		for range 5 {
			Expect(w.call("PUT", uri, `{"pdus":[]}`).status).To(Equal(200))
		}
	})

	It("that don't come are given up", func() {
		w.config.Limits = server.Limits{BodyTime: 50 * time.Millisecond}
		w.start()
		reader, writer := io.Pipe()
		DeferCleanup(writer.Close)
		go func() { _, _ = writer.Write([]byte(`{"pdus"`)) }()
		status, _ := unsigned(reader)
		Expect(status).To(Equal(408))
	})

	It("of questions are not looked at", func() {
		w.start()
		const question = "/_matrix/federation/v1/query/profile?user_id=@a:me.example"
		signed := w.sign(0, "GET", question, "").String()
		Expect(w.do("GET", question, `{"some":"body"}`, signed).status).To(Equal(200))
	})
})

var _ = Describe("handlers", func() {
	const uri = "/_matrix/federation/v1/send/1"
	var w *world
	BeforeEach(func() { w = newWorld() })

	It("are found under paths that end in a slash, as old servers have them", func() {
		w.start()
		Expect(w.call("PUT", "/_matrix/federation/v1/send/a/", `{}`).status).To(Equal(200))
	})

	It("get transactions as they were signed", func() {
		var got federation.Transaction
		w.fake.transaction = func(_ context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
			Expect(origin).To(Equal(other))
			Expect(txnID).To(Equal("a/b"))
			got = txn
			return federation.PDUResults{"$a": {Error: "no"}}, nil
		}
		w.start()
		answer := w.call("PUT", "/_matrix/federation/v1/send/a%2Fb", `{"pdus":[{"b":1, "a":2}],"edus":[{"edu_type":"m.x","content":{"z":1}}]}`)
		Expect(answer.body).To(Equal(`{"pdus":{"$a":{"error":"no"}}}`))
		Expect(string(got.PDUs[0])).To(Equal(`{"a":2,"b":1}`))
		Expect(got.EDUs).To(HaveLen(1))
		Expect(w.call("PUT", "/_matrix/federation/v1/send/"+strings.Repeat("x", 256), `{}`).code()).To(Equal("M_INVALID_PARAM"))
	})

	DescribeTable("answer with errors", func(err error, status int, body string) {
		w.fake.transaction = func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
			return nil, err
		}
		w.start()
		got := w.call("PUT", uri, `{}`)
		Expect(got.status).To(Equal(status))
		Expect(got.body).To(MatchJSON(body))
	},
		Entry("of Matrix as they are", federation.Forbidden("no"), 403, `{"errcode":"M_FORBIDDEN","error":"no"}`),
		Entry("of Matrix inside others", errors.Join(errors.New("x"), federation.IncompatibleRoomVersion("9")), 400,
			`{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"your server does not support version 9 of this room","room_version":"9"}`),
		Entry("without a status as ours", &federation.Error{Code: "M_X", Message: "y"}, 500, `{"errcode":"M_X","error":"y"}`),
		Entry("of other kinds without telling", errors.New("database on fire"), 500, `{"errcode":"M_UNKNOWN","error":"internal server error"}`),
	)

	It("may fail without taking the server along", func() {
		w.fake.transaction = func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
			panic("a fault")
		}
		w.start()
		Expect(w.call("PUT", uri, `{}`).code()).To(Equal("M_UNKNOWN"))
		Expect(w.call("GET", "/_matrix/federation/v1/query/profile?user_id=@a:b", "").status).To(Equal(200))
	})

	It("are reached by known servers while strangers wait for their keys", func() {
		keysCome := make(chan struct{})
		waiting := new(atomic.Int64)
		w.config.Verifier = slow{w.config.Verifier.(ring), keysCome, waiting}
		w.config.Limits = server.Limits{Unproven: 4}
		w.config.From = func(r *http.Request) string { return r.URL.Query().Get("from") }
		w.start()
		Expect(w.call("PUT", uri, `{}`).status).To(Equal(200)) // now it is known
		stranger := w.sign(0, "PUT", uri, `{}`)
		var calls sync.WaitGroup
		for _, name := range []id.ServerName{"x.example", "y.example"} {
			stranger.Origin = name
			header := stranger.String()
			calls.Go(func() {
				defer GinkgoRecover()
				Expect(w.do("PUT", uri, `{}`, header).status).To(Equal(401))
			})
		}
		stranger.Origin = "z.example"
		Eventually(waiting.Load).Should(BeEquivalentTo(2))
		Expect(w.do("PUT", uri, `{}`, stranger.String()).status).To(Equal(429), "half are taken, by others from there")
		header := stranger.String()
		for i, from := range []string{"b", "c"} {
			calls.Go(func() {
				defer GinkgoRecover()
				Expect(w.do("PUT", uri+"?from="+from, `{}`, header).status).To(Equal(401))
			})
			Eventually(waiting.Load).Should(BeEquivalentTo(3 + i))
		}
		Expect(w.do("PUT", uri+"?from=d", `{}`, header).status).To(Equal(429), "all are taken")
		Expect(w.call("PUT", uri, `{}`).status).To(Equal(200))
		close(keysCome)
		calls.Wait()
		Expect(w.do("PUT", uri, `{}`, stranger.String()).status).To(Equal(401))
	})

	It("are shielded from too much at once, and say when to come again", func() {
		release := make(chan struct{})
		var entered atomic.Int64
		w.fake.transaction = func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
			entered.Add(1)
			<-release
			return nil, nil
		}
		w.config.Limits = server.Limits{InFlight: 4, PerOrigin: 3}
		w.start()
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				defer GinkgoRecover()
				Expect(w.call("PUT", uri, `{}`).status).To(Equal(200))
			})
		}
		Eventually(entered.Load).Should(BeEquivalentTo(3))
		got := w.call("PUT", uri, `{}`)
		Expect(got.status).To(Equal(429))
		Expect(got.header.Get("Retry-After")).To(Equal("2"))
		Expect(got.body).To(ContainSubstring(`"retry_after_ms":2000`))
		Expect(w.do("GET", "/_matrix/federation/v1/version", "").status).To(Equal(200)) // the total is not reached
		close(release)
		calls.Wait()
		Expect(w.call("PUT", uri, `{}`).status).To(Equal(200))
	})

	It("tells a transaction to come again that can't be worked on soon, and answers what is asked meanwhile", func() {
		entered, release := make(chan struct{}), make(chan struct{})
		w.fake.transaction = func(context.Context, id.ServerName, string, federation.Transaction) (federation.PDUResults, error) {
			entered <- struct{}{}
			<-release
			return nil, nil
		}
		w.config.Limits = server.Limits{Transactions: 1}
		w.start()
		var first sync.WaitGroup
		first.Go(func() {
			defer GinkgoRecover()
			Expect(w.call("PUT", uri, `{}`).status).To(Equal(200))
		})
		<-entered
		got := w.call("PUT", uri, `{}`)
		Expect(got.status).To(Equal(429))
		Expect(got.header.Get("Retry-After")).To(Equal("2"))
		Expect(w.call("GET", "/_matrix/federation/v1/query/profile?user_id=@a:me.example:8448", "").status).To(Equal(200))
		close(release)
		first.Wait()
	})
})

// slow is a ring that waits for keys it doesn't have.
type slow struct {
	ring
	come    chan struct{}
	waiting *atomic.Int64
}

func (s slow) Verify(ctx context.Context, reqs []keys.Request) []error {
	if _, known := s.ring[reqs[0].Server]; !known {
		s.waiting.Add(1)
		<-s.come
	}
	return s.ring.Verify(ctx, reqs)
}
