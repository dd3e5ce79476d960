package directory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

func TestDirectory(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "directory")
}

const (
	self  = id.ServerName("example.org")
	alice = id.UserID("@alice:example.org") // makes the rooms
	bob   = id.UserID("@bob:example.org")   // joined, without power
	carol = id.UserID("@carol:example.org") // in no room
	tea   = id.RoomAlias("#tea:example.org")
)

// nothing is the source of a room that is being made.
type nothing struct{}

func (nothing) Events([]id.EventID) (map[id.EventID]room.Stored, error) { return nil, nil }
func (nothing) StateAfter(id.EventID) (roomstate.Map, bool, error) {
	return roomstate.Map{}, false, nil
}
func (nothing) Referenced([]id.EventID) (map[id.EventID]bool, error) { return nil, nil }

func newDirectory() (*Directory, *store.Store) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.Open(ctx, sqlite.Open(filepath.Join(GinkgoT().TempDir(), "hanse.db")), store.Options{ServerName: self})
	Expect(err).NotTo(HaveOccurred())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	DeferCleanup(func() {
		cancel()
		<-done
		Expect(s.Close()).To(Succeed())
	})
	d, err := New(Config{Self: self, Store: s})
	Expect(err).NotTo(HaveOccurred())
	return d, s
}

// state is one state event of a room in a test.
type state struct {
	sender            id.UserID
	typ, key, content string
}

func joins(user id.UserID) state {
	return state{user, "m.room.member", string(user), `{"membership":"join"}`}
}

// newRoom makes a public room of alice's with more state.
func newRoom(s *store.Store, more ...state) id.RoomID {
	GinkgoHelper()
	return newRoomOf(s, `{"room_version":"12"}`, more...)
}

// made counts the rooms of newRoomOf.
var made atomic.Int64

// newRoomOf is newRoom with that content of the create event.
func newRoomOf(s *store.Store, create string, more ...state) id.RoomID {
	GinkgoHelper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	rules, _ := roomversion.Lookup(roomversion.V12)
	var drafts []event.Draft
	for _, e := range append([]state{
		{alice, "m.room.create", "", create}, joins(alice), {alice, "m.room.join_rules", "", `{"join_rule":"public"}`},
	}, more...) {
		drafts = append(drafts, event.Draft{Sender: e.sender, Type: e.typ, StateKey: &e.key, Content: json.RawMessage(e.content)})
	}
	// The create event's ID is the room's: rooms of the same millisecond would be one.
	drafts[0].OriginServerTS = time.Now().UnixMilli() + made.Add(1)
	machine := room.New(self, rules)
	result, err := machine.Step(time.Now(), room.Propose{Drafts: drafts, Key: signedjson.Key{ID: "ed25519:1", Private: private}}, nothing{})
	Expect(err).NotTo(HaveOccurred())
	for _, v := range result.Verdicts {
		Expect(v.Status).To(Equal(room.Accepted), v.Reason)
	}
	result.Commit.Send = nil
	_, err = s.Commit(context.Background(), result.Commit, store.CommitOptions{})
	Expect(err).NotTo(HaveOccurred())
	return machine.RoomID()
}

