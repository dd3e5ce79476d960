package ephemeral_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/ephemeral"
)

var _ = Describe("presence", func() {
	with := func(mode ephemeral.PresenceMode) *world {
		GinkgoHelper()
		w := newWorld(nil)
		config := w.config
		config.Presence = mode
		var err error
		w.Ephemeral, err = ephemeral.New(config)
		Expect(err).NotTo(HaveOccurred())
		return w
	}

	It("goes out to servers that share a room, as long as they do", func(ctx context.Context) {
		w := with(ephemeral.PresenceOut)
		since := w.TypingSerial()
		w.SetPresence(alice, "PHONE", ephemeral.Online, "at sea")
		w.SetPresence(carol, "PHONE", ephemeral.Online, "alone")
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(running) }()
		var out sent
		Eventually(w.sent).Should(Receive(&out))
		Eventually(func() []id.UserID { return w.PresenceSince(since) }).Should(ConsistOf(alice, carol))
		Expect(w.PresenceNews()).To(Receive())
		stop()
		<-done
		Expect(w.sent).To(BeEmpty())
		rooms, selves, upto, known := w.PresenceTold(since)
		Expect(rooms).To(Equal(map[id.RoomID][]id.UserID{w.room: {alice}}))
		Expect(selves).To(Equal(map[id.UserID]bool{alice: true, carol: true}))
		Expect(upto).To(BeNumerically("<=", w.TypingSerial()))
		Expect(known).To(BeTrue())
		Expect(out.to).To(Equal([]id.ServerName{far}))
		var edu federation.PresenceEDU
		Expect(json.Unmarshal(out.edu.Content, &edu)).To(Succeed())
		Expect(edu.Push).To(HaveLen(1))
		Expect(edu.Push[0].UserID).To(Equal(string(alice)))
		Expect(edu.Push[0].Presence).To(Equal("online"))
		Expect(*edu.Push[0].StatusMsg).To(Equal("at sea"))
		Expect(edu.Push[0].CurrentlyActive).To(BeTrue())
		w.handle(far, "m.presence", map[string]any{"push": []any{map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 5}}})
		Expect(w.PresenceOf(zoe).State).To(Equal("offline"), "what comes in is not taken")

		w.leave(ctx, alice)
		w.SetPresence(alice, "PHONE", ephemeral.Unavailable, "at sea")
		w.Flush(ctx)
		Expect(w.sent).To(BeEmpty(), "no room is shared any more")
		for user, told := range map[id.UserID]OmegaMatcher{bob: BeEmpty(), alice: ConsistOf(alice)} {
			users, known := w.PresenceIn(user, []id.RoomID{w.room}, upto, w.TypingSerial())
			Expect(known).To(BeTrue())
			Expect(users).To(told)
		}
	}, SpecTimeout(5*time.Minute))

	It("goes to servers that begin to share a room, of who is there", func(ctx context.Context) {
		w := with(ephemeral.PresenceBoth)
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = w.Run(running) }()
		DeferCleanup(func() { stop(); <-done })
		told := func(to id.ServerName, users ...id.UserID) {
			GinkgoHelper()
			var out sent
			Eventually(w.sent).Should(Receive(&out))
			Expect(out.to).To(Equal([]id.ServerName{to}))
			var edu federation.PresenceEDU
			Expect(json.Unmarshal(out.edu.Content, &edu)).To(Succeed())
			var of []id.UserID
			for _, update := range edu.Push {
				of = append(of, id.UserID(update.UserID))
			}
			Expect(of).To(Equal(users))
		}
		w.SetPresence(carol, "PHONE", ephemeral.Online, "")
		w.SetPresence(alice, "PHONE", ephemeral.Online, "")
		told(far, alice)
		w.become(ctx, "join", "@one:new.test", "@two:new.test")
		told("new.test", alice)
		w.become(ctx, "join", "@three:new.test")
		w.become(ctx, "join", carol)
		var both []id.ServerName
		for len(both) < 2 {
			var out sent
			Eventually(w.sent).Should(Receive(&out))
			Expect(string(out.edu.Content)).To(And(ContainSubstring(string(carol)), Not(ContainSubstring(string(alice)))))
			both = append(both, out.to...)
		}
		Expect(both).To(ConsistOf(far, id.ServerName("new.test")))
	}, SpecTimeout(5*time.Minute))

	It("comes in of the origin's own users who share a room", func(ctx context.Context) {
		w := with(ephemeral.PresenceIn)
		update := func(origin id.ServerName, update map[string]any) {
			w.handle(origin, "m.presence", map[string]any{"push": []any{update}})
		}
		update("other.test", map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 5})
		update(far, map[string]any{"user_id": alice, "presence": "online", "last_active_ago": 5})
		update(far, map[string]any{"user_id": "@stranger:far.test", "presence": "online", "last_active_ago": 5})
		update(far, map[string]any{"user_id": zoe, "presence": "dancing", "last_active_ago": 5})
		update(far, map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": -5})
		update(far, map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 5, "status_msg": strings.Repeat("x", 2000)})
		for _, content := range []string{`[]`, `{}`, `{"push":7}`, `{"push":[7]}`, `null`} {
			w.handle(far, "m.presence", content)
		}
		many := make([]any, 5000)
		for i := range many {
			many[i] = map[string]any{"user_id": "@x:far.test", "presence": "online", "last_active_ago": 5}
		}
		many[4999] = map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 5}
		w.handle(far, "m.presence", map[string]any{"push": many})
		Expect(w.PresenceSince(0)).To(BeEmpty())
		update(far, map[string]any{"user_id": zoe, "presence": "unavailable", "last_active_ago": 60000, "status_msg": "away"})
		got := w.PresenceOf(zoe)
		Expect(got.State).To(Equal("unavailable"))
		Expect(got.StatusMsg).To(Equal("away"))
		Expect(got.LastActiveAgo).To(BeNumerically("~", time.Minute, 30*time.Second))
		for user, may := range map[id.UserID]bool{alice: true, carol: false} {
			Expect(w.MaySeePresence(ctx, user, zoe)).To(Equal(may))
		}
		update(far, map[string]any{"user_id": zoe, "presence": "unavailable"})
		Expect(w.PresenceOf(zoe).EverActive).To(BeFalse(), "it isn't said when")
		Expect(w.PresenceOf(zoe).StatusMsg).To(BeEmpty(), "it was taken back")
		w.leave(ctx, zoe)
		update(far, map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 60000})
		Expect(w.PresenceOf(zoe)).To(Equal(ephemeral.Presence{User: zoe, State: "offline"}), "no room is shared any more")
		update(far, map[string]any{"user_id": zoe, "presence": "online", "last_active_ago": 60000})
		Expect(w.PresenceOf(zoe)).To(Equal(ephemeral.Presence{User: zoe, State: "offline"}), "and they are a stranger")
	})
})
