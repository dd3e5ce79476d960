package interop

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

var _ = Describe("what is momentary between Hanse and "+peerTitle, func() {
	for _, d := range both("from %s") {
		Context(d.name, func() {
			It("shows who types", func(ctx SpecContext) { typing(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("shows how far one has read, also in a thread, but not in private", func(ctx SpecContext) { receipts(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("shows who is there", func(ctx SpecContext) { presence(ctx, d.direction) }, SpecTimeout(time.Minute))
		})
	}
})

// status is what a user says of himself.
type status struct {
	Presence string `json:"presence"`
	Message  string `json:"status_msg"`
}

// listener syncs on and remembers what was momentary in a room.
type listener struct {
	user     *user.User
	room     string
	typing   []string
	receipts map[string]map[string]string // by user, thread ("" = unthreaded): the event
	presence map[string]status            // by user
	raw      string                       // all that was told
}

func listen(ctx context.Context, u *user.User, room string) *listener {
	GinkgoHelper()
	l := &listener{user: u, room: room, receipts: map[string]map[string]string{}, presence: map[string]status{}}
	Expect(l.step(ctx)).To(Succeed())
	return l
}

func (l *listener) step(ctx context.Context) error {
	answer, err := l.user.Sync(ctx, time.Second)
	if err != nil {
		return err
	}
	for _, e := range answer.Presence.Events {
		var s status
		if err := json.Unmarshal(e.Content, &s); err != nil {
			return err
		}
		l.presence[e.Sender] = s
	}
	for _, e := range answer.Rooms.Join[l.room].Ephemeral.Events {
		l.raw += string(e.Content)
		switch e.Type {
		case "m.typing":
			var content struct {
				Users []string `json:"user_ids"`
			}
			if err := json.Unmarshal(e.Content, &content); err != nil {
				return err
			}
			l.typing = content.Users
		case "m.receipt":
			var content map[string]map[string]map[string]struct {
				Thread string `json:"thread_id"`
			}
			if err := json.Unmarshal(e.Content, &content); err != nil {
				return err
			}
			for event, types := range content {
				for who, r := range types["m.read"] {
					if l.receipts[who] == nil {
						l.receipts[who] = map[string]string{}
					}
					l.receipts[who][r.Thread] = event
				}
			}
		}
	}
	return nil
}

func typing(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	bob := listen(ctx, c.bob, c.room)
	types := func(yes bool) {
		GinkgoHelper()
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(c.room) + "/typing/" + url.PathEscape(c.alice.ID)
		body := map[string]any{"typing": yes}
		if yes {
			body["timeout"] = 30_000
		}
		Expect(c.alice.Call(ctx, "PUT", path, nil, body, nil)).To(Succeed())
	}
	seen := func() ([]string, error) { return bob.typing, bob.step(ctx) }
	types(true)
	Eventually(seen).WithContext(ctx).WithTimeout(patience).Should(ContainElement(c.alice.ID))
	types(false)
	Eventually(seen).WithContext(ctx).WithTimeout(patience).ShouldNot(ContainElement(c.alice.ID))
}

func receipts(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	say := func(content map[string]any) string {
		GinkgoHelper()
		event, err := c.bob.Send(ctx, c.room, "m.room.message", content)
		Expect(err).NotTo(HaveOccurred())
		return event
	}
	root := say(map[string]any{"msgtype": "m.text", "body": "root"})
	reply := say(map[string]any{"msgtype": "m.text", "body": "reply", "m.relates_to": map[string]any{"rel_type": "m.thread", "event_id": root}})
	secret := say(map[string]any{"msgtype": "m.text", "body": "secret"})
	last := say(map[string]any{"msgtype": "m.text", "body": "last"})
	Eventually(bodies(ctx, c.alice, c.room)).WithContext(ctx).WithTimeout(patience).Should(ContainElement("last"))
	bob := listen(ctx, c.bob, c.room)
	read := func(typ, event string, body map[string]any) {
		GinkgoHelper()
		path := "/_matrix/client/v3/rooms/" + url.PathEscape(c.room) + "/receipt/" + typ + "/" + url.PathEscape(event)
		Expect(c.alice.Call(ctx, "POST", path, nil, body, nil)).To(Succeed())
	}
	read("m.read", reply, map[string]any{"thread_id": root})
	read("m.read", root, map[string]any{"thread_id": "main"})
	read("m.read.private", secret, map[string]any{})
	read("m.read", last, map[string]any{})
	want := map[string]string{root: reply, "main": root, "": last}
	if peer.kind == "dendrite" {
		want = map[string]string{"": last}
	}
	Eventually(func() (map[string]string, error) { return bob.receipts[c.alice.ID], bob.step(ctx) }).WithContext(ctx).WithTimeout(patience).Should(Equal(want))
	Expect(bob.raw).NotTo(ContainSubstring(secret))
	Expect(bob.raw).NotTo(ContainSubstring("m.read.private"))
}

func presence(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	bob := listen(ctx, c.bob, c.room)
	set := func(state, message string) {
		GinkgoHelper()
		path := "/_matrix/client/v3/presence/" + url.PathEscape(c.alice.ID) + "/status"
		Expect(c.alice.Call(ctx, "PUT", path, nil, map[string]any{"presence": state, "status_msg": message}, nil)).To(Succeed())
	}
	seen := func() (status, error) { return bob.presence[c.alice.ID], bob.step(ctx) }
	set("online", "at sea")
	Eventually(seen).WithContext(ctx).WithTimeout(patience).Should(Equal(status{"online", "at sea"}))
	set("unavailable", "asleep")
	Eventually(seen).WithContext(ctx).WithTimeout(patience).Should(Equal(status{"unavailable", "asleep"}))
}
