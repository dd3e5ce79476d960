package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/federation/server"
	"hanse/keys"
)

// Identifiers with everything that could go wrong in a path.
const (
	oddRoom  = id.RoomID("!r/o+o m%2F?#&=é:peer.example")
	oddEvent = id.EventID("$e/v+e n%2Ft;?#&=é:me.example")
	oddUser  = id.UserID("@u/s+e.r=_-:me.example")
	oddAlias = id.RoomAlias("#a/l+i as%2F?&=é#:peer.example")
)

// echo is a server's handlers: they note what they were asked and answer with something of the right form.
type echo struct{ asked []any }

func (e *echo) note(origin id.ServerName, what ...any) {
	e.asked = append([]any{origin}, what...)
}

func (e *echo) Transaction(_ context.Context, origin id.ServerName, txnID string, txn federation.Transaction) (federation.PDUResults, error) {
	e.note(origin, txnID, txn)
	return federation.PDUResults{"$a": {}, "$b": {Error: "no"}}, nil
}

func (e *echo) MakeJoin(_ context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeJoinResponse, error) {
	e.note(origin, q)
	return federation.MakeJoinResponse{RoomVersion: "10", Event: json.RawMessage(`{"template":"join"}`)}, nil
}

func (e *echo) SendJoin(_ context.Context, origin id.ServerName, q federation.SendRequest) (federation.SendJoinResponse, error) {
	e.note(origin, q)
	return federation.SendJoinResponse{State: raws(`{"s":1}`), AuthChain: raws(`{"a":1}`), Event: q.Event,
		MembersOmitted: q.OmitMembers, ServersInRoom: []id.ServerName{"x.example"}}, nil
}

func (e *echo) MakeLeave(_ context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeLeaveResponse, error) {
	e.note(origin, q)
	return federation.MakeLeaveResponse{RoomVersion: "10", Event: json.RawMessage(`{"template":"leave"}`)}, nil
}

func (e *echo) SendLeave(_ context.Context, origin id.ServerName, q federation.SendRequest) error {
	e.note(origin, q)
	return nil
}

func (e *echo) MakeKnock(_ context.Context, origin id.ServerName, q federation.MakeRequest) (federation.MakeKnockResponse, error) {
	e.note(origin, q)
	return federation.MakeKnockResponse{RoomVersion: "10", Event: json.RawMessage(`{"template":"knock"}`)}, nil
}

func (e *echo) SendKnock(_ context.Context, origin id.ServerName, q federation.SendRequest) (federation.SendKnockResponse, error) {
	e.note(origin, q)
	return federation.SendKnockResponse{KnockRoomState: raws(`{"k":1}`)}, nil
}

func (e *echo) Invite(_ context.Context, origin id.ServerName, q federation.InviteRequest) (json.RawMessage, error) {
	e.note(origin, q)
	return q.Event, nil
}

func (e *echo) Event(_ context.Context, origin id.ServerName, event id.EventID) (json.RawMessage, error) {
	e.note(origin, event)
	return json.RawMessage(`{"e":1}`), nil
}

func (e *echo) State(_ context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateResponse, error) {
	e.note(origin, q)
	return federation.StateResponse{PDUs: raws(`{"s":1}`), AuthChain: raws(`{"a":1}`)}, nil
}

func (e *echo) StateIDs(_ context.Context, origin id.ServerName, q federation.StateRequest) (federation.StateIDsResponse, error) {
	e.note(origin, q)
	return federation.StateIDsResponse{PDUIDs: []id.EventID{"$s"}, AuthChainIDs: []id.EventID{"$a"}}, nil
}

func (e *echo) EventAuth(_ context.Context, origin id.ServerName, q federation.EventAuthRequest) (federation.EventAuthResponse, error) {
	e.note(origin, q)
	return federation.EventAuthResponse{AuthChain: raws(`{"a":1}`)}, nil
}

func (e *echo) TimestampToEvent(_ context.Context, origin id.ServerName, q federation.TimestampRequest) (federation.TimestampResponse, error) {
	e.note(origin, q)
	return federation.TimestampResponse{EventID: oddEvent, OriginServerTS: 7}, nil
}

