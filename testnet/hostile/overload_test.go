package hostile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// talker sends messages.
type talker struct {
	node   *node
	user   *user.User
	room   string
	prefix string
	count  int
	buffer []byte
}

func (t *talker) connect() (*wire, error) { return t.node.dialClient() }
func (t *talker) accepted()               { t.count++ }
func (t *talker) request() []byte {
	target := "/_matrix/client/v3/rooms/" + url.PathEscape(t.room) + "/send/m.room.message/" + t.prefix + strconv.Itoa(t.count)
	t.buffer = appendRequest(t.buffer[:0], "PUT", target, "Bearer "+t.user.Token, []byte(`{"msgtype":"m.text","body":"more, and more, and more of the same"}`))
	return t.buffer
}

// asker sends one request again and again.
type asker struct {
	node *node
	text []byte
}

func (a *asker) connect() (*wire, error) { return a.node.dialClient() }
func (a *asker) accepted()               {}
func (a *asker) request() []byte         { return a.text }

// deliverer sends transactions in a room, each event on top of the one before.
type deliverer struct {
	node *node
	peer *peer.Peer
	room *peer.Room
	last *event.Event
	tip  *event.Event // of the transaction under way
	text []byte       // of it; nil: make the next
}

// transactionPDUs is how many events a transaction has: as many as there may be.
const transactionPDUs = federation.MaxTransactionPDUs

func (d *deliverer) connect() (*wire, error) { return d.node.dialFederation("http/1.1") }
func (d *deliverer) accepted()               { d.last, d.text = d.tip, nil }
func (d *deliverer) request() []byte {
	if d.text != nil {
		return d.text
	}
	d.tip = d.last
	txn := federation.Transaction{Origin: d.peer.Name, OriginServerTS: time.Now().UnixMilli()}
	for i := range transactionPDUs {
		draft := peer.MessageDraft(d.peer.User("load"), strconv.Itoa(i))
		draft.RoomID, draft.PrevEvents, draft.Depth = d.room.ID, []id.EventID{d.tip.ID()}, d.tip.Depth()+1
		draft.AuthEvents, draft.OriginServerTS = authOf(d.room, d.peer.User("load")), time.Now().UnixMilli()
		e, err := draft.Sign(d.room.Rules, d.peer.Name, d.peer.Key())
		if err != nil {
			panic(err) // a message is an event
		}
		txn.PDUs = append(txn.PDUs, e.JSON())
		d.tip = e
	}
	body := txn.AppendJSON(nil)
	target := "/_matrix/federation/v1/send/" + rand.Text()
	authorization, err := federation.SignRequest(d.peer.Key(), "PUT", target, d.peer.Name, d.node.name, body)
	if err != nil {
		panic(err) // a transaction is JSON
	}
	d.text = appendRequest(nil, "PUT", target, authorization.String(), body)
	return d.text
}

// authOf are the auth events of a message.
func authOf(r *peer.Room, sender id.UserID) []id.EventID {
	list := []id.EventID{}
	for _, e := range []*event.Event{r.State("m.room.create", ""), r.State("m.room.power_levels", ""), r.State("m.room.member", string(sender))} {
		if e != nil {
			list = append(list, e.ID())
		}
	}
	return list
}

// hall is a node with rooms full of people.
type hall struct {
	node  *node
	rooms []string
	users []*user.User
}

func newHall(ctx context.Context, rooms, users int) *hall {
	GinkgoHelper()
	h := &hall{node: startNode()}
	for range users {
		h.users = append(h.users, h.node.newUser(ctx))
	}
	for range rooms {
		roomID, err := h.users[0].CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		for _, u := range h.users[1:] {
			_, err := u.Join(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
		}
		h.rooms = append(h.rooms, roomID)
	}
	return h
}

func (h *hall) talker(i int) caller {
	return &talker{node: h.node, user: h.users[i%len(h.users)], room: h.rooms[i/len(h.users)%len(h.rooms)], prefix: rand.Text()}
}

var _ = Describe("overload", Serial, func() {
	BeforeEach(func() {
		if !measuring() {
			Skip("needs -overload, as in `make hostile`")
		}
	})

	It("by clients who send", func(ctx SpecContext) {
		h := newHall(ctx, 10, 8)
		few, many := slicesOf(80, h.talker), slicesOf(1500, h.talker)
		overloaded(ctx, h.node, few, many)
		_, err := h.users[0].Say(ctx, h.rooms[0], "still there")
		Expect(err).NotTo(HaveOccurred())
	})

	It("by clients who log in", func(ctx SpecContext) {
		h := newHall(ctx, 1, 30) // with fewer, they would have more devices than anybody has
		maker := func(i int) caller {
			body := fmt.Appendf(nil, `{"type":"m.login.password","identifier":{"type":"m.id.user","user":%q},"password":"a long password"}`, h.users[i%len(h.users)].ID)
			return &asker{h.node, appendRequest(nil, "POST", "/_matrix/client/v3/login", "", body)}
		}
		b := newBystander(ctx, h.node)
		overloaded(ctx, h.node, slicesOf(8, maker), slicesOf(1500, maker))
		b.end(2 * time.Second)
	})

	It("by clients who read everything from the start", func(ctx SpecContext) {
		h := newHall(ctx, 10, 8)
		load(ctx, slicesOf(80, h.talker), time.Second, 0)
		text := appendRequest(nil, "GET", "/_matrix/client/v3/sync", "Bearer "+h.users[0].Token, nil)
		maker := func(int) caller { return &asker{h.node, text} }
		overloaded(ctx, h.node, slicesOf(16, maker), slicesOf(1500, maker))
	})

	It("by servers", func(ctx SpecContext) {
		h := newHall(ctx, 10, 1)
		var few, many []caller
		for range 12 {
			p := newPeer()
			for i, roomID := range h.rooms {
				joined, err := p.Join(ctx, h.node.name, id.RoomID(roomID), p.User("load"))
				Expect(err).NotTo(HaveOccurred())
				d := &deliverer{node: h.node, peer: p, room: joined.Room, last: joined.Join}
				if many = append(many, d); len(few) < 20 && i < 2 {
					few = append(few, d)
				}
			}
		}
		overloaded(ctx, h.node, few, many)
	})

	It("by strangers in the names of servers that don't exist", func(ctx SpecContext) {
		h := newHall(ctx, 1, 1)
		b := newBystander(ctx, h.node)
		key := peer.NewKey("ed25519:x")
		maker := func(i int) caller {
			origin := id.ServerName(fmt.Sprintf("nobody%d.test", i))
			body := json.RawMessage(`{"origin":"x","origin_server_ts":1,"pdus":[]}`)
			authorization, err := federation.SignRequest(key, "PUT", "/_matrix/federation/v1/send/1", origin, h.node.name, body)
			Expect(err).NotTo(HaveOccurred())
			return &stranger{asker{h.node, appendRequest(nil, "PUT", "/_matrix/federation/v1/send/1", authorization.String(), body)}}
		}
		stop := h.node.peak()
		got := load(ctx, slicesOf(600, maker), *overloadTime, 0)
		AddReportEntry("refusals", got.String()+fmt.Sprintf(", peak memory %.1f MB", float64(stop())/1e6))
		Expect(got.times).To(BeEmpty())
		b.end(2 * time.Second)
	})
})

// stranger is an asker at the server-server API.
type stranger struct{ asker }

func (s *stranger) connect() (*wire, error) { return s.node.dialFederation("http/1.1") }
