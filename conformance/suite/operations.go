package suite

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/spec"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

// scene is a room of alice's with a peer's user and some events, for requests of the peer's that need one.
type scene struct {
	meeting
	said id.EventID
}

// operation is a request of the server-server API: its definition, and how it is made.
type operation struct {
	method, path string // of the definition
	make         func(ctx context.Context, s scene) peer.ByHand
}

func (s scene) names() *strings.Replacer {
	return strings.NewReplacer("{roomId}", url.PathEscape(string(s.ID)), "{eventId}", url.PathEscape(string(s.said)), "{userId}", url.PathEscape(string(s.user)),
		"{serverName}", url.PathEscape(string(s.peer.Name)), "ALICE", url.QueryEscape(alice.ID), "EVENT", url.QueryEscape(string(s.said)))
}

// plain is a request without a body of its own: a query is added to the definition's path.
func plain(method, path, query, body string) operation {
	return operation{method, path, func(_ context.Context, s scene) peer.ByHand {
		r := peer.ByHand{Method: method, URI: s.names().Replace(path + query)}
		if body != "" {
			r.Body = []byte(strings.NewReplacer("ALICE", alice.ID, "EVENT", string(s.said), "PEER", string(s.peer.Name)).Replace(body))
		}
		return r
	}}
}

// handsIn is a request that hands in a membership of a user of the peer's.
func handsIn(path, membership string, before func(ctx context.Context, s scene)) operation {
	return operation{http.MethodPut, path, func(ctx context.Context, s scene) peer.ByHand {
		GinkgoHelper()
		user := s.user
		if membership != "leave" {
			user = s.peer.User("newcomer")
		}
		if before != nil {
			before(ctx, s)
		}
		e, err := s.Build(peer.StateDraft(user, "m.room.member", string(user), map[string]any{"membership": membership}))
		Expect(err).NotTo(HaveOccurred())
		uri := strings.NewReplacer("{roomId}", url.PathEscape(string(s.ID)), "{eventId}", url.PathEscape(string(e.ID()))).Replace(path)
		return peer.ByHand{Method: http.MethodPut, URI: uri, Body: e.JSON()}
	}}
}

func knockable(ctx context.Context, s scene) {
	GinkgoHelper()
	eventID, err := alice.SetState(ctx, string(s.ID), "m.room.join_rules", "", map[string]any{"join_rule": "knock"})
	Expect(err).NotTo(HaveOccurred())
	s.arrives(id.EventID(eventID))
}

func operations() []operation {
	const v1, v2, keys = "/_matrix/federation/v1/", "/_matrix/federation/v2/", "/_matrix/key/v2/"
	makeKnock := plain(http.MethodGet, v1+"make_knock/{roomId}/{userId}", "?ver=10", "")
	return []operation{
		plain(http.MethodGet, v1+"version", "", ""), plain(http.MethodGet, keys+"server", "", ""), plain(http.MethodGet, keys+"query/{serverName}", "", ""),
		plain(http.MethodPost, keys+"query", "", `{"server_keys":{"PEER":{}}}`),
		plain(http.MethodGet, v1+"backfill/{roomId}", "?limit=5&v=EVENT", ""), plain(http.MethodGet, v1+"event/{eventId}", "", ""),
		plain(http.MethodGet, v1+"event_auth/{roomId}/{eventId}", "", ""), plain(http.MethodGet, v1+"state/{roomId}", "?event_id=EVENT", ""),
		plain(http.MethodGet, v1+"state_ids/{roomId}", "?event_id=EVENT", ""),
		plain(http.MethodPost, v1+"get_missing_events/{roomId}", "", `{"earliest_events":[],"latest_events":["EVENT"],"limit":10}`),
		plain(http.MethodGet, v1+"timestamp_to_event/{roomId}", "?dir=f&ts=0", ""),
		plain(http.MethodGet, v1+"make_join/{roomId}/{userId}", "?ver=10", ""), plain(http.MethodGet, v1+"make_leave/{roomId}/{userId}", "", ""),
		{http.MethodGet, v1 + "make_knock/{roomId}/{userId}", func(ctx context.Context, s scene) peer.ByHand {
			GinkgoHelper()
			knockable(ctx, s)
			r := makeKnock.make(ctx, s)
			r.URI = strings.Replace(r.URI, "bob", "newcomer", 1)
			return r
		}},
		handsIn(v2+"send_join/{roomId}/{eventId}", "join", nil), handsIn(v2+"send_leave/{roomId}/{eventId}", "leave", nil),
		handsIn(v1+"send_knock/{roomId}/{eventId}", "knock", knockable),
		plain(http.MethodGet, v1+"publicRooms", "?limit=3", ""), plain(http.MethodPost, v1+"publicRooms", "", `{"limit":3}`),
		plain(http.MethodGet, v1+"query/profile", "?user_id=ALICE", ""),
		{http.MethodGet, v1 + "query/directory", func(ctx context.Context, s scene) peer.ByHand {
			GinkgoHelper()
			alias := "#" + strings.ToLower(string(s.said[1:7])) + ":" + string(home)
			Expect(alice.Call(ctx, http.MethodPut, "/_matrix/client/v3/directory/room/"+url.PathEscape(alias), nil, map[string]any{"room_id": s.ID}, nil)).To(Succeed())
			return peer.ByHand{Method: http.MethodGet, URI: v1 + "query/directory?room_alias=" + url.QueryEscape(alias)}
		}},
		plain(http.MethodGet, v1+"hierarchy/{roomId}", "", ""),
		{http.MethodGet, v1 + "user/devices/{userId}", func(ctx context.Context, _ scene) peer.ByHand {
			GinkgoHelper()
			upload(ctx, alice, someKey)
			return peer.ByHand{Method: http.MethodGet, URI: v1 + "user/devices/" + url.PathEscape(alice.ID)}
		}},
		plain(http.MethodPost, v1+"user/keys/query", "", `{"device_keys":{"ALICE":[]}}`),
		plain(http.MethodPost, v1+"user/keys/claim", "", `{"one_time_keys":{"ALICE":{"NODEVICE":"signed_curve25519"}}}`),
		{http.MethodGet, v1 + "openid/userinfo", func(ctx context.Context, _ scene) peer.ByHand {
			GinkgoHelper()
			var token struct {
				Token string `json:"access_token"`
			}
			path := "/_matrix/client/v3/user/" + url.PathEscape(alice.ID) + "/openid/request_token"
			Expect(alice.Call(ctx, http.MethodPost, path, nil, map[string]any{}, &token)).To(Succeed())
			return peer.ByHand{Method: http.MethodGet, URI: v1 + "openid/userinfo?access_token=" + url.QueryEscape(token.Token), Authorization: []string{}}
		}},
		{http.MethodPut, v1 + "send/{txnId}", func(_ context.Context, s scene) peer.ByHand { return s.peer.SendRequest() }},
	}
}

