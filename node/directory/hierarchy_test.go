package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/id"
	"hanse/node/store"
)

// others are other servers: what they tell of rooms, and what they were asked.
type others struct {
	Client
	mu    sync.Mutex
	rooms map[id.RoomID]federation.HierarchyResponse
	asked []string
	// silence is what fails where a room isn't told of; nil: it is refused.
	silence error
}

func (o *others) Hierarchy(_ context.Context, server id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, fmt.Sprintf("%s %s", server, q.RoomID))
	found, ok := o.rooms[q.RoomID]
	if !ok {
		if o.silence != nil {
			return found, o.silence
		}
		return found, &client.Error{Server: server, Status: 404, Matrix: federation.NotFound("no such room")}
	}
	return found, nil
}

// newSpace makes a public space of alice's.
func newSpace(s *store.Store, more ...state) id.RoomID {
	GinkgoHelper()
	return newRoomOf(s, `{"room_version":"12","type":"m.space"}`, more...)
}

// has makes the event that puts a room into a space.
func has(room id.RoomID, content string) state {
	return state{alice, "m.space.child", string(room), content}
}

const via = `{"via":["far.test"]}`

// remote is a room as another server tells of it.
func remote(room id.RoomID, rule string, children ...id.RoomID) federation.HierarchyResponse {
	var r federation.HierarchyResponse
	r.Room.RoomID, r.Room.JoinRule = room, rule
	for i, c := range children {
		r.Room.RoomType = spaceType
		r.Room.ChildrenState = append(r.Room.ChildrenState, federation.SpaceChild{
			Type: "m.space.child", StateKey: string(c), Content: []byte(via), Sender: "@a:far.test", OriginServerTS: int64(i),
		})
	}
	return r
}

