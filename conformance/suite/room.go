package suite

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// meeting is a room in which alice and a peer's user are.
type meeting struct {
	*peer.Room
	peer *peer.Peer
	user id.UserID // the peer's
}

// roomOfAlice makes a public room of alice's.
func roomOfAlice(ctx context.Context, version roomversion.Version, options map[string]any) id.RoomID {
	GinkgoHelper()
	request := map[string]any{"preset": "public_chat", "room_version": string(version)}
	for key, value := range options {
		request[key] = value
	}
	roomID, err := alice.CreateRoom(ctx, request)
	Expect(err).NotTo(HaveOccurred())
	return id.RoomID(roomID)
}

// meet is a room of alice's that a new peer's user has joined.
func meet(ctx context.Context, version roomversion.Version) meeting {
	GinkgoHelper()
	return visit(ctx, newPeer(), roomOfAlice(ctx, version, nil))
}

// visit lets a peer's user join a room of the server under test.
func visit(ctx context.Context, p *peer.Peer, roomID id.RoomID) meeting {
	GinkgoHelper()
	joined, err := p.Join(ctx, sut.name, roomID, p.User("bob"))
	Expect(err).NotTo(HaveOccurred())
	return meeting{Room: joined.Room, peer: p, user: p.User("bob")}
}

// host is a room of a new peer's that alice has joined.
func host(ctx context.Context, version roomversion.Version, options peer.RoomOptions) meeting {
	GinkgoHelper()
	p := newPeer()
	room, err := p.CreateRoom(version, p.User("bob"), options)
	Expect(err).NotTo(HaveOccurred())
	_, err = alice.Join(ctx, string(room.ID), string(p.Name))
	Expect(err).NotTo(HaveOccurred())
	return meeting{Room: room, peer: p, user: p.User("bob")}
}

// timeline are the IDs of the events that a user sees in a room, the oldest first.
func timeline(ctx context.Context, u *user.User, roomID id.RoomID) func() ([]id.EventID, error) {
	return func() ([]id.EventID, error) {
		history, err := u.History(ctx, string(roomID))
		ids := make([]id.EventID, len(history))
		for i, e := range history {
			ids[len(ids)-1-i] = id.EventID(e.ID)
		}
		return ids, err
	}
}

// content is what a user sees as the content of an event.
func content(ctx context.Context, u *user.User, roomID id.RoomID, eventID id.EventID) func() (map[string]any, error) {
	return func() (map[string]any, error) {
		var answer struct {
			Content map[string]any `json:"content"`
		}
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(roomID)) + "/event/" + url.PathEscape(string(eventID))
		err := u.Call(ctx, http.MethodGet, path, nil, nil, &answer)
		return answer.Content, err
	}
}

// stateContent is what a user sees as the content of a state event.
func stateContent(ctx context.Context, u *user.User, roomID id.RoomID, eventType, stateKey string) func() (map[string]any, error) {
	return func() (map[string]any, error) {
		var answer map[string]any
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(roomID)) + "/state/" + url.PathEscape(eventType) + "/" + url.PathEscape(stateKey)
		err := u.Call(ctx, http.MethodGet, path, nil, nil, &answer)
		return answer, err
	}
}

// membership is what alice sees as a user's membership; "" for none.
func membership(ctx context.Context, roomID id.RoomID, member id.UserID) func() string {
	return func() string {
		answer, err := stateContent(ctx, alice, roomID, "m.room.member", string(member))()
		if err != nil {
			return ""
		}
		text, _ := answer["membership"].(string)
		return text
	}
}

// marker sends a message that must arrive, and waits until alice sees it: what was sent before has been handled then.
func (m meeting) marker(ctx context.Context) *event.Event {
	GinkgoHelper()
	e, err := m.Say(ctx, m.user, "marker")
	Expect(err).NotTo(HaveOccurred())
	Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(e.ID()))
	return e
}

// fromAlice lets alice say something and waits until the peer has it.
func (m meeting) fromAlice(ctx context.Context, text string) *event.Event {
	GinkgoHelper()
	eventID, err := alice.Say(ctx, string(m.ID), text)
	Expect(err).NotTo(HaveOccurred())
	return m.arrives(id.EventID(eventID))
}

// arrives waits until the peer has an event, and judges it: hash, signature, authorisation.
func (m meeting) arrives(eventID id.EventID) *event.Event {
	GinkgoHelper()
	Eventually(func() bool { return m.Has(eventID) }).Should(BeTrue(), "the event %s does not come to the peer", eventID)
	e := m.Event(eventID)
	Expect(e.ContentHashMatches()).To(BeTrue(), "the content hash of %s is wrong", e.JSON())
	Expect(m.Check(e)).To(Succeed())
	return e
}

// notPrev checks that what the server under test sends next does not build on the given events.
func (m meeting) notPrev(ctx context.Context, ids ...id.EventID) {
	GinkgoHelper()
	e := m.fromAlice(ctx, "what comes next")
	for _, eventID := range ids {
		Expect(slices.Contains(e.PrevEvents(), eventID)).To(BeFalse(), "%s has %s among its prev_events", e.ID(), eventID)
	}
}

// other makes another user of the peer's join the room.
func (m meeting) other(ctx context.Context, localpart string) id.UserID {
	GinkgoHelper()
	u := m.peer.User(localpart)
	e, err := m.Send(ctx, peer.StateDraft(u, "m.room.member", string(u), map[string]any{"membership": "join"}))
	Expect(err).NotTo(HaveOccurred())
	Eventually(membership(ctx, m.ID, u)).Should(Equal("join"), "the join %s of the peer's second user", e.ID())
	return u
}