var _ = Describe("Answers of the server-server API", Label("s2s:definitions"), func() {
	for _, o := range operations() {
		defined, ok := spec.Answer(o.method, o.path)
		if !ok {
			panic("no definition for " + o.method + " " + o.path)
		}
		It("have the form of their definitions: "+o.method+" "+o.path,
			says(defined.Anchor, "The answer's definition."),
			says("server-server-api#api-standards", "Servers must include a Content-Type header of application/json for all JSON responses."), func(ctx SpecContext) {
				m := meet(ctx, mainVersion)
				s := scene{meeting: m, said: m.fromAlice(ctx, "see here").ID()}
				answer, err := s.peer.Do(ctx, sut.name, o.make(ctx, s))
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
				Expect(answer.Header.Get("Content-Type")).To(HavePrefix("application/json"))
				Expect(spec.CheckAnswer(o.method, o.path, http.StatusOK, answer.Body)).To(Succeed(), "%s", answer.String())
			})
	}

	DescribeTable("need a signature",
		says("server-server-api#request-authentication", "Every HTTP request made by a homeserver is authenticated using public key digital signatures."), func(ctx SpecContext, o operation) {
			m := meet(ctx, mainVersion)
			s := scene{meeting: m, said: m.fromAlice(ctx, "see here").ID()}
			r := o.make(ctx, s)
			r.Authorization = []string{}
			answer, err := s.peer.Do(ctx, sut.name, r)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusUnauthorized), "%s", answer.String())
		}, signedOperations())

	It("take JSON without a Content-Type",
		says("server-server-api#api-standards", "Requesting servers should supply a Content-Type header of application/json for all requests with JSON bodies, but this is not required."), func(ctx SpecContext) {
			p := newPeer()
			r := p.SendRequest()
			r.Header = http.Header{"Content-Type": []string{"text/plain"}}
			answer, err := p.Do(ctx, sut.name, r)
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusOK), "%s", answer.String())
		})
})

// signedOperations are those that need a signature.
func signedOperations() []TableEntry {
	var entries []TableEntry
	for _, o := range operations() {
		if !strings.Contains(o.path, "/key/") && !strings.HasSuffix(o.path, "/version") && !strings.HasSuffix(o.path, "/userinfo") {
			entries = append(entries, Entry(o.method+" "+o.path, o))
		}
	}
	return entries
}

var _ = Describe("History by time", Label("s2s:history"), func() {
	const section = "server-server-api#get_matrixfederationv1timestamp_to_eventroomid"

	It("timestamp_to_event finds the closest event, forwards and backwards",
		says(section, "Get the ID of the event closest to the given timestamp, in the direction specified by the dir parameter."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			ask := func(dir string, ts int64) (id.EventID, int) {
				GinkgoHelper()
				var answer struct {
					EventID id.EventID `json:"event_id"`
				}
				status := m.ask(ctx, http.MethodGet, "timestamp_to_event/"+url.PathEscape(string(m.ID))+"?dir="+dir+"&ts="+text64(ts), nil, &answer)
				return answer.EventID, status
			}
			first := m.marker(ctx)
			time.Sleep(3 * time.Millisecond) // for another origin_server_ts
			second := m.marker(ctx)
			found, _ := ask("b", second.OriginServerTS())
			Expect(found).To(Equal(second.ID()))
			found, _ = ask("b", second.OriginServerTS()-1)
			Expect(found).To(Equal(first.ID()))
			found, _ = ask("f", first.OriginServerTS()+1)
			Expect(found).To(Equal(second.ID()))
			_, status := ask("f", time.Now().Add(time.Hour).UnixMilli())
			Expect(status).To(Equal(http.StatusNotFound))
		})

	It("timestamp_to_event tells nothing to who is not in the room",
		follows(section, "its answer is about a room's history"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			answer, err := newPeer().Do(ctx, sut.name, peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/v1/timestamp_to_event/" + url.PathEscape(string(m.ID)) + "?dir=f&ts=0"})
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(BeElementOf(http.StatusForbidden, http.StatusNotFound), "%s", answer.String())
		})
})
