package rooms_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/rooms"
)

// answer is a send_join answer that can be changed.
type answer map[string]json.RawMessage

func (a answer) list(key string) []json.RawMessage {
	var list []json.RawMessage
	Expect(json.Unmarshal(a[key], &list)).To(Succeed())
	return list
}

func (a answer) set(key string, value any) {
	raw, err := json.Marshal(value)
	Expect(err).NotTo(HaveOccurred())
	a[key] = raw
}

// without leaves the events of a type out of a list.
func (a answer) without(key, typ string) {
	var kept []json.RawMessage
	for _, raw := range a.list(key) {
		if !strings.Contains(string(raw), `"type":"`+typ+`"`) {
			kept = append(kept, raw)
		}
	}
	a.set(key, kept)
}

var _ = Describe("a resident server", func() {
	var (
		w        *world
		one, two *host
		bob      id.UserID
		roomID   id.RoomID
		ctx      = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two = w.start("one.test"), w.start("two.test")
		bob = two.user("bob")
		roomID = one.create(rooms.CreateRequest{Version: "10", Name: "A room"})
	})
	onSendJoin := func(change func(a answer)) {
		one.tamper(func(path string, body []byte) []byte {
			if !strings.Contains(path, "/send_join/") {
				return body
			}
			defer GinkgoRecover()
			a := answer{}
			Expect(json.Unmarshal(body, &a)).To(Succeed())
			change(a)
			out, err := json.Marshal(a)
			Expect(err).NotTo(HaveOccurred())
			return out
		})
	}
	join := func() error {
		return two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name}})
	}

	It("may give events that can't be verified: they are left out, and the join works", func() {
		key := ""
		forged, err := event.Draft{
			RoomID: roomID, Type: "m.room.topic", StateKey: &key, Sender: "@alice:one.test", Content: json.RawMessage(`{"topic":"forged"}`), Depth: 5,
			PrevEvents: []id.EventID{"$x"}, AuthEvents: []id.EventID{"$x"},
		}.Sign(one.current(roomID, "m.room.create", "").Rules(), two.name, two.key.Current)
		Expect(err).NotTo(HaveOccurred())
		onSendJoin(func(a answer) {
			a.set("state", append(a.list("state"), json.RawMessage(`7`), json.RawMessage(`{}`), forged.JSON()))
		})
		Expect(join()).To(Succeed())
		Expect(two.current(roomID, "m.room.topic", "")).To(BeNil())
		agree(roomID, one, two)
	})

	DescribeTable("can't make us take a room without what it must have", func(change func(a answer)) {
		onSendJoin(change)
		Expect(join()).NotTo(Succeed())
		Expect(two.membership(roomID, bob)).NotTo(Equal("join"))
		// It isn't left in a state in which nothing goes any more.
		one.tamper(nil)
		Eventually(join).Should(Succeed())
		one.sees(two.say(bob, roomID, "now"))
	},
		Entry("create event", func(a answer) { a.without("state", "m.room.create"); a.without("auth_chain", "m.room.create") }),
		Entry("the power of its members", func(a answer) { a.without("auth_chain", "m.room.member"); a.without("state", "m.room.member") }),
		Entry("state", func(a answer) { delete(a, "state") }),
		Entry("rules that let us in", func(a answer) {
			a.without("state", "m.room.join_rules")
			a.without("auth_chain", "m.room.join_rules")
		}),
	)

	It("may give a state of before there were limits, with events that have many prev events", func() {
		one.set("@alice:one.test", roomID, "m.room.topic", "", `{"topic":"now"}`)
		now := one.current(roomID, "m.room.topic", "")
		var fields map[string]any
		Expect(json.Unmarshal(now.JSON(), &fields)).To(Succeed())
		delete(fields, "signatures")
		delete(fields, "hashes")
		var many []string
		for i := range 25 {
			many = append(many, fmt.Sprintf("$%043d", i))
		}
		fields["prev_events"], fields["content"] = many, map[string]any{"topic": "then"}
		unsigned, err := canonicaljson.Marshal(fields)
		Expect(err).NotTo(HaveOccurred())
		hash := sha256.Sum256(unsigned)
		fields["hashes"], fields["signatures"] = map[string]any{"sha256": signedjson.EncodeBase64(hash[:])}, map[string]any{}
		raw, err := canonicaljson.Marshal(fields)
		Expect(err).NotTo(HaveOccurred())
		then, err := event.Load(now.Rules(), "$then", raw)
		Expect(err).NotTo(HaveOccurred())
		then, err = then.CoSign(one.name, signedjson.Key(one.key.Current))
		Expect(err).NotTo(HaveOccurred())
		onSendJoin(func(a answer) {
			a.without("state", "m.room.topic")
			a.set("state", append(a.list("state"), then.JSON()))
		})
		Expect(join()).To(Succeed())
		Expect(two.current(roomID, "m.room.topic", "")).To(HaveField("Content()", ContainSubstring("then")))
		two.restart()
		Expect(two.current(roomID, "m.room.topic", "")).To(HaveField("PrevEvents()", HaveLen(25)))
	})

	It("may answer an invite with what is no canonical JSON: the inviting user is told so", func() {
		two.tamper(func(path string, body []byte) []byte {
			if strings.Contains(path, "/invite/") {
				return bytes.Replace(body, []byte(`{"event":{`), []byte(`{"event":{"odd":1.5,`), 1)
			}
			return body
		})
		err := one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: one.user("alice"), Target: bob})
		Expect(err).To(MatchError(ContainSubstring("two.test")))
		Expect(code(err)).To(Equal(federation.CodeBadJSON))
		Expect(one.membership(roomID, bob)).To(BeEmpty())
	})

	It("may let in who isn't allowed to be there: they are told so", func() {
		onSendJoin(func(a answer) {
			a.set("auth_chain", append(a.list("auth_chain"), one.current(roomID, "m.room.join_rules", "").JSON()))
			a.without("state", "m.room.join_rules")
		})
		Expect(code(join())).To(Equal(federation.CodeForbidden))
	})

	It("may let its answer trickle: the next one is asked", func() {
		three := w.start("three.test")
		three.join(three.user("carol"), roomID, one.name)
		three.completes(roomID)
		two.limits.Handshake = 10 * time.Second // half of it for each
		two.restart()
		one.pace.Store(int64(20 * time.Millisecond))
		Expect(two.rooms.Join(ctx, rooms.JoinRequest{User: bob, Room: roomID, Via: []id.ServerName{one.name, three.name}})).To(Succeed())
		one.pace.Store(0)
		// One has taken a join of ours too, which it told everybody of.
		said := two.say(bob, roomID, "in")
		one.sees(said)
		three.sees(said)
		agree(roomID, one, two, three)
	})

	It("may let its answer trickle: the user is told if there is nobody else to ask", func() {
		two.limits.Handshake = time.Second
		two.restart()
		one.pace.Store(int64(20 * time.Millisecond))
		err := join()
		Expect(code(err)).To(Equal("M_UNKNOWN"))
		Expect(err).To(MatchError(ContainSubstring("one.test")))
		one.pace.Store(0)
		two.limits.Handshake = 0 // the usual one
		two.restart()
		Eventually(join).Should(Succeed())
		one.sees(two.say(bob, roomID, "now"))
		agree(roomID, one, two)
	})

	It("may let what it is asked for trickle: the next one is asked", func() {
		quiet := w.start("quiet.test", silent)
		two.limits.FetchTime = 10 * time.Second // half of it for each
		two.restart()
		for _, h := range []*host{two, quiet} {
			h.join(h.user("bob"), roomID, one.name)
		}
		one.sees(two.say(bob, roomID, "in"))
		quiet.sees(newest(one, roomID))
		quiet.pace.Store(int64(20 * time.Millisecond))
		first, second := quiet.say(quiet.user("bob"), roomID, "1"), quiet.say(quiet.user("bob"), roomID, "2")
		deliver(quiet, one, "both", first, second)
		deliver(quiet, two, "the second", second)
		two.sees(second)
		two.sees(first)
		agree(roomID, one, two)
	})

	It("may send us the room's events before we have the room", func() {
		var early atomic.Value
		onSendJoin(func(answer) {
			early.Store(one.say("@alice:one.test", roomID, "so soon"))
			time.Sleep(100 * time.Millisecond) // time for it to be delivered
		})
		Expect(join()).To(Succeed())
		two.sees(early.Load().(id.EventID))
		agree(roomID, one, two)
	})
})
