package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// circular makes an event of a room of version 1 or 2, where servers choose IDs, that names others whatever they are; nil leaves prev or
// auth events as they should be. Auth events are added to those that the event needs.
func circular(r *peer.Room, d event.Draft, eventID id.EventID, prev, auth []id.EventID) json.RawMessage {
	GinkgoHelper()
	e, err := r.Build(d)
	Expect(err).NotTo(HaveOccurred())
	raw, _ := r.Forge(e, func(fields map[string]any) {
		fields["event_id"] = string(eventID)
		if prev != nil {
			fields["prev_events"] = references(prev)
		}
		fields["auth_events"] = append(fields["auth_events"].([]any), references(auth)...)
	}, peer.Forgery{})
	return raw
}

// one answers /event with the event that is asked for, if it is among some.
func one(p *peer.Peer, events map[id.EventID]json.RawMessage) peer.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		raw, ok := events[id.EventID(path.Base(r.URL.Path))]
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		peer.Answer(200, fmt.Sprintf(`{"origin":%q,"origin_server_ts":1,"pdus":[%s]}`, p.Name, raw))(w, r, next)
	}
}

func references(ids []id.EventID) []any {
	list := make([]any, 0, len(ids))
	for _, eventID := range ids {
		list = append(list, []any{string(eventID), map[string]any{}})
	}
	return list
}

var _ = Describe("events that name each other", Serial, func() {
	var versions = []roomversion.Version{roomversion.V1, roomversion.V2}
	name := func(p *peer.Peer, what string) id.EventID { return id.EventID("$" + what + ":" + string(p.Name)) }

	It("are left out of the state that a join is answered with", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		p := newPeer()
		calm(ctx, n, 200e6, 2*time.Second, func() {
			for _, version := range versions {
				room, err := p.CreateRoom(version, p.User("mallory"), peer.RoomOptions{})
				Expect(err).NotTo(HaveOccurred())
				x, y, self := name(p, "x"+string(version)), name(p, "y"+string(version)), name(p, "self"+string(version))
				state := func(stateKey string, eventID, auth id.EventID) json.RawMessage {
					d := peer.StateDraft(p.User("mallory"), "org.example.circle", stateKey, map[string]any{})
					return circular(room, d, eventID, nil, []id.EventID{auth})
				}
				undo := p.On("send_join", peer.Lie(func(a map[string]any) {
					a["state"] = append(a["state"].([]any), state("x", x, y), state("self", self, self))
					a["auth_chain"] = append(a["auth_chain"].([]any), state("y", y, x))
				}))
				_, err = alice.Join(ctx, string(room.ID), string(p.Name))
				undo()
				Expect(err).NotTo(HaveOccurred())
				events, err := alice.State(ctx, string(room.ID))
				Expect(err).NotTo(HaveOccurred())
				for _, e := range events {
					Expect(e.Type).NotTo(Equal("org.example.circle"))
				}
				said, err := room.Say(ctx, p.User("mallory"), "the room goes on")
				Expect(err).NotTo(HaveOccurred())
				shown(ctx, alice, string(room.ID), said.ID())
			}
		})
	})

	It("are no rules to let somebody in by", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		p := newPeer()
		calm(ctx, n, 200e6, 2*time.Second, func() {
			for _, version := range versions {
				room, err := p.CreateRoom(version, p.User("mallory"), peer.RoomOptions{})
				Expect(err).NotTo(HaveOccurred())
				// The power levels rest on the membership of who set them, and that on the power levels.
				levels, member := room.State("m.room.power_levels", ""), room.State("m.room.member", string(p.User("mallory")))
				again := func(e *event.Event, auth id.EventID) json.RawMessage {
					raw, _ := room.Forge(e, func(fields map[string]any) {
						fields["auth_events"] = append(fields["auth_events"].([]any), references([]id.EventID{auth})...)
					}, peer.Forgery{})
					return raw
				}
				undo := p.On("send_join", peer.Lie(func(a map[string]any) {
					for _, list := range []string{"state", "auth_chain"} {
						events := a[list].([]any)
						for i, e := range events {
							switch id.EventID(e.(map[string]any)["event_id"].(string)) {
							case levels.ID():
								events[i] = again(levels, member.ID())
							case member.ID():
								events[i] = again(member, levels.ID())
							}
						}
					}
				}))
				_, err = alice.Join(ctx, string(room.ID), string(p.Name))
				Expect(err).To(HaveOccurred())
				undo()
				_, err = alice.Join(ctx, string(room.ID), string(p.Name)) // nothing of it has stuck
				Expect(err).NotTo(HaveOccurred())
			}
		})
	})

	// guest has mallory of a peer join a room of alice's.
	guest := func(ctx SpecContext, n *node, version roomversion.Version) (host resident, p *peer.Peer, joined peer.Joined) {
		host.User = n.newUser(ctx)
		roomID, err := host.CreateRoom(ctx, map[string]any{"preset": "public_chat", "room_version": version, "name": "a room"})
		Expect(err).NotTo(HaveOccurred())
		host.roomID, p = roomID, newPeer()
		joined, err = p.Join(ctx, n.name, id.RoomID(roomID), p.User("mallory"))
		Expect(err).NotTo(HaveOccurred())
		return host, p, joined
	}

	It("as auth events are asked for, and dropped", func(ctx SpecContext) {
		n := startNode()
		calm(ctx, n, 200e6, 2*time.Second, func() {
			for _, version := range versions {
				alice, p, joined := guest(ctx, n, version)
				member := func(what, auth string) json.RawMessage {
					d := peer.StateDraft(p.User("mallory"), "m.room.member", string(p.User("mallory")), map[string]any{"membership": "join"})
					return circular(joined.Room, d, name(p, what), nil, []id.EventID{name(p, auth)})
				}
				circle := map[string]json.RawMessage{"x": member("x", "y"), "y": member("y", "z"), "z": member("z", "x")}
				p.On("event_auth", peer.Answer(200, fmt.Sprintf(`{"auth_chain":[%s,%s,%s]}`, circle["x"], circle["y"], circle["z"])))
				p.On("event", one(p, map[id.EventID]json.RawMessage{name(p, "x"): circle["x"], name(p, "y"): circle["y"], name(p, "z"): circle["z"]}))
				bad := circular(joined.Room, peer.MessageDraft(p.User("mallory"), "by a circle"), name(p, "bad"), nil, []id.EventID{name(p, "x")})
				_, err := p.Transaction(ctx, n.name, bad)
				Expect(err).NotTo(HaveOccurred())
				alice.goesOn(ctx, p, joined)
				events, err := alice.History(ctx, alice.roomID)
				Expect(err).NotTo(HaveOccurred())
				for _, e := range events {
					Expect(e.ID).NotTo(Equal(string(name(p, "bad"))))
				}
			}
		})
	})

	It("as prev events, over a gap that a given state jumps, leave the room as it is", func(ctx SpecContext) {
		n := startNode()
		calm(ctx, n, 200e6, 2*time.Second, func() {
			for _, version := range versions {
				alice, p, joined := guest(ctx, n, version)
				state := []string{string(joined.Join.ID())}
				for _, raw := range joined.Answer.State {
					e, err := event.Parse(joined.Room.Rules, raw)
					Expect(err).NotTo(HaveOccurred())
					state = append(state, string(e.ID()))
				}
				pduIDs, err := json.Marshal(state)
				Expect(err).NotTo(HaveOccurred())
				p.On("state_ids", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					if r.URL.Query().Get("event_id") == string(name(p, "w")) {
						peer.Answer(200, fmt.Sprintf(`{"pdu_ids":%s,"auth_chain_ids":[]}`, pduIDs))(w, r, next)
						return
					}
					next.ServeHTTP(w, r) // doesn't know it
				})
				say := func(what string, prev ...id.EventID) json.RawMessage {
					return circular(joined.Room, peer.MessageDraft(p.User("mallory"), what), name(p, what), prev, nil)
				}
				over, above := say("w", name(p, "y"), joined.Join.ID()), say("x", name(p, "w")) // who tells nothing below x isn't asked for a state
				undo := p.On("get_missing_events", peer.Answer(200, fmt.Sprintf(`{"events":[%s]}`, over)))
				p.On("event", one(p, map[id.EventID]json.RawMessage{name(p, "w"): over, name(p, "x"): above}))
				_, err = p.Transaction(ctx, n.name, above)
				Expect(err).NotTo(HaveOccurred())
				shown(ctx, alice.User, alice.roomID, name(p, "w"))
				shown(ctx, alice.User, alice.roomID, name(p, "x"))
				undo()
				_, err = p.Transaction(ctx, n.name, say("y", name(p, "z")), say("z", name(p, "x")), say("self", name(p, "self")))
				Expect(err).NotTo(HaveOccurred())
				shown(ctx, alice.User, alice.roomID, name(p, "y"))
				alice.goesOn(ctx, p, joined)
			}
		})
	})
})