func (e *echo) Backfill(_ context.Context, origin id.ServerName, q federation.BackfillRequest) ([]json.RawMessage, error) {
	e.note(origin, q)
	return raws(`{"b":1}`, `{"b":2}`), nil
}

func (e *echo) MissingEvents(_ context.Context, origin id.ServerName, q federation.MissingEventsRequest) ([]json.RawMessage, error) {
	e.note(origin, q)
	return raws(`{"m":1}`), nil
}

func (e *echo) Directory(_ context.Context, origin id.ServerName, alias id.RoomAlias) (federation.DirectoryResponse, error) {
	e.note(origin, alias)
	return federation.DirectoryResponse{RoomID: oddRoom, Servers: []id.ServerName{peer}}, nil
}

func (e *echo) PublicRooms(_ context.Context, origin id.ServerName, q federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	e.note(origin, q)
	return federation.PublicRoomsResponse{Chunk: []federation.PublicRoom{{RoomID: oddRoom, NumJoinedMembers: 3}}}, nil
}

func (e *echo) Hierarchy(_ context.Context, origin id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	e.note(origin, q)
	answer := federation.HierarchyResponse{InaccessibleChildren: []id.RoomID{oddRoom}}
	answer.Room.RoomID = q.RoomID
	answer.Room.ChildrenState = []federation.SpaceChild{{Type: "m.space.child", StateKey: string(oddRoom), Content: json.RawMessage(`{"via":["a"]}`), Sender: "@a:b", OriginServerTS: 7}}
	answer.Children = []federation.RoomSummary{{PublicRoom: federation.PublicRoom{RoomID: oddRoom, JoinRule: "restricted"}, AllowedRoomIDs: []id.RoomID{q.RoomID}, RoomVersion: "12"}}
	return answer, nil
}

func (e *echo) Profile(_ context.Context, origin id.ServerName, q federation.ProfileRequest) (federation.ProfileResponse, error) {
	e.note(origin, q)
	return federation.ProfileResponse{"displayname": json.RawMessage(`"Ann"`)}, nil
}

func (e *echo) ServerKeys(context.Context) (json.RawMessage, error) {
	e.note("")
	return json.RawMessage(`{"server_name":"peer.example"}`), nil
}

func (e *echo) Answer(_ context.Context, q keys.NotaryRequest) ([]json.RawMessage, error) {
	e.note("", q)
	return raws(`{"server_name":"third.example"}`), nil
}

func raws(texts ...string) []json.RawMessage {
	list := make([]json.RawMessage, len(texts))
	for i, text := range texts {
		list[i] = json.RawMessage(text)
	}
	return list
}

// handlers are e in every group.
func (e *echo) handlers() server.Handlers {
	return server.Handlers{Transactions: e, Joins: e, Leaves: e, Knocks: e, Invites: e, Events: e, Directory: e, Spaces: e, Profiles: e, Keys: e}
}

