package clientapi

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = Describe("the frame", func() {
	It("answers every path and method with JSON and CORS", func() {
		w := newWorld(nil)
		p := w.nobody()
		refused(p.get("/no/such/path"), 404, "M_UNRECOGNIZED")
		refused(p.get("/_matrix/nonsense"), 404, "M_UNRECOGNIZED")
		refused(p.get("/_matrix//client/versions"), 404, "M_UNRECOGNIZED")
		refused(p.get("/_matrix/client/../client/versions"), 404, "M_UNRECOGNIZED")
		refused(p.do("DELETE", "/_matrix/client/versions", nil), 405, "M_UNRECOGNIZED")
		Expect(p.do("DELETE", "/_matrix/client/versions", nil).header.Get("Allow")).To(Equal("GET, OPTIONS"))
		refused(p.do("PATCH", "/account/whoami", nil), 405, "M_UNRECOGNIZED")
		refused(p.get("/login/"+strings.Repeat("x", maxPathBytes)), 414, "M_TOO_LARGE")
		for _, path := range []string{"/_matrix/client/versions", "/account/whoami", "/nonsense", "/.well-known/matrix/client"} {
			a := p.do(http.MethodOptions, path, nil)
			Expect(a.status).To(Equal(204))
			Expect(a.header.Get("Access-Control-Allow-Headers")).To(ContainSubstring("Authorization"))
			Expect(a.header.Get("Access-Control-Allow-Methods")).To(ContainSubstring("DELETE"))
		}
		Expect(p.do(http.MethodHead, "/_matrix/client/versions", nil).status).To(Equal(200))
	})

	It("wants an access token, in the header or in the query", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		p := w.nobody()
		refused(p.get("/account/whoami"), 401, "M_MISSING_TOKEN")
		refused(p.get("/account/whoami?access_token=nonsense"), 401, "M_UNKNOWN_TOKEN")
		refused(p.get("/account/whoami?access_token="+strings.Repeat("x", 5000)), 401, "M_UNKNOWN_TOKEN")
		fine(p.get("/account/whoami?access_token="+alice.token), "user_id")
		fine(alice.get("/_matrix/client/r0/account/whoami"), "user_id")
		p.token = "nonsense"
		refused(p.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})

	It("tells apart what is no JSON, what is the wrong JSON and what is too much", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		for body, code := range map[string]string{
			"":                                   "M_NOT_JSON",
			"{":                                  "M_NOT_JSON",
			"nonsense":                           "M_NOT_JSON",
			"{} {}":                              "M_NOT_JSON",
			"{\"name\":\"\xff\"}":                "M_NOT_JSON",
			"[]":                                 "M_BAD_JSON",
			"null":                               "M_BAD_JSON",
			"7":                                  "M_BAD_JSON",
			`{"name": 7}`:                        "M_BAD_JSON",
			`{"invite": {}}`:                     "M_BAD_JSON",
			`{"invite": [7]}`:                    "M_BAD_JSON",
			`{"initial_state": [{"type": "x"}]}`: "M_BAD_JSON",
		} {
			refused(alice.post("/createRoom", body), 400, code)
		}
		refused(alice.post("/createRoom", `{"name":"`+strings.Repeat("x", maxBodyBytes)+`"}`), 413, "M_TOO_LARGE")
	})

	It("says nothing of what went wrong inside", func() {
		w := newWorld(func(c *Config) {})
		w.api.mux.Handle("/panic", w.api.handler("/panic", methods{"GET": route{
			auth: withoutUser, serve: func(*request) (any, error) { panic("the secret is 42") },
		}}))
		a := w.nobody().do("GET", "/_panic", nil)
		refused(a, 404, "M_UNRECOGNIZED")
		r, err := http.Get(w.server.URL + "/panic")
		Expect(err).NotTo(HaveOccurred())
		defer r.Body.Close()
		Expect(r.StatusCode).To(Equal(500))
		Expect(r).To(HaveHTTPBody(MatchJSON(`{"errcode":"M_UNKNOWN","error":"internal server error"}`)))
	})

	It("serves what clients ask first", func() {
		w := newWorld(func(c *Config) { c.BaseURL = "https://matrix.hanse.test" })
		p := w.nobody()
		versions := fine(p.get("/_matrix/client/versions"), "versions")
		Expect(versions.body["versions"]).To(ContainElements("v1.1", "v1.11"))
		known := fine(p.get("/.well-known/matrix/client"), "m.homeserver")
		Expect(known.body["m.homeserver"]).To(HaveKeyWithValue("base_url", "https://matrix.hanse.test"))
		refused(newWorld(nil).nobody().get("/.well-known/matrix/client"), 404, "M_NOT_FOUND")
		alice := w.register("alice")
		capabilities := fine(alice.get("/capabilities"), "capabilities").body["capabilities"].(obj)
		versionsOf := capabilities["m.room_versions"].(obj)
		Expect(versionsOf).To(HaveKeyWithValue("default", "12"))
		Expect(versionsOf["available"]).To(HaveLen(12))
		rules := fine(alice.get("/pushrules/"), "global").body["global"].(obj)
		for _, kind := range []string{"override", "content", "room", "sender", "underride"} {
			Expect(rules).To(HaveKey(kind))
		}
		Expect(fine(alice.get("/pushrules/global/override/.m.rule.master/enabled")).body).To(HaveKeyWithValue("enabled", false))
		refused(alice.get("/pushrules/global/override/.m.rule.nonsense"), 404, "M_NOT_FOUND")
		refused(alice.get("/pushrules/global/nonsense/x"), 404, "M_NOT_FOUND")
		refused(alice.put("/pushrules/global/nonsense/x/enabled", obj{"enabled": true}), 400, "M_INVALID_PARAM")
		Expect(fine(alice.get("/voip/turnServer")).body).To(BeEmpty())
		fine(alice.post("/keys/query", obj{"device_keys": obj{alice.id: []any{}}}), "device_keys")
		fine(alice.post("/keys/upload", obj{}), "one_time_key_counts")
		fine(alice.put("/presence/"+esc(alice.id)+"/status", obj{"presence": "online"}))
		refused(alice.put("/presence/"+esc("@bob:hanse.test")+"/status", obj{"presence": "online"}), 403, "M_FORBIDDEN")
		Expect(fine(alice.get("/account/3pid")).body["threepids"]).To(BeEmpty())
	})
})