var _ = Describe("aliases", func() {
	It("lead to a room and the servers in it, ours first, then the largest", func(ctx context.Context) {
		d, s := newDirectory()
		r := newRoom(s, joins("@a:small.test"), joins("@a:large.test"), joins("@b:large.test"), joins("@a:alike.test"))
		Expect(d.Create(ctx, tea, r, alice, false)).To(Succeed())
		Expect(d.Local(ctx, tea)).To(Equal(federation.DirectoryResponse{
			RoomID: r, Servers: []id.ServerName{self, "large.test", "alike.test", "small.test"},
		}))
		_, err := d.Local(ctx, "#none:example.org")
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		_, err = d.Local(ctx, "#tea:far.test")
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		_, err = d.Resolve(ctx, "#tea:far.test")
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")), "without a client")
	})

	It("belong to their makers, and to who has the power", func(ctx context.Context) {
		d, s := newDirectory()
		r := newRoom(s, joins(bob))
		Expect(d.Create(ctx, tea, r, carol, false)).To(MatchError(ContainSubstring("M_FORBIDDEN")))
		Expect(d.Create(ctx, tea, r, carol, true)).To(Succeed(), "an admin")
		Expect(d.Create(ctx, "#bob:example.org", r, bob, false)).To(Succeed())
		_, err := d.Delete(ctx, tea, bob, false)
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))
		Expect(d.Delete(ctx, tea, alice, false)).To(Equal(r))
		Expect(d.Delete(ctx, "#bob:example.org", bob, false)).To(Equal(r))
		_, err = d.Delete(ctx, tea, alice, false)
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(d.Aliases(ctx, r, bob)).To(BeEmpty())
		_, err = d.Aliases(ctx, r, carol)
		Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))
	})

	It("are shown to everybody where the room is world-readable", func(ctx context.Context) {
		d, s := newDirectory()
		r := newRoom(s, state{alice, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`})
		Expect(d.Create(ctx, tea, r, alice, false)).To(Succeed())
		Expect(d.Aliases(ctx, r, carol)).To(Equal([]id.RoomAlias{tea}))
	})

	It("move with an upgrade, and so does the room's place in the list", func(ctx context.Context) {
		d, s := newDirectory()
		before, after := newRoom(s), newRoom(s)
		Expect(d.Create(ctx, tea, before, alice, false)).To(Succeed())
		Expect(d.Publish(ctx, before, alice, false, true)).To(Succeed())
		Expect(d.Move(ctx, before, after)).To(Succeed())
		Expect(d.Local(ctx, tea)).To(HaveField("RoomID", after))
		Expect(d.Published(ctx, before)).To(BeFalse())
		Expect(d.Published(ctx, after)).To(BeTrue())
		Expect(d.Delete(ctx, tea, alice, false)).To(Equal(after), "its maker is still its maker")
	})
})

var _ = Describe("the list of rooms", func() {
	It("is changed by who has the power", func(ctx context.Context) {
		d, s := newDirectory()
		r := newRoom(s, joins(bob))
		Expect(d.Publish(ctx, r, bob, false, true)).To(MatchError(ContainSubstring("M_FORBIDDEN")))
		Expect(d.Publish(ctx, r, carol, false, true)).To(MatchError(ContainSubstring("M_FORBIDDEN")))
		Expect(d.Publish(ctx, "!none:example.org", alice, false, true)).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(d.Publish(ctx, r, carol, true, true)).To(Succeed(), "an admin")
		Expect(d.PublicRooms(ctx, federation.PublicRoomsRequest{})).To(HaveField("TotalRoomCountEstimate", 1))
	})

	It("shows what a room says of itself, as far as that makes sense", func(ctx context.Context) {
		d, s := newDirectory()
		r := newRoom(s, joins(bob),
			state{alice, "m.room.name", "", `{"name":"Tea"}`}, state{alice, "m.room.topic", "", `{"topic":"` + strings.Repeat("ä", maxText) + `"}`},
			state{alice, "m.room.avatar", "", `{"url":"mxc://example.org/x"}`}, state{alice, "m.room.canonical_alias", "", `{"alias":"#tea:example.org"}`},
			state{alice, "m.room.history_visibility", "", `{"history_visibility":"world_readable"}`},
			state{alice, "m.room.guest_access", "", `{"guest_access":"can_join"}`})
		summary, err := d.Summary(ctx, r)
		Expect(err).NotTo(HaveOccurred())
		Expect(summary.RoomVersion).To(Equal("12"))
		Expect(summary.PublicRoom).To(Equal(federation.PublicRoom{
			RoomID: r, Name: "Tea", Topic: strings.Repeat("ä", maxText/2), AvatarURL: "mxc://example.org/x", CanonicalAlias: tea,
			JoinRule: "public", NumJoinedMembers: 2, WorldReadable: true, GuestCanJoin: true,
		}))
		odd := newRoom(s, state{alice, "m.room.name", "", `{"name":7}`}, state{alice, "m.room.topic", "", `{}`},
			state{alice, "m.room.canonical_alias", "", `{"alias":"nonsense"}`}, state{alice, "m.room.guest_access", "", `{"guest_access":[]}`})
		Expect(d.Summary(ctx, odd)).To(HaveField("PublicRoom", federation.PublicRoom{RoomID: odd, JoinRule: "public", NumJoinedMembers: 1}))
		_, err = d.Summary(ctx, "!none:example.org")
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
	})

	It("gives no more than was asked for, and no more than the bound", func(ctx context.Context) {
		d, s := newDirectory()
		for i := range 3 {
			r := newRoom(s, state{alice, "m.room.name", "", fmt.Sprintf(`{"name":"room %d"}`, i)})
			Expect(s.Publish(ctx, r, true)).To(Succeed())
		}
		first, err := d.PublicRooms(ctx, federation.PublicRoomsRequest{Limit: 2})
		Expect(err).NotTo(HaveOccurred())
		Expect(first.Chunk).To(HaveLen(2))
		second, err := d.PublicRooms(ctx, federation.PublicRoomsRequest{Limit: 2, Since: first.NextBatch})
		Expect(err).NotTo(HaveOccurred())
		Expect(second.Chunk).To(HaveLen(1))
		Expect(second.NextBatch).To(BeEmpty())
		for _, bad := range []federation.PublicRoomsRequest{
			{Limit: -1}, {Since: "nonsense"}, {Filter: &federation.PublicRoomsFilter{GenericSearchTerm: strings.Repeat("x", maxSearchBytes+1)}},
		} {
			_, err := d.PublicRooms(ctx, bad)
			Expect(err).To(MatchError(ContainSubstring("M_INVALID_PARAM")))
		}
	})
})
