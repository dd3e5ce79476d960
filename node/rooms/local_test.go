package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/node/rooms"
	"hanse/node/store"
)

var _ = Describe("one server", func() {
	var (
		w          *world
		one        *host
		alice, bob id.UserID
		ctx        = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one = w.start("one.test", silent)
		alice, bob = one.user("alice"), one.user("bob")
	})
	content := func(roomID id.RoomID, typ string) string {
		GinkgoHelper()
		e := one.current(roomID, typ, "")
		Expect(e).NotTo(BeNil(), typ)
		return string(e.Content())
	}

	Describe("creating a room", func() {
		DescribeTable("follows the preset", func(req rooms.CreateRequest, joinRule, guests string) {
			req.Creator = alice
			roomID, err := one.rooms.Create(ctx, req)
			Expect(err).NotTo(HaveOccurred())
			Expect(content(roomID, "m.room.join_rules")).To(Equal(`{"join_rule":"` + joinRule + `"}`))
			if guests == "" {
				Expect(one.current(roomID, "m.room.guest_access", "")).To(BeNil(), "without it guests are forbidden")
			} else {
				Expect(content(roomID, "m.room.guest_access")).To(Equal(`{"guest_access":"` + guests + `"}`))
			}
			Expect(content(roomID, "m.room.history_visibility")).To(Equal(`{"history_visibility":"shared"}`))
		},
			Entry("none", rooms.CreateRequest{}, "invite", "can_join"),
			Entry("none, public", rooms.CreateRequest{Visibility: "public"}, "public", ""),
			Entry("private", rooms.CreateRequest{Preset: "private_chat", Visibility: "public"}, "invite", "can_join"),
			Entry("trusted", rooms.CreateRequest{Preset: "trusted_private_chat"}, "invite", "can_join"),
			Entry("public", rooms.CreateRequest{Preset: "public_chat"}, "public", ""),
		)

		It("applies all options in order", func() {
			roomID, err := one.rooms.Create(ctx, rooms.CreateRequest{
				Creator: alice, Version: "10", Alias: "pub", Name: "The Pub", Topic: "beer", Visibility: "public",
				Invite:          []id.UserID{bob},
				CreationContent: json.RawMessage(`{"m.federate":false,"room_version":"3","creator":"@x:y","type":"m.space"}`),
				InitialState: []rooms.StateEvent{
					{Type: "m.room.name", Content: json.RawMessage(`{"name":"overridden"}`)},
					{Type: "m.room.join_rules", Content: json.RawMessage(`{"join_rule":"knock"}`)},
					{Type: "m.room.encryption", Content: json.RawMessage(`{"algorithm":"m.megolm.v1.aes-sha2"}`)},
				},
				PowerLevelOverride: json.RawMessage(`{"invite":75,"events":{"m.room.name":99}}`),
			})
			Expect(err).NotTo(HaveOccurred())
			Expect(content(roomID, "m.room.create")).To(MatchJSON(`{"m.federate":false,"room_version":"10","creator":"@alice:one.test","type":"m.space"}`))
			Expect(content(roomID, "m.room.name")).To(MatchJSON(`{"name":"The Pub"}`))
			Expect(content(roomID, "m.room.topic")).To(ContainSubstring(`"topic":"beer"`))
			Expect(content(roomID, "m.room.join_rules")).To(MatchJSON(`{"join_rule":"knock"}`))
			Expect(content(roomID, "m.room.canonical_alias")).To(MatchJSON(`{"alias":"#pub:one.test"}`))
			Expect(content(roomID, "m.room.power_levels")).To(And(ContainSubstring(`"invite":75`), ContainSubstring(`"events":{"m.room.name":99}`), ContainSubstring(`"@alice:one.test":100`)))
			Expect(one.membership(roomID, bob)).To(Equal("invite"))
			alias, ok, err := one.store.Alias(ctx, "#pub:one.test")
			Expect(err).NotTo(HaveOccurred())
			Expect(ok).To(BeTrue())
			Expect(alias.RoomID).To(Equal(roomID))
			info, _, err := one.rooms.Info(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
			Expect(info.Public).To(BeTrue())

			_, err = one.rooms.Create(ctx, rooms.CreateRequest{Creator: bob, Alias: "pub"})
			Expect(code(err)).To(Equal("M_ROOM_IN_USE"))
		})

		It("gives creators their power by the room version", func() {
			old := one.create(rooms.CreateRequest{Version: "11", Preset: "trusted_private_chat", Invite: []id.UserID{bob}})
			Expect(content(old, "m.room.power_levels")).To(And(ContainSubstring(`"@bob:one.test":100`), ContainSubstring(`"m.room.tombstone":100`)))
			Expect(content(old, "m.room.create")).NotTo(ContainSubstring("creator"))

			roomID := one.create(rooms.CreateRequest{
				Version: "12", Preset: "trusted_private_chat", Invite: []id.UserID{bob},
				CreationContent: json.RawMessage(`{"additional_creators":["@carol:else.test","@bob:one.test","@alice:one.test"]}`),
			})
			Expect(content(roomID, "m.room.create")).To(MatchJSON(`{"room_version":"12","additional_creators":["@carol:else.test","@bob:one.test"]}`))
			Expect(content(roomID, "m.room.power_levels")).To(And(ContainSubstring(`"users":{}`), ContainSubstring(`"m.room.tombstone":150`)))
		})

		It("makes another room each time", func() {
			made := make(map[id.RoomID]bool)
			for range 20 {
				made[one.create(rooms.CreateRequest{Version: "12"})] = true
			}
			Expect(made).To(HaveLen(20))
		})

		It("makes another room where one has its ID, as the clock was set back", func() {
			later := time.Now().Add(time.Hour).UnixMilli()
			one.rooms.LastCreated(later)
			first := one.create(rooms.CreateRequest{Version: "12"})
			one.rooms.LastCreated(later)
			second := one.create(rooms.CreateRequest{Version: "12"})
			Expect(second).NotTo(Equal(first))
			for _, roomID := range []id.RoomID{first, second} {
				one.say(alice, roomID, "hello")
			}
		})

		DescribeTable("refuses what can't be", func(req rooms.CreateRequest, want string) {
			req.Creator = "@alice:one.test"
			_, err := one.rooms.Create(ctx, req)
			Expect(code(err)).To(Equal(want), "%v", err)
		},
			Entry("an unknown version", rooms.CreateRequest{Version: "99"}, "M_UNSUPPORTED_ROOM_VERSION"),
			Entry("an unknown preset", rooms.CreateRequest{Preset: "x"}, "M_INVALID_PARAM"),
			Entry("an unknown visibility", rooms.CreateRequest{Visibility: "x"}, "M_INVALID_PARAM"),
			Entry("a bad alias", rooms.CreateRequest{Alias: "a:b"}, "M_INVALID_PARAM"),
			Entry("third-party invites", rooms.CreateRequest{Invite3PID: 1}, "M_FORBIDDEN"),
			Entry("an invite of nobody", rooms.CreateRequest{Invite: []id.UserID{"@nobody:one.test"}}, "M_NOT_FOUND"),
			Entry("too many invites", rooms.CreateRequest{Invite: make([]id.UserID, 1000)}, "M_INVALID_PARAM"),
			Entry("content that is no object", rooms.CreateRequest{CreationContent: json.RawMessage(`[]`)}, "M_BAD_JSON"),
			Entry("levels that are strings", rooms.CreateRequest{Version: "9", PowerLevelOverride: json.RawMessage(`{"ban":"50"}`)}, "M_BAD_JSON"),
			Entry("a creator without power", rooms.CreateRequest{Version: "10", Name: "x", PowerLevelOverride: json.RawMessage(`{"users":{}}`)}, "M_INVALID_ROOM_STATE"),
			Entry("a creator in the levels", rooms.CreateRequest{Version: "12", PowerLevelOverride: json.RawMessage(`{"users":{"@alice:one.test":100}}`)}, "M_INVALID_ROOM_STATE"),
			Entry("creators that are none", rooms.CreateRequest{Version: "12", CreationContent: json.RawMessage(`{"additional_creators":["x"]}`)}, "M_INVALID_PARAM"),
		)
	})

	Describe("sending", func() {
		var roomID id.RoomID
		BeforeEach(func() { roomID = one.create(rooms.CreateRequest{}) })

		It("is refused for who is not in the room, and in unknown rooms", func() {
			_, err := one.rooms.Send(ctx, message(bob, roomID, "hi"))
			Expect(code(err)).To(Equal("M_FORBIDDEN"))
			_, err = one.rooms.Send(ctx, message(alice, "!unknown:one.test", "hi"))
			Expect(code(err)).To(Equal("M_FORBIDDEN"))
			_, err = one.rooms.Send(ctx, message(alice, roomID, strings.Repeat("x", 70_000)))
			Expect(code(err)).To(Equal("M_TOO_LARGE"), "%v", err)
			odd := message(alice, roomID, "x")
			odd.Type = strings.Repeat("x", 256)
			_, err = one.rooms.Send(ctx, odd)
			Expect(code(err)).To(Equal("M_BAD_JSON"), "%v", err)
			odd = message(alice, roomID, "x")
			odd.Content = json.RawMessage(`{"n":1.5}`)
			_, err = one.rooms.Send(ctx, odd)
			Expect(code(err)).To(Equal("M_BAD_JSON"), "%v", err)
			one.say(alice, roomID, "still working")
		})

		It("happens once for a transaction ID, however often it is asked", func() {
			request := message(alice, roomID, "once")
			request.Device, request.TxnID = "DEVICE", "1"
			ids := make([]id.EventID, 20)
			var all sync.WaitGroup
			for i := range ids {
				all.Go(func() {
					defer GinkgoRecover()
					var err error
					ids[i], err = one.rooms.Send(ctx, request)
					Expect(err).NotTo(HaveOccurred())
				})
			}
			all.Wait()
			Expect(ids).To(HaveEach(ids[0]))
			one.restart()
			again, err := one.rooms.Send(ctx, request)
			Expect(err).NotTo(HaveOccurred())
			Expect(again).To(Equal(ids[0]))
			request.TxnID = "2"
			Expect(one.rooms.Send(ctx, request)).NotTo(Equal(ids[0]))
		})

		It("shares commits when many send at a time", func() {
			one.commits.Store(0)
			one.inputs.Store(0)
			var all sync.WaitGroup
			for i := range 64 {
				all.Go(func() {
					defer GinkgoRecover()
					for j := range 5 {
						one.say(alice, roomID, fmt.Sprint(i, j))
					}
				})
			}
			all.Wait()
			Expect(one.inputs.Load()).To(BeEquivalentTo(320))
			Expect(one.commits.Load()).To(BeNumerically("<", 160))
			info, _, err := one.rooms.Info(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
			Expect(info.Forward).To(HaveLen(1), "each stands on the one before")
		})

		It("redacts own events, others' only with the power for it", func() {
			one.join(bob, roomID)
			said := one.say(alice, roomID, "oops")
			content := `{"reason":"x"}`
			redact := func(who id.UserID, target id.EventID) error {
				_, err := one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: who, Type: "m.room.redaction", Redacts: target, Content: json.RawMessage(content)})
				return err
			}
			Expect(code(redact(bob, said))).To(Equal("M_FORBIDDEN"))
			content = fmt.Sprintf(`{"m.relates_to":{"event_id":%q,"rel_type":"m.reference"}}`, said)
			Expect(code(redact(bob, said))).To(Equal("M_FORBIDDEN"), "whatever it relates to")
			Expect(redact(alice, said)).To(Succeed())
			row, _, err := one.store.Event(ctx, said)
			Expect(err).NotTo(HaveOccurred())
			Expect(row.RedactedBy).NotTo(BeEmpty())
			Expect(string(row.Event.Content())).To(Equal("{}"))
			own := one.say(bob, roomID, "mine")
			Expect(redact(bob, own)).To(Succeed())
			Expect(code(redact(bob, "$nothing"))).To(Equal("M_NOT_FOUND"))
			Expect(redact(alice, "$nothing")).To(Succeed(), "it may be on its way")
			Expect(code(redact(alice, one.current(roomID, "m.room.create", "").ID()))).To(Equal("M_FORBIDDEN"))
			acl := one.set(alice, roomID, "m.room.server_acl", "", `{"allow":["*"],"deny":["far.test"]}`)
			Expect(code(redact(alice, acl))).To(Equal("M_FORBIDDEN"))
			var shown []id.EventID
			for _, row := range scroll(one, bob, roomID, 20) {
				if target, ok := row.Event.Redacts(); ok {
					shown = append(shown, target)
				}
			}
			Expect(shown).To(ConsistOf(said, own), "the one that waits for its target isn't shown")
		})

		It("doesn't let users lock their own server out", func() {
			for _, content := range []string{`{}`, `{"allow":"*"}`, `{"allow":["far.test"]}`, `{"allow":["*"],"deny":["one.*"]}`} {
				_, err := one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: alice, Type: "m.room.server_acl", StateKey: new(string), Content: json.RawMessage(content)})
				Expect(code(err)).To(Equal("M_INVALID_PARAM"), content)
				_, err = one.rooms.Create(ctx, rooms.CreateRequest{Creator: alice, InitialState: []rooms.StateEvent{
					{Type: "m.room.server_acl", Content: json.RawMessage(content)},
				}})
				Expect(code(err)).To(Equal("M_INVALID_PARAM"), content)
			}
		})

		It("takes membership events as what they are", func() {
			set := func(sender, target id.UserID, content string) error {
				key := string(target)
				_, err := one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: sender, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(content)})
				return err
			}
			Expect(set(bob, bob, `{"membership":"join","displayname":"Bob"}`)).To(Succeed())
			Expect(string(one.current(roomID, "m.room.member", string(bob)).Content())).To(ContainSubstring("Bob"))
			Expect(set(bob, bob, `{"membership":"join","displayname":"Robert"}`)).To(Succeed())
			Expect(string(one.current(roomID, "m.room.member", string(bob)).Content())).To(ContainSubstring("Robert"))
			Expect(code(set(bob, alice, `{"membership":"ban"}`))).To(Equal("M_FORBIDDEN"))
			Expect(code(set(alice, one.user("nobody"), `{"membership":"invite"}`))).To(Equal("M_NOT_FOUND"))
			Expect(set(alice, bob, `{"membership":"ban"}`)).To(Succeed())
			Expect(code(set(alice, bob, `{}`))).To(Equal("M_BAD_JSON"))
			Expect(one.membership(roomID, bob)).To(Equal("ban"))
		})
	})

	Describe("what users see", func() {
		texts := func(user id.UserID, roomID id.RoomID) []string {
			return bodies(scroll(one, user, roomID, 3))
		}

		DescribeTable("depends on the visibility when it was sent", func(visibility string, before, invited, after []string) {
			roomID := one.create(rooms.CreateRequest{Preset: "private_chat", InitialState: []rooms.StateEvent{
				{Type: "m.room.history_visibility", Content: json.RawMessage(`{"history_visibility":"` + visibility + `"}`)},
			}})
			one.say(alice, roomID, "first")
			_, err := one.rooms.Messages(ctx, rooms.MessagesRequest{User: bob, Room: roomID, Backwards: true, Limit: 10})
			if before == nil {
				Expect(code(err)).To(Equal("M_FORBIDDEN"))
			} else {
				Expect(texts(bob, roomID)).To(Equal(before))
			}
			Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: bob})).To(Succeed())
			one.say(alice, roomID, "second")
			Expect(texts(bob, roomID)).To(Equal(invited))
			one.join(bob, roomID)
			one.say(alice, roomID, "third")
			Expect(texts(bob, roomID)).To(Equal(after))
			Expect(one.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
			late := one.say(alice, roomID, "late")
			if visibility != "world_readable" {
				Expect(texts(bob, roomID)).To(Equal(after))
				_, err = one.rooms.Event(ctx, bob, roomID, late)
				Expect(code(err)).To(Equal("M_NOT_FOUND"))
			}
			Expect(texts(alice, roomID)).To(Equal([]string{"late", "third", "second", "first"}))
		},
			Entry("world_readable", "world_readable", []string{"first"}, []string{"second", "first"}, []string{"third", "second", "first"}),
			Entry("shared", "shared", nil, nil, []string{"third", "second", "first"}),
			Entry("invited", "invited", nil, []string{"second"}, []string{"third", "second"}),
			Entry("joined", "joined", nil, nil, []string{"third"}),
			Entry("not understood", "strange", nil, nil, []string{"third", "second", "first"}),
		)

		It("is the state when they left", func() {
			roomID := one.create(rooms.CreateRequest{Name: "then"})
			_, err := one.rooms.State(ctx, bob, roomID)
			Expect(code(err)).To(Equal("M_FORBIDDEN"))
			one.join(bob, roomID)
			Expect(one.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
			one.set(alice, roomID, "m.room.name", "", `{"name":"now"}`)
			one.join(one.user("carol"), roomID)
			name := func(user id.UserID) string {
				e, err := one.rooms.StateEvent(ctx, user, roomID, "m.room.name", "")
				Expect(err).NotTo(HaveOccurred())
				return string(e.Content())
			}
			Expect(name(bob)).To(ContainSubstring("then"))
			Expect(name(alice)).To(ContainSubstring("now"))
			_, err = one.rooms.StateEvent(ctx, alice, roomID, "m.room.name", "x")
			Expect(code(err)).To(Equal("M_NOT_FOUND"))
			members, err := membersOf(one.rooms, rooms.MembersRequest{User: bob, Room: roomID})
			Expect(err).NotTo(HaveOccurred())
			Expect(members).To(HaveLen(2))
			members, err = membersOf(one.rooms, rooms.MembersRequest{User: alice, Room: roomID, NotMembership: "leave"})
			Expect(err).NotTo(HaveOccurred())
			Expect(members).To(HaveLen(2))
			_, err = joinedMembers(one.rooms, bob, roomID)
			Expect(code(err)).To(Equal("M_FORBIDDEN"))
			joined, err := joinedMembers(one.rooms, alice, roomID)
			Expect(err).NotTo(HaveOccurred())
			Expect(joined).To(HaveLen(2))
			Expect(one.rooms.Forget(ctx, bob, roomID)).To(Succeed())
			_, err = one.rooms.State(ctx, bob, roomID)
			Expect(code(err)).To(Equal("M_FORBIDDEN"))
			Expect(code(one.rooms.Forget(ctx, alice, roomID))).To(Equal("M_UNKNOWN"))
		})

		It("is the members at a point in the past", func() {
			roomID := one.create(rooms.CreateRequest{})
			then := one.store.Position()
			one.join(bob, roomID)
			members, err := membersOf(one.rooms, rooms.MembersRequest{User: alice, Room: roomID, At: rooms.Point{Stream: then}})
			Expect(err).NotTo(HaveOccurred())
			Expect(members).To(HaveLen(1))
		})

		It("is all members, however many there are, redacted ones redacted", func() {
			var invited []id.UserID
			for i := range 100 {
				invited = append(invited, one.user(fmt.Sprint("member", i)))
			}
			roomID := one.create(rooms.CreateRequest{Invite: invited})
			member := one.set(alice, roomID, "m.room.member", string(alice), `{"membership":"join","displayname":"Alice, whose name is taken back"}`)
			_, err := one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: alice, Type: "m.room.redaction", Redacts: member, Content: json.RawMessage(`{}`)})
			Expect(err).NotTo(HaveOccurred())
			for range 2 {
				members, err := membersOf(one.rooms, rooms.MembersRequest{User: alice, Room: roomID})
				Expect(err).NotTo(HaveOccurred())
				Expect(members).To(HaveLen(101))
				listed := map[id.EventID]string{}
				for _, e := range members {
					listed[e.ID()] = string(e.JSON())
				}
				for _, user := range append(invited, alice) {
					e := one.current(roomID, "m.room.member", string(user))
					Expect(listed).To(HaveKeyWithValue(e.ID(), string(e.JSON())))
				}
				Expect(listed[member]).To(And(ContainSubstring("join"), Not(ContainSubstring("taken back"))))
				one.restart()
			}
			joined, err := joinedMembers(one.rooms, alice, roomID)
			Expect(err).NotTo(HaveOccurred())
			Expect(joined).To(HaveLen(1))
		})

		It("is what stands around an event, and pages on from there in both directions", func() {
			roomID := one.create(rooms.CreateRequest{})
			var said []id.EventID
			for i := range 20 {
				said = append(said, one.say(alice, roomID, fmt.Sprint(i)))
			}
			around, err := one.rooms.Context(ctx, alice, roomID, said[10], 6, nil)
			Expect(err).NotTo(HaveOccurred())
			Expect(around.Event.Event.ID()).To(Equal(said[10]))
			Expect(bodies(around.Before)).To(Equal([]string{"9", "8", "7"}))
			Expect(bodies(around.After)).To(Equal([]string{"11", "12", "13"}))
			Expect(around.State.Len()).To(BeNumerically(">", 4))
			older, err := one.rooms.Messages(ctx, rooms.MessagesRequest{User: alice, Room: roomID, From: around.Start, Backwards: true, Limit: 2})
			Expect(err).NotTo(HaveOccurred())
			Expect(bodies(older.Events)).To(Equal([]string{"6", "5"}))
			newer, err := one.rooms.Messages(ctx, rooms.MessagesRequest{User: alice, Room: roomID, From: around.End, Limit: 2})
			Expect(err).NotTo(HaveOccurred())
			Expect(bodies(newer.Events)).To(Equal([]string{"14", "15"}))
			none, err := one.rooms.Context(ctx, alice, roomID, said[10], 0, nil)
			Expect(err).NotTo(HaveOccurred())
			Expect(none.Before).To(BeEmpty())
			Expect(none.After).To(BeEmpty())
			even, err := one.rooms.Messages(ctx, rooms.MessagesRequest{
				User: alice, Room: roomID, Backwards: true, Limit: 3, To: around.Start,
				Match: func(row store.EventRow) bool { return row.Event.Depth()%2 == 0 && row.Event.Type() == "m.room.message" },
			})
			Expect(err).NotTo(HaveOccurred())
			Expect(even.Events).To(HaveLen(3))
		})
	})

	It("lets who may join come back into a room that everybody has left", func() {
		roomID := one.create(rooms.CreateRequest{})
		one.join(bob, roomID)
		Expect(one.rooms.Leave(ctx, bob, roomID, "")).To(Succeed())
		Expect(one.rooms.Leave(ctx, alice, roomID, "")).To(Succeed())
		info, _, err := one.rooms.Info(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Resident).To(BeFalse())
		one.join(bob, roomID)
		one.say(bob, roomID, "anybody here?")
	})

	It("says so when what was decided can't be written", func() {
		roomID := one.create(rooms.CreateRequest{})
		one.stopStore()
		_, err := one.rooms.Send(ctx, message(alice, roomID, "x"))
		Expect(err).To(MatchError(store.ErrClosed))
		_, err = one.rooms.Send(ctx, message(alice, roomID, "y"))
		Expect(err).To(HaveOccurred())
		Expect(one.state(roomID).Len()).To(BeNumerically(">", 0))
	})

	It("loads a room anew when its machine fails, without losing what was decided", func() {
		roomID := one.create(rooms.CreateRequest{})
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() {
				defer GinkgoRecover()
				if i%10 == 5 {
					Expect(one.rooms.Break(ctx, roomID)).To(MatchError(ContainSubstring("panic")))
					return
				}
				one.say(alice, roomID, "x")
			})
		}
		all.Wait()
		Expect(bodies(scroll(one, alice, roomID, 50))).To(HaveLen(27))
		info, _, err := one.rooms.Info(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Forward).To(HaveLen(1))
	})

	It("keeps few rooms in memory, and all in order", func() {
		small := w.start("small.test", silent, limited(rooms.Limits{Loaded: 2, Idle: 20 * time.Millisecond}))
		user := small.user("alice")
		var list []id.RoomID
		for range 6 {
			list = append(list, small.create(rooms.CreateRequest{Creator: user}))
		}
		for range 3 {
			for _, roomID := range list {
				small.say(user, roomID, "x")
			}
		}
		Eventually(small.rooms.Loaded).Should(BeNumerically("<=", 2))
		Eventually(small.rooms.Loaded).Should(BeZero())
		for _, roomID := range list {
			Expect(bodies(scroll(small, user, roomID, 10))).To(HaveLen(3))
		}
	})

	It("refuses what comes too fast", func() {
		small := w.start("small.test", silent, limited(rooms.Limits{Mailbox: 1, Batch: 1}))
		roomID := small.create(rooms.CreateRequest{})
		var all sync.WaitGroup
		var mu sync.Mutex
		codes := make(map[string]int)
		for range 200 {
			all.Go(func() {
				_, err := small.rooms.Send(ctx, message(small.user("alice"), roomID, "x"))
				mu.Lock()
				defer mu.Unlock()
				codes[code(err)]++
			})
		}
		all.Wait()
		Expect(codes[""]).To(BeNumerically(">", 0))
		Expect(codes).To(HaveKey(federation.CodeLimitExceeded))
		Expect(codes).To(HaveLen(2))
	})

	It("answers after its end that it has ended", func() {
		roomID := one.create(rooms.CreateRequest{})
		one.stop()
		_, err := one.rooms.Send(ctx, message(alice, roomID, "x"))
		Expect(err).To(MatchError(rooms.ErrStopped))
	})

	It("uses the configured version where none is asked for", func() {
		roomID := one.create(rooms.CreateRequest{})
		info, _, err := one.rooms.Info(ctx, roomID)
		Expect(err).NotTo(HaveOccurred())
		Expect(info.Rules.Version).To(Equal(roomversion.V12))
	})
})