var _ = Describe("every endpoint, against our server", func() {
	var (
		w      *world
		e      *echo
		c      *client.Client
		ctx    context.Context
		origin []any
	)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		Context("over "+protocol, func() {
			BeforeEach(func() {
				ctx = context.Background()
				w, e = newWorld(), &echo{}
				api := server.New(server.Config{Self: peer, Verifier: w.ring, Handlers: e.handlers(),
					Version: federation.ServerVersion{Name: "Test", Version: "7"}})
				srv := w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(protocol, "HTTP/1") != (r.ProtoMajor == 1) {
						panic(fmt.Sprintf("the request came by %s", r.Proto))
					}
					api.ServeHTTP(rw, r)
				}), protocol == "HTTP/2", string(peer))
				w.dir.targets[peer] = append(w.dir.targets[peer], target(srv, string(peer)))
				c = w.client()
				origin = []any{self}
			})

			asked := func(what ...any) {
				GinkgoHelper()
				Expect(e.asked).To(Equal(append(origin, what...)))
			}

			It("asks for version and keys without a signature", func() {
				version, err := c.Version(ctx, peer)
				Expect(err).NotTo(HaveOccurred())
				Expect(version.Server).To(Equal(federation.ServerVersion{Name: "Test", Version: "7"}))
				document, err := c.ServerKeys(ctx, peer)
				Expect(err).NotTo(HaveOccurred())
				Expect(document).To(MatchJSON(`{"server_name":"peer.example"}`))
				q := keys.NotaryRequest{ServerKeys: map[id.ServerName]map[id.KeyID]keys.Criteria{"third.example": {"ed25519:x": {MinimumValidUntilTS: 5}}}}
				documents, err := c.NotaryQuery(ctx, peer, q)
				Expect(err).NotTo(HaveOccurred())
				Expect(documents).To(Equal(raws(`{"server_name":"third.example"}`)))
				origin = []any{id.ServerName("")}
				asked(q)
			})

			It("sends transactions", func() {
				txn := federation.Transaction{Origin: self, OriginServerTS: 5, PDUs: raws(`{"a":"<é>"}`, `{"b":1.5}`),
					EDUs: []federation.EDU{{Type: "m.typing", Content: json.RawMessage(`{"b":1,"a":2}`)}}}
				results, err := c.SendTransaction(ctx, peer, "t/x+n", txn)
				Expect(err).NotTo(HaveOccurred())
				Expect(results).To(Equal(federation.PDUResults{"$a": {}, "$b": {Error: "no"}}))
				txn.EDUs[0].Content = json.RawMessage(`{"a":2,"b":1}`) // canonical
				asked("t/x+n", txn)
			})

			It("joins", func() {
				template, err := c.MakeJoin(ctx, peer, oddRoom, oddUser, []roomversion.Version{"9", "10"})
				Expect(err).NotTo(HaveOccurred())
				Expect(template).To(Equal(federation.MakeJoinResponse{RoomVersion: "10", Event: json.RawMessage(`{"template":"join"}`)}))
				asked(federation.MakeRequest{RoomID: oddRoom, UserID: oddUser, Versions: []roomversion.Version{"9", "10"}})
				answer, err := c.SendJoin(ctx, peer, oddRoom, oddEvent, json.RawMessage(`{"j":1}`), true)
				Expect(err).NotTo(HaveOccurred())
				Expect(answer).To(Equal(federation.SendJoinResponse{State: raws(`{"s":1}`), AuthChain: raws(`{"a":1}`),
					Event: json.RawMessage(`{"j":1}`), MembersOmitted: true, ServersInRoom: []id.ServerName{"x.example"}}))
				asked(federation.SendRequest{RoomID: oddRoom, EventID: oddEvent, Event: json.RawMessage(`{"j":1}`), OmitMembers: true})
			})

			It("leaves", func() {
				template, err := c.MakeLeave(ctx, peer, oddRoom, oddUser)
				Expect(err).NotTo(HaveOccurred())
				Expect(template.Event).To(MatchJSON(`{"template":"leave"}`))
				asked(federation.MakeRequest{RoomID: oddRoom, UserID: oddUser})
				Expect(c.SendLeave(ctx, peer, oddRoom, oddEvent, json.RawMessage(`{"l":1}`))).To(Succeed())
				asked(federation.SendRequest{RoomID: oddRoom, EventID: oddEvent, Event: json.RawMessage(`{"l":1}`)})
			})

			It("knocks", func() {
				template, err := c.MakeKnock(ctx, peer, oddRoom, oddUser, []roomversion.Version{"10"})
				Expect(err).NotTo(HaveOccurred())
				Expect(template.Event).To(MatchJSON(`{"template":"knock"}`))
				answer, err := c.SendKnock(ctx, peer, oddRoom, oddEvent, json.RawMessage(`{"k":1}`))
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.KnockRoomState).To(Equal(raws(`{"k":1}`)))
				asked(federation.SendRequest{RoomID: oddRoom, EventID: oddEvent, Event: json.RawMessage(`{"k":1}`)})
			})

			It("invites", func() {
				invite := federation.InviteRequest{RoomID: oddRoom, EventID: oddEvent, RoomVersion: "10",
					Event: json.RawMessage(`{"i":1}`), InviteRoomState: raws(`{"type":"m.room.create"}`)}
				event, err := c.Invite(ctx, peer, invite)
				Expect(err).NotTo(HaveOccurred())
				Expect(event).To(MatchJSON(`{"i":1}`))
				asked(invite)
			})

			It("asks for events", func() {
				event, err := c.Event(ctx, peer, oddEvent)
				Expect(err).NotTo(HaveOccurred())
				Expect(event).To(MatchJSON(`{"e":1}`))
				asked(oddEvent)
				state, err := c.State(ctx, peer, oddRoom, oddEvent)
				Expect(err).NotTo(HaveOccurred())
				Expect(state).To(Equal(federation.StateResponse{PDUs: raws(`{"s":1}`), AuthChain: raws(`{"a":1}`)}))
				asked(federation.StateRequest{RoomID: oddRoom, EventID: oddEvent})
				ids, err := c.StateIDs(ctx, peer, oddRoom, oddEvent)
				Expect(err).NotTo(HaveOccurred())
				Expect(ids).To(Equal(federation.StateIDsResponse{PDUIDs: []id.EventID{"$s"}, AuthChainIDs: []id.EventID{"$a"}}))
				asked(federation.StateRequest{RoomID: oddRoom, EventID: oddEvent})
				chain, err := c.EventAuth(ctx, peer, oddRoom, oddEvent)
				Expect(err).NotTo(HaveOccurred())
				Expect(chain).To(Equal(raws(`{"a":1}`)))
				asked(federation.EventAuthRequest{RoomID: oddRoom, EventID: oddEvent})
			})

			It("asks for history", func() {
				events, err := c.Backfill(ctx, peer, oddRoom, 20, []id.EventID{oddEvent, "$x"})
				Expect(err).NotTo(HaveOccurred())
				Expect(events).To(Equal(raws(`{"b":1}`, `{"b":2}`)))
				asked(federation.BackfillRequest{RoomID: oddRoom, V: []id.EventID{oddEvent, "$x"}, Limit: 20})
				when := federation.TimestampRequest{RoomID: oddRoom, TS: 1432684800000, Forward: true}
				found, err := c.TimestampToEvent(ctx, peer, when)
				Expect(err).NotTo(HaveOccurred())
				Expect(found).To(Equal(federation.TimestampResponse{EventID: oddEvent, OriginServerTS: 7}))
				asked(when)
				q := federation.MissingEventsRequest{RoomID: oddRoom, EarliestEvents: []id.EventID{"$a"},
					LatestEvents: []id.EventID{oddEvent}, Limit: 5, MinDepth: 3}
				events, err = c.MissingEvents(ctx, peer, q)
				Expect(err).NotTo(HaveOccurred())
				Expect(events).To(Equal(raws(`{"m":1}`)))
				asked(q)
			})

			It("asks the directories", func() {
				where, err := c.QueryDirectory(ctx, peer, oddAlias)
				Expect(err).NotTo(HaveOccurred())
				Expect(where).To(Equal(federation.DirectoryResponse{RoomID: oddRoom, Servers: []id.ServerName{peer}}))
				asked(oddAlias)
				profile, err := c.QueryProfile(ctx, peer, oddUser, "displayname")
				Expect(err).NotTo(HaveOccurred())
				Expect(profile.Text("displayname")).To(Equal("Ann"))
				asked(federation.ProfileRequest{UserID: oddUser, Field: "displayname"})
				q := federation.PublicRoomsRequest{Limit: 5, Since: "a+b/c=&", IncludeAllNetworks: true}
				rooms, err := c.PublicRooms(ctx, peer, q)
				Expect(err).NotTo(HaveOccurred())
				Expect(rooms.Chunk).To(HaveLen(1))
				asked(q)
				space := "m.space"
				q = federation.PublicRoomsRequest{Filter: &federation.PublicRoomsFilter{GenericSearchTerm: "x", RoomTypes: []*string{nil, &space}}}
				_, err = c.PublicRooms(ctx, peer, q)
				Expect(err).NotTo(HaveOccurred())
				asked(q)
			})

			It("hierarchy", func() {
				for _, q := range []federation.HierarchyRequest{{RoomID: oddRoom}, {RoomID: oddRoom, SuggestedOnly: true}} {
					got, err := c.Hierarchy(ctx, peer, q)
					Expect(err).NotTo(HaveOccurred())
					asked(q)
					want, err := e.Hierarchy(ctx, peer, q)
					Expect(err).NotTo(HaveOccurred())
					Expect(got).To(Equal(want))
				}
			})
		})
	}
})