var _ = Describe("a space", func() {
	rooms := func(list []federation.SpaceRoom) []id.RoomID {
		var all []id.RoomID
		for _, r := range list {
			all = append(all, r.RoomID)
		}
		return all
	}
	walk := func(ctx context.Context, d *Directory, q HierarchyQuery) []id.RoomID {
		GinkgoHelper()
		if q.MaxDepth == 0 {
			q.MaxDepth = -1
		}
		if q.Limit == 0 {
			q.Limit = 50
		}
		if q.User == "" {
			q.User = alice
		}
		list, next, err := d.RoomsOf(ctx, q)
		Expect(err).NotTo(HaveOccurred())
		Expect(next).To(BeEmpty())
		return rooms(list)
	}

	It("is walked in the order of its children, page by page", func(ctx context.Context) {
		d, s := newDirectory()
		last, first, second, third := newRoom(s), newRoom(s), newRoom(s), newRoom(s)
		inner := newSpace(s, has(last, via))
		top := newSpace(s, has(third, via), has(second, `{"via":["x"],"order":"b"}`), has(first, `{"via":["x"],"order":"a","suggested":true}`),
			has(inner, `{"via":["x"],"order":"c"}`), has("!unknown:far.test", via), has(newRoom(s), `{}`), has(newRoom(s), `{"via":[]}`))
		want := []id.RoomID{top, first, second, inner, last, third}
		Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(Equal(want))
		Expect(walk(ctx, d, HierarchyQuery{Room: top, MaxDepth: 1})).To(Equal([]id.RoomID{top, first, second, inner, third}))
		Expect(walk(ctx, d, HierarchyQuery{Room: top, SuggestedOnly: true})).To(Equal([]id.RoomID{top, first}))

		var paged []id.RoomID
		q := HierarchyQuery{User: alice, Room: top, MaxDepth: -1, Limit: 2}
		for range 3 {
			page, next, err := d.RoomsOf(ctx, q)
			Expect(err).NotTo(HaveOccurred())
			paged, q.From = append(paged, rooms(page)...), next
		}
		Expect(paged).To(Equal(want))
		Expect(q.From).To(BeEmpty())
		_, next, err := d.RoomsOf(ctx, HierarchyQuery{User: alice, Room: top, MaxDepth: -1, Limit: 2})
		Expect(err).NotTo(HaveOccurred())
		for _, bad := range []HierarchyQuery{{From: next, MaxDepth: 1}, {From: next, MaxDepth: -1, SuggestedOnly: true}, {From: "nonsense"}} {
			bad.User, bad.Room, bad.Limit = alice, top, 2
			_, _, err := d.RoomsOf(ctx, bad)
			Expect(err).To(MatchError(ContainSubstring("M_INVALID_PARAM")))
		}
	})

	It("shows what the user may enter, and hides the rest", func(ctx context.Context) {
		d, s := newDirectory()
		secret := newRoom(s, state{alice, "m.room.join_rules", "", `{"join_rule":"invite"}`})
		readable := newRoom(s, state{alice, "m.room.join_rules", "", `{"join_rule":"invite"}`},
			state{alice, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`})
		knock := newRoom(s, state{alice, "m.room.join_rules", "", `{"join_rule":"knock"}`})
		invited := newRoom(s, state{alice, "m.room.join_rules", "", `{"join_rule":"invite"}`}, state{alice, "m.room.member", string(carol), `{"membership":"invite"}`})
		club := newRoom(s, joins(bob), joins("@x:club.test"))
		members := newRoom(s, state{alice, "m.room.join_rules", "", fmt.Sprintf(
			`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":%q},{"type":"m.other"}]}`, club)})
		top := newSpace(s, has(secret, `{"via":["x"],"order":"a"}`), has(readable, `{"via":["x"],"order":"b"}`), has(knock, `{"via":["x"],"order":"c"}`),
			has(invited, `{"via":["x"],"order":"d"}`), has(members, `{"via":["x"],"order":"e"}`))
		Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(Equal([]id.RoomID{top, secret, readable, knock, invited, members}))
		Expect(walk(ctx, d, HierarchyQuery{User: bob, Room: top})).To(Equal([]id.RoomID{top, readable, knock, members}))
		Expect(walk(ctx, d, HierarchyQuery{User: carol, Room: top})).To(Equal([]id.RoomID{top, readable, knock, invited}))
		_, _, err := d.RoomsOf(ctx, HierarchyQuery{User: bob, Room: secret, MaxDepth: -1, Limit: 1})
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))

		answer, err := d.Hierarchy(ctx, "far.test", federation.HierarchyRequest{RoomID: top})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Children).To(HaveLen(2))
		Expect(answer.InaccessibleChildren).To(Equal([]id.RoomID{secret, invited, members}))
		Expect(answer.Room.ChildrenState).To(HaveLen(5))
		answer, err = d.Hierarchy(ctx, "club.test", federation.HierarchyRequest{RoomID: top})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Children).To(HaveLen(3))
		Expect(answer.Children[2].AllowedRoomIDs).To(Equal([]id.RoomID{club}))
		for _, hidden := range []id.RoomID{secret, "!nowhere:far.test"} {
			_, err = d.Hierarchy(ctx, "far.test", federation.HierarchyRequest{RoomID: hidden})
			Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		}

		_, err = d.Preview(ctx, "", members, nil)
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		preview, err := d.Preview(ctx, bob, members, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(preview.Membership).To(Equal("leave"))
		preview, err = d.Preview(ctx, "", knock, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(preview.JoinRule).To(Equal("knock"))
		Expect(preview.Membership).To(BeEmpty())
	})

	It("asks other servers for what is theirs, once, and survives loops", func(ctx context.Context) {
		d, s := newDirectory()
		far := &others{rooms: map[id.RoomID]federation.HierarchyResponse{}, silence: errors.New("no answer")}
		d.client = far
		const a, b, c, hidden, lost = id.RoomID("!a:far.test"), id.RoomID("!b:far.test"), id.RoomID("!c:far.test"), id.RoomID("!hidden:far.test"), id.RoomID("!lost:far.test")
		top := newSpace(s, has(a, via), has(lost, via))
		outer := remote(a, "public", b, c, hidden, a, top)
		outer.Children = []federation.RoomSummary{{PublicRoom: federation.PublicRoom{RoomID: b, JoinRule: "public", Name: "B"}},
			{PublicRoom: federation.PublicRoom{RoomID: c, JoinRule: "public", RoomType: spaceType}}}
		outer.InaccessibleChildren = []id.RoomID{hidden}
		far.rooms[a], far.rooms[c] = outer, remote(c, "public", a, b)
		for range 2 {
			Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(Equal([]id.RoomID{top, a, b, c}))
		}
		Expect(far.asked).To(ConsistOf("far.test "+string(a), "far.test "+string(c), "far.test "+string(lost)), "and what it tells is kept")

		preview, err := d.Preview(ctx, alice, "!d:elsewhere.test", []id.ServerName{self, "one.test", "one.test", "two.test"})
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")), "%v", preview)
		Expect(far.asked[3:]).To(Equal([]string{"one.test !d:elsewhere.test", "two.test !d:elsewhere.test", "elsewhere.test !d:elsewhere.test"}))
		far.rooms["!e:far.test"] = remote("!e:far.test", "public")
		far.rooms["!f:far.test"] = remote("!f:far.test", "invite")
		Expect(d.Preview(ctx, "", "!e:far.test", nil)).To(HaveField("RoomID", id.RoomID("!e:far.test")))
		_, err = d.Preview(ctx, bob, "!f:far.test", nil)
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		far.rooms["!g:far.test"] = remote("!other:far.test", "public")
		_, err = d.Preview(ctx, bob, "!g:far.test", nil)
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")), "a server that tells of another room")
	})

	It("is asked for again where it was refused", func(ctx context.Context) {
		d, s := newDirectory()
		far := &others{rooms: map[id.RoomID]federation.HierarchyResponse{}}
		d.client = far
		const members = id.RoomID("!members:far.test")
		top := newSpace(s, has(members, via))
		Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(Equal([]id.RoomID{top}))
		Expect(far.asked).To(HaveLen(1), "once for a walk")
		far.rooms[members] = remote(members, "public") // one of theirs has come to a room whose members may see it
		Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(Equal([]id.RoomID{top, members}))
	})

	It("is walked page by page without asking anew for what was refused", func(ctx context.Context) {
		d, s := newDirectory()
		far := &others{rooms: map[id.RoomID]federation.HierarchyResponse{}}
		d.client = far
		var children []state
		for n := range 100 {
			children = append(children, has(id.RoomID(fmt.Sprintf("!dead%d:far.test", n)), fmt.Sprintf(`{"via":["far.test"],"order":"%03d"}`, n)))
		}
		first, last := newRoom(s), newRoom(s)
		top := newSpace(s, append(children, has(first, `{"via":["x"],"order":"050"}`), has(last, `{"via":["x"],"order":"200"}`))...)
		var paged []id.RoomID
		q := HierarchyQuery{User: alice, Room: top, MaxDepth: -1, Limit: 1}
		for len(paged) == 0 || q.From != "" {
			page, next, err := d.RoomsOf(ctx, q)
			Expect(err).NotTo(HaveOccurred())
			paged, q.From = append(paged, rooms(page)...), next
			far.mu.Lock()
			far.rooms["!dead7:far.test"] = remote("!dead7:far.test", "public") // the pages of a walk agree
			far.mu.Unlock()
		}
		Expect(paged).To(Equal([]id.RoomID{top, first, last}))
		Expect(far.asked).To(HaveLen(100), "each once")
		Expect(walk(ctx, d, HierarchyQuery{Room: top})).To(HaveLen(4), "a new walk asks anew")
	})

	It("is bounded, however large others make theirs", func(ctx context.Context) {
		d, s := newDirectory()
		endless := &endless{}
		d.client = endless
		top := newSpace(s, has("!0:far.test", via))
		list, next, err := d.RoomsOf(ctx, HierarchyQuery{User: alice, Room: top, MaxDepth: -1, Limit: 10})
		Expect(err).NotTo(HaveOccurred())
		Expect(list).To(HaveLen(10))
		Expect(next).NotTo(BeEmpty())
		list, _, err = d.RoomsOf(ctx, HierarchyQuery{User: alice, Room: top, MaxDepth: -1, Limit: 1 << 30})
		Expect(err).NotTo(HaveOccurred())
		Expect(len(list)).To(BeNumerically("<=", maxSpaceRooms))
		Expect(endless.most).To(BeNumerically("<=", maxSpaceDepth+1), "no deeper than that")
	})
})