var _ = Describe("TURN", func() {
	It("gives a name and a password that the TURN server can check", func() {
		w := newWorld(func(c *Config) {
			c.Turn = Turn{URIs: []string{"turn:turn.hanse.test?transport=udp"}, Secret: "north", Life: time.Hour}
		})
		alice := w.register("alice")
		got := fine(alice.get("/voip/turnServer"), "username", "password", "uris", "ttl").body
		Expect(got).To(HaveKeyWithValue("ttl", 3600.0))
		Expect(got["uris"]).To(Equal([]any{"turn:turn.hanse.test?transport=udp"}))
		until, user, _ := strings.Cut(got["username"].(string), ":")
		Expect(user).To(Equal(alice.id))
		Expect(strconv.ParseInt(until, 10, 64)).To(BeNumerically("~", time.Now().Unix()+3600, 10))
		mac := hmac.New(sha1.New, []byte("north"))
		mac.Write([]byte(got["username"].(string)))
		Expect(got["password"]).To(Equal(base64.StdEncoding.EncodeToString(mac.Sum(nil))))
		refused(w.nobody().get("/_matrix/client/v3/voip/turnServer"), 401, "M_MISSING_TOKEN")
	})
})

var _ = Describe("rate limits", func() {
	It("refuses what comes too fast and says when to come again", func() {
		w := newWorld(func(c *Config) {
			c.RateLimits = RateLimits{Requests: Limit{PerSecond: 0.01, Burst: 3}}
		})
		p := w.nobody()
		for range 3 {
			fine(p.get("/_matrix/client/versions"))
		}
		a := p.get("/_matrix/client/versions")
		refused(a, 429, "M_LIMIT_EXCEEDED")
		Expect(a.body["retry_after_ms"]).To(BeNumerically("~", 100_000, 2000))
		Expect(a.header.Get("Retry-After")).To(Or(Equal("100"), Equal("99")))
	})

	It("counts wrong passwords against the account, right ones not", func() {
		w := newWorld(func(c *Config) {
			c.RateLimits = RateLimits{Logins: Limit{PerSecond: 0.01, Burst: 100}}
		})
		alice := w.register("alice")
		w.api.limiter.limits[logsIn] = Limit{PerSecond: 0.01, Burst: 100}
		login := func(password string) answered {
			return w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": password})
		}
		for range 10 {
			fine(login("secret of alice"))
		}
		bucket := w.api.limiter.bucket(bucketKey{logsIn, "account " + alice.id})
		Expect(bucket.Tokens()).To(BeNumerically(">", 99))
		refused(login("wrong"), 403, "M_FORBIDDEN")
		Expect(bucket.Tokens()).To(BeNumerically("~", 99, 0.5))
	})
})
