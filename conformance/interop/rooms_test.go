package interop

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

var _ = Describe("rooms of Hanse and "+peerTitle, func() {
	for _, d := range both("a room on %s") {
		Context(d.name, func() {
			It("is entered by members of another room", func(ctx SpecContext) { restricted(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("is knocked on", func(ctx SpecContext) { knocking(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("takes invites back", func(ctx SpecContext) { rescinded(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("invites in vain and nobody is left to tell", func(ctx SpecContext) { alone(ctx, d.direction) }, SpecTimeout(2*time.Minute))
			It("is upgraded, and its members follow", func(ctx SpecContext) { upgraded(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("gives its history page by page", func(ctx SpecContext) { history(ctx, d.direction, false) }, SpecTimeout(time.Minute))
			It("gives its history by date, and page by page", func(ctx SpecContext) { history(ctx, d.direction, true) }, SpecTimeout(time.Minute))
			It("keeps a server out", func(ctx SpecContext) { denied(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("merges what two sides did to each other while apart", func(ctx SpecContext) { partition(ctx, d.direction, "10") }, SpecTimeout(2*time.Minute))
		})
	}
})

// What others do otherwise than the specification says, or than they might, so that a test here leaves it out, each at its
// place. Synapse (1.163):
//
//   - A knock that is taken back is so on the knocking user's server alone: Synapse doesn't remember through which server it
//     knocked (its handlers/room_member.py, remote_rescind_knock, says so). A second knock stands on the first one then.
//   - A room that a user left and was invited to since the last sync is in it as both.
//   - A first /sync is answered from memory for two minutes: tests that wait for something sync on.
//
// Dendrite (0.13.8):
//
//   - What it does in a room after its tombstone is sent to nobody until something else happens in the room.
//   - It shows an invite as soon as it has signed it, and forbids to accept it until the room's event has come, where it is
//     in the room already.
//   - It wants a password for the first cross-signing keys, and knows no fallback keys. A change of a device is told without
//     the signatures that cross-signing gave it.
//   - It knows no threads, so that a user has one receipt.

// company is two users in one room, alice on the resident server and bob on the other.
type company struct {
	direction
	alice, bob *user.User
	room       string
}

// together makes a public room with both in it.
func together(ctx context.Context, d direction, options map[string]any) company {
	GinkgoHelper()
	c := company{direction: d, alice: (*d.resident).newUser(ctx), bob: (*d.visitor).newUser(ctx)}
	c.room = create(ctx, c.alice, options)
	_, err := c.bob.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	c.agree(ctx)
	return c
}

func (d direction) home() string { return (*d.resident).orders.ServerName }

// create makes a public room of version 10 unless the options say otherwise.
func create(ctx context.Context, u *user.User, options map[string]any) string {
	GinkgoHelper()
	all := map[string]any{"preset": "public_chat", "room_version": "10"}
	for key, value := range options {
		all[key] = value
	}
	room, err := u.CreateRoom(ctx, all)
	Expect(err).NotTo(HaveOccurred())
	return room
}

// state is a room's current state as a user's server has it: the event of each key.
func state(ctx context.Context, u *user.User, room string) func() (map[string]string, error) {
	return func() (map[string]string, error) {
		list, err := u.State(ctx, room)
		return byKey(list), err
	}
}

// byKey are the IDs of state events by type and state key.
func byKey(list []user.Event) map[string]string {
	events := map[string]string{}
	for _, e := range list {
		if e.StateKey != nil {
			events[e.Type+" "+*e.StateKey] = e.ID
		}
	}
	return events
}

// agree waits until both servers have the same state.
func (c company) agree(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		home, err := state(ctx, c.alice, c.room)()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(state(ctx, c.bob, c.room)()).To(Equal(home))
	}).WithTimeout(patience).WithPolling(100 * time.Millisecond).Should(Succeed())
}

// talk has each say something that the other hears.
func (c company) talk(ctx context.Context) {
	GinkgoHelper()
	for _, pair := range [][2]*user.User{{c.alice, c.bob}, {c.bob, c.alice}} {
		text := fmt.Sprintf("%s says at %d", pair[0].ID, time.Now().UnixNano())
		Expect(pair[0].Say(ctx, c.room, text)).NotTo(BeEmpty())
		Eventually(bodies(ctx, pair[1], c.room)).WithTimeout(patience).Should(ContainElement(text))
	}
	c.agree(ctx)
}

// levels gives users their power, beside alice's.
func (c company) levels(ctx context.Context, by *user.User, users map[string]any) {
	GinkgoHelper()
	users[c.alice.ID] = 100
	_, err := by.SetState(ctx, c.room, "m.room.power_levels", "", map[string]any{"users": users, "events_default": 0, "state_default": 50})
	Expect(err).NotTo(HaveOccurred())
}

func do(ctx context.Context, u *user.User, path string, body any) error {
	return u.Call(ctx, "POST", "/_matrix/client/v3/"+path, nil, body, nil)
}

// redact takes back an event; number tells one redaction of a user from another.
func redact(ctx context.Context, u *user.User, room, eventID string, number int) (string, error) {
	var answer struct {
		EventID string `json:"event_id"`
	}
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/redact/%s/%d", url.PathEscape(room), url.PathEscape(eventID), number)
	err := u.Call(ctx, "PUT", path, nil, map[string]any{}, &answer)
	return answer.EventID, err
}

func restricted(ctx context.Context, d direction) {
	club := together(ctx, d, nil)
	Expect(club.bob.Leave(ctx, club.room)).To(Succeed())
	Eventually(members(ctx, club.alice, club.room)).WithTimeout(patience).Should(HaveKeyWithValue(club.bob.ID, "leave"))
	inner := company{direction: d, alice: club.alice, bob: club.bob}
	inner.room = create(ctx, club.alice, map[string]any{"preset": "private_chat", "initial_state": []any{map[string]any{
		"type": "m.room.join_rules", "state_key": "", "content": map[string]any{"join_rule": "restricted", "allow": []any{
			map[string]any{"type": "m.room_membership", "room_id": club.room},
		}},
	}}})
	_, err := inner.bob.Join(ctx, inner.room, d.home())
	Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")), "he is not in the other room")
	_, err = club.bob.Join(ctx, club.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	_, err = inner.bob.Join(ctx, inner.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	inner.talk(ctx)
}

func knocking(ctx context.Context, d direction) {
	c := company{direction: d, alice: (*d.resident).newUser(ctx), bob: (*d.visitor).newUser(ctx)}
	c.room = create(ctx, c.alice, map[string]any{"preset": "private_chat", "initial_state": []any{map[string]any{
		"type": "m.room.join_rules", "state_key": "", "content": map[string]any{"join_rule": "knock"},
	}}})
	knock := func() error {
		return c.bob.Call(ctx, "POST", "/_matrix/client/v3/knock/"+c.room, url.Values{"server_name": {d.home()}, "via": {d.home()}}, map[string]any{}, nil)
	}
	Expect(knock()).To(Succeed())
	Eventually(members(ctx, c.alice, c.room)).WithTimeout(patience).Should(HaveKeyWithValue(c.bob.ID, "knock"))
	Expect(c.bob.Leave(ctx, c.room)).To(Succeed())
	if (*d.visitor).kind != "synapse" { // see departures
		Eventually(members(ctx, c.alice, c.room)).WithTimeout(patience).Should(HaveKeyWithValue(c.bob.ID, "leave"), "it was taken back")
	}
	Expect(knock()).To(Succeed())
	Eventually(members(ctx, c.alice, c.room)).WithTimeout(patience).Should(HaveKeyWithValue(c.bob.ID, "knock"))
	Expect(c.alice.Invite(ctx, c.room, c.bob.ID)).To(Succeed())
	_, err := c.bob.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	c.talk(ctx)
}

// told is what a user's syncs have said last about a room, from where the last one ended (Synapse answers a first sync from
// memory for two minutes).
func told(ctx context.Context, u *user.User, room string) func() (string, error) {
	last := ""
	return func() (string, error) {
		answer, err := u.Sync(ctx, 500*time.Millisecond)
		if _, there := answer.Rooms.Leave[room]; there {
			last = "left"
		}
		if _, there := answer.Rooms.Invite[room]; there {
			last = "invited"
		}
		return last, err
	}
}

func rescinded(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	room := create(ctx, alice, map[string]any{"preset": "private_chat"})
	Expect(alice.Invite(ctx, room, bob.ID)).To(Succeed())
	news := told(ctx, bob, room)
	Eventually(news).WithTimeout(patience).Should(Equal("invited"))
	Expect(do(ctx, alice, "rooms/"+room+"/kick", map[string]any{"user_id": bob.ID})).To(Succeed())
	Eventually(news).WithTimeout(patience).Should(Equal("left"))
	_, err := bob.Join(ctx, room, d.home())
	Expect(err).To(HaveOccurred())
}

// alone: an invite is rejected, and taken off the list, though the room's only server is gone.
func alone(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	room := create(ctx, alice, map[string]any{"preset": "private_chat"})
	Expect(alice.Invite(ctx, room, bob.ID)).To(Succeed())
	news := told(ctx, bob, room)
	Eventually(news).WithTimeout(patience).Should(Equal("invited"))
	(*d.resident).stop()
	defer (*d.resident).start()
	Expect(bob.Leave(ctx, room)).To(Succeed())
	Eventually(news).WithTimeout(patience).Should(Equal("left"))
}

func upgraded(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	var answer struct {
		Replacement string `json:"replacement_room"`
	}
	Expect(c.alice.Call(ctx, "POST", "/_matrix/client/v3/rooms/"+c.room+"/upgrade", nil, map[string]any{"new_version": "11"}, &answer)).To(Succeed())
	Eventually(stateText(ctx, c.bob, c.room, "m.room.tombstone", "replacement_room")).WithTimeout(patience).Should(Equal(answer.Replacement))
	if (*d.resident).kind != "dendrite" {
		c.agree(ctx)
	}
	_, err := c.bob.Join(ctx, answer.Replacement, d.home())
	Expect(err).NotTo(HaveOccurred())
	c.room = answer.Replacement
	c.talk(ctx)
}

func history(ctx context.Context, d direction, byDate bool) {
	c := company{direction: d, alice: (*d.resident).newUser(ctx), bob: (*d.visitor).newUser(ctx)}
	c.room = create(ctx, c.alice, nil)
	const messages = 120
	var ids, texts []string
	for i := range messages {
		texts = append(texts, fmt.Sprintf("long ago %d", i))
		eventID, err := c.alice.Say(ctx, c.room, texts[i])
		Expect(err).NotTo(HaveOccurred())
		ids = append(ids, eventID)
	}
	_, err := c.bob.Join(ctx, c.room, d.home())
	Expect(err).NotTo(HaveOccurred())
	if byDate {
		c.dated(ctx, ids)
	}
	Eventually(bodies(ctx, c.bob, c.room)).WithTimeout(patience).Should(Equal(texts))
	c.talk(ctx)
}

// dated asks for the event in the middle by its date: it is far below what came with the join.
func (c company) dated(ctx context.Context, ids []string) {
	GinkgoHelper()
	var middle struct {
		TS int64 `json:"origin_server_ts"`
	}
	Expect(c.alice.Call(ctx, "GET", "/_matrix/client/v3/rooms/"+c.room+"/event/"+url.PathEscape(ids[len(ids)/2]), nil, nil, &middle)).To(Succeed())
	var found struct {
		EventID string `json:"event_id"`
	}
	Expect(c.bob.Call(ctx, "GET", "/_matrix/client/v1/rooms/"+c.room+"/timestamp_to_event",
		url.Values{"ts": {strconv.FormatInt(middle.TS, 10)}, "dir": {"f"}}, nil, &found)).To(Succeed())
	Expect(ids).To(ContainElement(found.EventID))
	var dated struct {
		TS int64 `json:"origin_server_ts"`
	}
	Expect(c.alice.Call(ctx, "GET", "/_matrix/client/v3/rooms/"+c.room+"/event/"+url.PathEscape(found.EventID), nil, nil, &dated)).To(Succeed())
	Expect(dated.TS).To(Equal(middle.TS), "several events may share the millisecond")
}

func denied(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	rule := func(deny ...string) {
		GinkgoHelper()
		_, err := c.alice.SetState(ctx, c.room, "m.room.server_acl", "", map[string]any{"allow": []string{"*"}, "deny": append([]string{}, deny...), "allow_ip_literals": true})
		Expect(err).NotTo(HaveOccurred())
	}
	rule((*d.visitor).orders.BindAddr.String())
	_, _ = c.bob.Say(ctx, c.room, "let me in") // whether a server that is kept out lets its users speak is its own affair
	Consistently(bodies(ctx, c.alice, c.room)).WithTimeout(2 * time.Second).ShouldNot(ContainElement("let me in"))
	carol := (*d.visitor).newUser(ctx)
	_, err := carol.Join(ctx, c.room, d.home())
	if err == nil {
		Consistently(members(ctx, c.alice, c.room)).WithTimeout(time.Second).ShouldNot(HaveKey(carol.ID), "the visitor let her in alone")
		return
	}
	rule()
	c.talk(ctx)
}

// partition: the visitor is out while the resident's users act, then the resident while the visitor's do.
func partition(ctx context.Context, d direction, version string) {
	c := together(ctx, d, map[string]any{"room_version": version})
	dave, carol := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	for _, u := range []*user.User{dave, carol} {
		_, err := u.Join(ctx, c.room, d.home())
		Expect(err).NotTo(HaveOccurred())
	}
	levels := func(by *user.User, users map[string]any) {
		GinkgoHelper()
		users[c.bob.ID] = 100
		c.levels(ctx, by, users)
	}
	topic := func(by *user.User, text string) {
		GinkgoHelper()
		_, err := by.SetState(ctx, c.room, "m.room.topic", "", map[string]any{"topic": text})
		Expect(err).NotTo(HaveOccurred())
	}
	levels(c.alice, map[string]any{})
	c.talk(ctx)

	(*d.visitor).stop()
	levels(c.alice, map[string]any{dave.ID: 50})
	Expect(do(ctx, c.alice, "rooms/"+c.room+"/ban", map[string]any{"user_id": carol.ID})).To(Succeed())
	topic(dave, "of the resident's user")
	Expect(syscall.Kill((*d.resident).process.PID(), syscall.SIGSTOP)).To(Succeed())
	(*d.visitor).start()
	levels(c.bob, map[string]any{carol.ID: 50})
	Expect(do(ctx, c.bob, "rooms/"+c.room+"/ban", map[string]any{"user_id": dave.ID})).To(Succeed())
	topic(carol, "of the visitor's user")
	Expect(syscall.Kill((*d.resident).process.PID(), syscall.SIGCONT)).To(Succeed())

	c.talk(ctx)
	final, err := members(ctx, c.alice, c.room)()
	Expect(err).NotTo(HaveOccurred())
	Expect([]string{final[dave.ID], final[carol.ID]}).To(ContainElement("ban"), "one side's ban at least stands")
}