var _ = Describe("another server's list of rooms", func() {
	It("is cut to what was asked for at most, however long a page it gives", func(ctx context.Context) {
		d, _ := newDirectory()
		d.client = &endless{}
		for _, limit := range []int{0, 10, 1 << 30} {
			list, err := d.RemotePublicRooms(ctx, "far.test", federation.PublicRoomsRequest{Limit: limit})
			Expect(err).NotTo(HaveOccurred())
			Expect(len(list.Chunk)).To(BeNumerically("<=", maxPage))
			Expect(list.NextBatch).To(Equal("more"), "the client decides whether it goes on")
		}
	})
})

func (e *endless) PublicRooms(context.Context, id.ServerName, federation.PublicRoomsRequest) (federation.PublicRoomsResponse, error) {
	return federation.PublicRoomsResponse{Chunk: make([]federation.PublicRoom, 10*maxPage), NextBatch: "more", TotalRoomCountEstimate: 1 << 40}, nil
}

// endless tells of a space in a space in a space, and of rooms without end.
type endless struct {
	Client
	mu   sync.Mutex
	most int
}

func (e *endless) Hierarchy(_ context.Context, _ id.ServerName, q federation.HierarchyRequest) (federation.HierarchyResponse, error) {
	var n int
	if _, err := fmt.Sscanf(string(q.RoomID), "!%d:", &n); err != nil {
		return federation.HierarchyResponse{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.most = max(e.most, n)
	return remote(q.RoomID, "public", id.RoomID(fmt.Sprintf("!%d:far.test", n+1))), nil
}

func TestOrderOfChildren(t *testing.T) {
	event := func(room, content string, ts int64) federation.SpaceChild {
		return federation.SpaceChild{Type: "m.space.child", StateKey: room, Content: []byte(content), OriginServerTS: ts}
	}
	got := childrenOf([]federation.SpaceChild{
		event("!late:x", `{"via":["x"]}`, 9), event("!early:x", `{"via":["x"],"order":7}`, 1), event("!bad:x", `{"via":["x"],"order":"ä"}`, 5),
		event("!b:x", `{"via":["x"],"order":"b"}`, 3), event("!a:x", `{"via":["x"],"order":"a"}`, 4), event("!none:x", `{"via":"x"}`, 1), event("none", `{"via":["x"]}`, 1),
	}, false)
	var order string
	for _, c := range got {
		order += string(c.room) + " "
	}
	if order != "!a:x !b:x !early:x !bad:x !late:x " {
		t.Error(order)
	}
}
