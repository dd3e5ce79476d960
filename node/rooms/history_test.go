package rooms_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/node/rooms"
	"hanse/node/store"
)

// deliver sends events of a server's to another in one transaction, without its sender.
func deliver(from, to *host, txnID string, events ...id.EventID) federation.PDUResults {
	GinkgoHelper()
	txn := federation.Transaction{Origin: from.name, OriginServerTS: time.Now().UnixMilli()}
	for _, e := range events {
		row, ok, err := from.store.Event(context.Background(), e)
		Expect(err).NotTo(HaveOccurred())
		Expect(ok).To(BeTrue())
		txn.PDUs = append(txn.PDUs, row.Event.JSON())
	}
	results, err := from.client.SendTransaction(context.Background(), to.name, txnID, txn)
	Expect(err).NotTo(HaveOccurred())
	return results
}

// membersOf are the events that EachMember gives, joinedMembers those of EachJoined.
func membersOf(r *rooms.Rooms, req rooms.MembersRequest) (all []*event.Event, err error) {
	err = r.EachMember(context.Background(), req, func(e *event.Event) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

func joinedMembers(r *rooms.Rooms, user id.UserID, room id.RoomID) (all []*event.Event, err error) {
	err = r.EachJoined(context.Background(), user, room, func(e *event.Event) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

// bodies are the texts of the messages among some events.
func bodies(rows []store.EventRow) []string {
	var texts []string
	for _, row := range rows {
		var content struct {
			Body string `json:"body"`
		}
		if row.Event.Type() == "m.room.message" && json.Unmarshal(row.Event.Content(), &content) == nil {
			texts = append(texts, content.Body)
		}
	}
	return texts
}

// scroll pages backwards to the beginning.
func scroll(h *host, user id.UserID, roomID id.RoomID, limit int) []store.EventRow {
	GinkgoHelper()
	var all []store.EventRow
	at := rooms.Point{}
	for range 200 {
		page, err := h.rooms.Messages(context.Background(), rooms.MessagesRequest{User: user, Room: roomID, From: at, Backwards: true, Limit: limit})
		Expect(err).NotTo(HaveOccurred())
		all = append(all, page.Events...)
		if !page.More {
			return all
		}
		at = page.End
	}
	Fail("there is no end")
	return nil
}

var _ = Describe("history", func() {
	var (
		w          *world
		one, two   *host
		alice, bob id.UserID
		ctx        = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two = w.start("one.test", silent), w.start("two.test")
		alice, bob = one.user("alice"), two.user("bob")
	})

	It("is fetched where events are missing", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		var said []id.EventID
		for i := range 30 {
			said = append(said, one.say(alice, roomID, fmt.Sprint(i)))
		}
		Expect(deliver(one, two, "1", said[29])).To(HaveKeyWithValue(said[29], federation.PDUResult{}))
		two.sees(said...)
		agree(roomID, one, two)
	})

	It("of our own users comes redacted, if it was, to a server that has lost it", func() {
		one := w.start("forgetful.test", silent, limited(rooms.Limits{Backfill: 1}))
		carol := one.user("carol")
		roomID := one.create(rooms.CreateRequest{Creator: carol})
		two.join(bob, roomID, one.name)
		two.completes(roomID)
		said := one.say(carol, roomID, "a secret")
		redaction, err := one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: carol, Type: "m.room.redaction", Redacts: said, Content: json.RawMessage(`{}`)})
		Expect(err).NotTo(HaveOccurred())
		deliver(one, two, "1", said, redaction)
		one.stop()
		files, err := filepath.Glob(filepath.Join(one.dir, "hanse.db*"))
		Expect(err).NotTo(HaveOccurred())
		for _, file := range files {
			Expect(os.Remove(file)).To(Succeed())
		}
		one.boot()
		one.user("carol")
		one.join(carol, roomID, two.name)
		scroll(one, carol, roomID, 5)
		one.sees(redaction, said)
		row, _, err := one.store.Event(ctx, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(row.RedactedBy).To(Equal(redaction))
	})

	It("is fetched where state changed unseen, even if the asked server gives nothing", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		one.set(alice, roomID, "m.room.topic", "", `{"topic":"new"}`)
		last := one.say(alice, roomID, "did you see?")
		// Two's server is cut off right after it got the transaction, and restarts meanwhile.
		w.mu.Lock()
		w.down[one.name] = true
		w.mu.Unlock()
		txn := federation.Transaction{Origin: one.name}
		row, _, err := one.store.Event(ctx, last)
		Expect(err).NotTo(HaveOccurred())
		txn.PDUs = append(txn.PDUs, row.Event.JSON())
		results, err := two.inbound.Transaction(ctx, one.name, "cut", txn)
		Expect(err).NotTo(HaveOccurred())
		Expect(results).To(HaveKey(last))
		w.heal(one)
		two.restart()
		after := one.say(alice, roomID, "and now?")
		deliver(one, two, "2", after)
		two.sees(after, last)
		one.sees(two.say(bob, roomID, "merges what the gap left behind")) // if the state was fetched, not the events
		agree(roomID, one, two)
	})

	It("gives the same answer to the same transaction", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		said := one.say(alice, roomID, "once")
		first := deliver(one, two, "same", said)
		two.restart()
		Expect(deliver(one, two, "same", said)).To(Equal(first))
	})

	It("is asked of other servers page by page until its beginning", func() {
		roomID := one.create(rooms.CreateRequest{})
		var want []string
		for i := range 130 {
			one.say(alice, roomID, fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		// These come with the join, as state, and get their place in the history only later.
		for i := range 30 {
			one.join(one.user(fmt.Sprint("member", i)), roomID)
		}
		two.join(bob, roomID, one.name)
		slices.Reverse(want)
		all := scroll(two, bob, roomID, 25)
		Expect(bodies(all)).To(Equal(want))
		Expect(all[len(all)-1].Event.Type()).To(Equal("m.room.create"))
		Expect(scroll(one, alice, roomID, 1000)).To(HaveLen(len(all)))
		agree(roomID, one, two)
	})

	It("is shown down to a hole that is too long to be filled for one page, and no further", func() {
		three := w.start("three.test", limited(rooms.Limits{Backfill: 5}))
		carol := three.user("carol")
		roomID := one.create(rooms.CreateRequest{})
		three.join(carol, roomID, one.name)
		var want []string
		say := func(h *host, user id.UserID, text string) {
			h.say(user, roomID, text)
			want = append(want, text)
		}
		say(three, carol, "before")
		one.sees(three.say(carol, roomID, "still here"))
		want = append(want, "still here")
		Expect(three.rooms.Leave(ctx, carol, roomID, "")).To(Succeed())
		for i := range 60 {
			say(one, alice, fmt.Sprint(i))
		}
		three.join(carol, roomID, one.name)
		slices.Reverse(want)
		Expect(bodies(scroll(three, carol, roomID, 1000))).To(Equal(want))
	})

	DescribeTable("is asked for below events that stand on many which nobody has", func(limit int) {
		roomID := one.create(rooms.CreateRequest{})
		want := []string{"before", "first", "between"}
		one.say(alice, roomID, "before")
		two.join(bob, roomID, one.name)
		one.sees(two.say(bob, roomID, "first"))
		Expect(two.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		one.say(alice, roomID, "between")
		two.join(bob, roomID, one.name)
		var last id.EventID
		for i := range 10 {
			last = two.say(bob, roomID, fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		row, _, err := two.store.Event(ctx, last)
		Expect(err).NotTo(HaveOccurred())
		lost := make([]room.Lack, 30)
		for i := range lost {
			lost[i] = room.Lack{Event: id.EventID(fmt.Sprintf("$%043d", i)), Child: last, Depth: row.Event.Depth()}
		}
		now, _, err := two.store.LoadRoom(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		_, err = two.store.Commit(ctx, room.Commit{
			RoomID: roomID, Rules: now.Rules, Forward: now.Forward, Depth: now.Depth, Current: now.Current, Resident: true, Lacking: lost,
		}, store.CommitOptions{})
		Expect(err).NotTo(HaveOccurred())
		slices.Reverse(want)
		Expect(bodies(scroll(two, bob, roomID, limit))).To(Equal(want))
	},
		Entry("in short pages", 5),
		Entry("in long ones", 1000),
	)

	It("is redacted for servers that were not there when only members may see it", func() {
		roomID := one.create(rooms.CreateRequest{InitialState: []rooms.StateEvent{
			{Type: "m.room.history_visibility", Content: json.RawMessage(`{"history_visibility":"joined"}`)},
		}})
		one.set(alice, roomID, "m.room.topic", "", `{"topic":"harbour"}`)
		secret := one.say(alice, roomID, "secret")
		two.join(bob, roomID, one.name)
		open := two.say(bob, roomID, "open")
		raws, err := two.client.Backfill(ctx, one.name, roomID, 10, []id.EventID{secret})
		Expect(err).NotTo(HaveOccurred())
		for _, raw := range raws {
			Expect(string(raw)).NotTo(ContainSubstring("secret"))
		}
		Expect(raws).To(ContainElement(ContainSubstring("harbour")), "state is what others build on")
		one.sees(open)
		raw, err := two.client.Event(ctx, one.name, open)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(raw)).To(ContainSubstring("open"))
		Expect(bodies(scroll(two, bob, roomID, 50))).To(Equal([]string{"open"}))
	})

	It("is made whole by its own server where another one gave it redacted before", func() {
		roomID := one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		w.cut(two)
		one.set(alice, roomID, "m.room.server_acl", "", `{"allow":["*"],"deny":["three.test"]}`)
		list := one.current(roomID, "m.room.server_acl", "")
		lets := func(server id.ServerName) bool {
			GinkgoHelper()
			yes, err := two.rooms.Allowed(ctx, roomID, server)
			Expect(err).NotTo(HaveOccurred())
			return yes
		}
		_, err := two.rooms.Submit(ctx, "three.test", roomID, []*event.Event{list.Redacted()})
		Expect(err).NotTo(HaveOccurred())
		Expect(lets(one.name)).To(BeFalse(), "a list without content lets nobody in")
		_, err = two.rooms.Submit(ctx, one.name, roomID, []*event.Event{list})
		Expect(err).NotTo(HaveOccurred())
		Expect(lets(one.name)).To(BeTrue())
		Expect(lets("three.test")).To(BeFalse())
		two.restart()
		Expect(lets(one.name)).To(BeTrue())
	})

	It("has an auth chain that is given as it is read, not held as a whole: each event of a hostile room's may have 64 KiB", func() {
		roomID := one.create(rooms.CreateRequest{Version: "11"})
		two.join(bob, roomID, one.name)
		said := two.say(bob, roomID, "here")
		one.sees(said)
		answer, err := one.rooms.EventAuth(ctx, two.name, federation.EventAuthRequest{RoomID: roomID, EventID: said})
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.AuthChain).To(BeEmpty())
		enough := errors.New("enough")
		var given []string
		Expect(answer.AuthChainStream(func(raw json.RawMessage) error {
			given = append(given, string(raw))
			if len(given) == 2 {
				return enough
			}
			return nil
		})).To(MatchError(enough))
		Expect(given).To(HaveExactElements(ContainSubstring("m.room.create"), ContainSubstring("m.room.member")), "parents first")
	})

	It("tells only servers in the room", func() {
		roomID := one.create(rooms.CreateRequest{})
		said := one.say(alice, roomID, "here")
		for what, ask := range map[string]func() error{
			"event":     func() error { _, err := two.client.Event(ctx, one.name, said); return err },
			"state":     func() error { _, err := two.client.State(ctx, one.name, roomID, said); return err },
			"state_ids": func() error { _, err := two.client.StateIDs(ctx, one.name, roomID, said); return err },
			"auth":      func() error { _, err := two.client.EventAuth(ctx, one.name, roomID, said); return err },
			"backfill":  func() error { _, err := two.client.Backfill(ctx, one.name, roomID, 1, []id.EventID{said}); return err },
		} {
			Expect(ask()).To(MatchError(ContainSubstring("refused")), what)
		}
		two.join(bob, roomID, one.name)
		state, err := two.client.State(ctx, one.name, roomID, said)
		Expect(err).NotTo(HaveOccurred())
		ids, err := two.client.StateIDs(ctx, one.name, roomID, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(ids.PDUIDs).To(HaveLen(len(state.PDUs)))
		Expect(ids.AuthChainIDs).To(HaveLen(len(state.AuthChain)))
		chain, err := two.client.EventAuth(ctx, one.name, roomID, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(chain).NotTo(BeEmpty())
		_, err = two.client.State(ctx, one.name, roomID, "$unknown")
		Expect(err).To(MatchError(ContainSubstring("M_NOT_FOUND")))
	})
})
