package rooms_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
)

// eager asks at once after a start.
var eager = limited(rooms.Limits{CatchUpAfter: time.Millisecond})

var _ = Describe("after an outage of ours", func() {
	It("asks for what was missed before anybody speaks", func() {
		w := newWorld()
		one, two := w.start("one.test", silent), w.start("two.test", eager)
		alice, bob := one.user("alice"), two.user("bob")
		roomID, other := one.create(rooms.CreateRequest{}), one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		two.join(bob, other, one.name)
		two.stop()
		var missed []id.EventID
		for range 30 { // nothing of it is sent: the other server is silent
			missed = append(missed, one.say(alice, roomID, "are you there?"))
		}
		missed = append(missed, one.say(alice, other, "and here?"))
		two.boot()
		two.sees(missed...)
		agree(roomID, one, two)
		Expect(two.rooms.Stats().Recovered).To(BeNumerically(">=", 2))
		Expect(one.membership(roomID, bob)).To(Equal("join"), "a template is no leave")
	})

	It("asks about the rooms of before alone", func() {
		w := newWorld()
		one, two := w.start("one.test", silent), w.start("two.test", limited(rooms.Limits{CatchUpAfter: 300 * time.Millisecond}))
		bob := two.user("bob")
		before, after := one.create(rooms.CreateRequest{}), one.create(rooms.CreateRequest{})
		two.join(bob, before, one.name)
		two.stop()
		missed := one.say(one.user("alice"), before, "are you there?")
		var asked sync.Map // rooms
		one.tamper(func(path string, answer []byte) []byte {
			if rest, ok := strings.CutPrefix(path, "/_matrix/federation/v1/make_leave/"); ok {
				roomID, _, _ := strings.Cut(rest, "/")
				asked.Store(id.RoomID(roomID), true)
			}
			return answer
		})
		two.boot()
		two.join(bob, after, one.name)
		two.sees(missed)
		_, askedBefore := asked.Load(before)
		Expect(askedBefore).To(BeTrue())
		_, askedAfter := asked.Load(after)
		Expect(askedAfter).To(BeFalse(), "the join told all of it")
	})

	It("asks for what was refused while the database was out", func() {
		w := newWorld()
		one, two := w.start("one.test", silent), w.start("two.test", eager)
		alice, bob := one.user("alice"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		file := filepath.Join(two.dir, "hanse.db")
		Expect(os.Rename(file, file+".away")).To(Succeed())
		_, err := two.rooms.Send(context.Background(), message(bob, roomID, "not stored"))
		Expect(err).To(HaveOccurred())
		missed := one.say(alice, roomID, "nothing of it is sent: this server is silent")
		Expect(os.Rename(file+".away", file)).To(Succeed())
		two.say(bob, roomID, "here again")
		two.sees(missed)
	})

	It("goes on without those that are out as well", func() {
		w := newWorld()
		one, two, three := w.start("one.test", silent), w.start("two.test", eager), w.start("three.test")
		roomID := one.create(rooms.CreateRequest{})
		two.join(two.user("bob"), roomID, one.name)
		three.join(three.user("carol"), roomID, one.name)
		two.stop()
		said := one.say(one.user("alice"), roomID, "hello")
		w.cut(three)
		two.boot()
		two.sees(said)
	})
})

var _ = Describe("a database restored from a backup", func() {
	DescribeTable("takes up its rooms, and takes back what was said since", func(version roomversion.Version) {
		ctx := context.Background()
		w := newWorld()
		one, two := w.start("one.test"), w.start("two.test", eager)
		alice, bob := one.user("alice"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{Version: version})
		two.join(bob, roomID, one.name)
		two.sees(one.say(alice, roomID, "yesterday"))
		agree(roomID, one, two)
		two.stop()
		backup := GinkgoT().TempDir()
		copyFiles(two.dir, backup)
		two.boot()
		lost := []id.EventID{two.say(bob, roomID, "today"), two.set(bob, roomID, "m.room.member", string(bob), `{"membership":"join","displayname":"Bob"}`), two.say(bob, roomID, "still today")}
		one.sees(lost...)
		two.stop()
		copyFiles(backup, two.dir)
		two.boot()
		again := two.say(bob, roomID, "today")
		Expect(lost).NotTo(ContainElement(again), "no ID is used again")
		one.sees(again)
		two.sees(lost...)
		two.sees(one.say(alice, roomID, "welcome back"))
		agree(roomID, one, two)
		info, _, err := one.store.Room(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Joined).To(Equal(2))
	}, Entry("version 1", roomversion.Version("1")), Entry("version 10", roomversion.Version("10")), Entry("version 12", roomversion.Version("12")))
})

var _ = Describe("a database restored from a backup of when others were in the room", func() {
	It("is told what was missed in the name of who is still there", func() {
		ctx := context.Background()
		w := newWorld()
		one, two, three := w.start("one.test"), w.start("two.test", eager), w.start("three.test")
		alice, ann, bob := one.user("alice"), two.user("ann"), two.user("bob")
		roomID := one.create(rooms.CreateRequest{})
		two.join(ann, roomID, one.name)
		two.join(bob, roomID, one.name)
		three.join(three.user("carol"), roomID, one.name)
		two.stop()
		backup := GinkgoT().TempDir()
		copyFiles(two.dir, backup)
		two.boot()
		Expect(two.rooms.Leave(ctx, ann, roomID, "")).To(Succeed())
		for _, h := range []*host{one, three} {
			Eventually(func() string { return h.membership(roomID, ann) }).Should(Equal("leave"))
		}
		said := one.say(alice, roomID, "is Ann gone?")
		two.sees(said)
		three.sees(said)
		two.stop()
		copyFiles(backup, two.dir)
		two.boot()
		two.sees(said)
		agree(roomID, one, two, three)
		Expect(two.membership(roomID, ann)).To(Equal("leave"))
	})
})

// copyFiles makes the second folder hold what the first one does.
func copyFiles(from, to string) {
	GinkgoHelper()
	old, err := os.ReadDir(to)
	Expect(err).NotTo(HaveOccurred())
	for _, entry := range old {
		Expect(os.RemoveAll(filepath.Join(to, entry.Name()))).To(Succeed())
	}
	Expect(os.CopyFS(to, os.DirFS(from))).To(Succeed())
}