// resident is a user of the node with a room.
type resident struct {
	*user.User
	roomID string
}

// goesOn checks that the room is what it was: its state is there, and both sides hear each other.
func (r resident) goesOn(ctx context.Context, p *peer.Peer, joined peer.Joined) {
	GinkgoHelper()
	before, err := r.State(ctx, r.roomID)
	Expect(err).NotTo(HaveOccurred())
	Expect(len(before)).To(BeNumerically(">=", len(joined.Answer.State)+1))
	said, err := joined.Room.Put(peer.MessageDraft(p.User("mallory"), "something right"))
	Expect(err).NotTo(HaveOccurred())
	_, err = p.Transaction(ctx, r.server(), said.JSON())
	Expect(err).NotTo(HaveOccurred())
	shown(ctx, r.User, r.roomID, said.ID())
	_, err = r.SetState(ctx, r.roomID, "m.room.topic", "", map[string]any{"topic": "still here"})
	Expect(err).NotTo(HaveOccurred())
	after, err := r.State(ctx, r.roomID)
	Expect(err).NotTo(HaveOccurred())
	Expect(after).To(HaveLen(len(before) + 1))
}

func (r resident) server() id.ServerName { return id.UserID(r.ID).Server() }

// shown waits until a user is shown an event.
func shown(ctx context.Context, u *user.User, roomID string, eventID id.EventID) {
	GinkgoHelper()
	Eventually(func() ([]string, error) {
		events, err := u.History(ctx, roomID)
		ids := make([]string, 0, len(events))
		for _, e := range events {
			ids = append(ids, e.ID)
		}
		return ids, err
	}).Should(ContainElement(string(eventID)))
}
