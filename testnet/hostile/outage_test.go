package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

// outage is a time in which a node can't use its database as it should.
type outage struct {
	begin func(ctx context.Context, n *node) (end func())
	// refuses: what can't be stored is refused. waits: nothing is refused, all is served in the end.
	refuses, waits bool
	// says is what the log says of it, once; "": nothing.
	says string
}

const takesNoWrites = "the database takes no writes; nothing is acknowledged until it does"

// outageTalkers is how many talk at once.
const outageTalkers = 8

// talk is what local users say in a room while the database has its outage: each message again and again, as one transaction,
// until it is acknowledged.
type talk struct {
	user *user.User
	room string
	stop atomic.Bool

	mu       sync.Mutex
	said     map[string]string // guarded by mu: what was acknowledged, by event ID
	refusals int               // guarded by mu
	failures []error           // guarded by mu: what is no refusal for now
}

func (t *talk) begin(ctx context.Context) (wait func()) {
	var talking sync.WaitGroup
	for talker := range outageTalkers {
		talking.Go(func() {
			for number := 0; !t.stop.Load(); number++ {
				t.say(ctx, fmt.Sprintf("%d-%d", talker, number))
			}
		})
	}
	return talking.Wait
}

// say says something, however often it is refused.
func (t *talk) say(ctx context.Context, text string) {
	path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/%s", url.PathEscape(t.room), text)
	body := text + " " + strings.Repeat("x", 5000)
	for ctx.Err() == nil {
		var answer struct {
			EventID string `json:"event_id"`
		}
		err := t.user.Call(ctx, http.MethodPut, path, nil, map[string]any{"msgtype": "m.text", "body": body}, &answer)
		refusal, refused := errors.AsType[*user.Error](err)
		t.mu.Lock()
		switch {
		case err == nil:
			t.said[answer.EventID] = body
		case refused && (refusal.Status >= 500 || refusal.Status == http.StatusTooManyRequests):
			t.refusals++
		default:
			t.failures = append(t.failures, err)
		}
		done := err == nil || len(t.failures) > 0
		t.mu.Unlock()
		if done {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (t *talk) acknowledged() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.said)
}

func (t *talk) refused() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refusals
}

// throughOutage has users and another server at work on a node while its database has an outage, and checks that nothing was
// acknowledged that isn't stored, that the log says what is wrong, once, and that all goes on by itself.
func throughOutage(ctx context.Context, n *node, o outage) {
	GinkgoHelper()
	alice := n.newUser(ctx)
	roomID, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
	Expect(err).NotTo(HaveOccurred())
	p := newPeer()
	joined, err := p.Join(ctx, n.name, id.RoomID(roomID), p.User("peter"))
	Expect(err).NotTo(HaveOccurred())
	elsewhere, err := p.CreateRoom("12", p.User("peter"), peer.RoomOptions{})
	Expect(err).NotTo(HaveOccurred())
	_, err = elsewhere.Invite(ctx, p.User("peter"), id.UserID(alice.ID))
	Expect(err).NotTo(HaveOccurred())
	theirs, err := joined.Room.Put(peer.MessageDraft(p.User("peter"), "peter's"))
	Expect(err).NotTo(HaveOccurred())
	rescinded, err := elsewhere.Put(peer.StateDraft(p.User("peter"), "m.room.member", alice.ID, map[string]any{"membership": "leave"}))
	Expect(err).NotTo(HaveOccurred())

	_, logged := n.complaints(0)
	end := o.begin(ctx, n)
	ending := sync.OnceFunc(end)
	DeferCleanup(ending)
	t := &talk{user: alice, room: roomID, said: map[string]string{}}
	wait := t.begin(ctx)
	var deliveries []*delivery
	for _, e := range []*event.Event{theirs, rescinded} {
		deliveries = append(deliveries, deliver(ctx, p, n, e))
	}
	if o.refuses {
		Eventually(t.refused).Should(BeNumerically(">", 3*outageTalkers))
		for _, d := range deliveries {
			Eventually(d.refusals.Load).Should(BeNumerically(">", 0), "another server is told to come again")
		}
	} else {
		time.Sleep(time.Second)
	}
	ending()
	for _, d := range deliveries {
		Eventually(d.done).Should(BeClosed(), "it is taken once the outage is over")
		Expect(d.problem).To(BeEmpty())
	}
	Eventually(t.acknowledged).Should(BeNumerically(">", t.acknowledged()+outageTalkers), "users are served again")
	t.stop.Store(true)
	wait()
	Expect(t.failures).To(BeEmpty())
	if o.waits {
		Expect(t.refusals).To(BeZero())
	}
	lines, logged := n.complaints(logged)
	checkComplaints(lines, o.says)
	checkStored(ctx, alice, roomID, t.said, theirs.ID())
	for eventID := range t.said {
		Eventually(func() bool { _, ok := p.Received(id.EventID(eventID)); return ok }).Should(BeTrue(), "what was said reaches the other server")
	}

	Expect(n.process.Stop()).To(Succeed())
	n.start()
	checkStored(ctx, alice, roomID, t.said, theirs.ID())
	answer, err := alice.Sync(ctx, 0)
	Expect(err).NotTo(HaveOccurred())
	Expect(answer.Rooms.Invite).NotTo(HaveKey(string(elsewhere.ID)), "the invite was taken back")
	lines, _ = n.complaints(logged)
	Expect(lines).To(BeEmpty())
}

// complaintPause is what lies between two times that the log says the same, but for what a slow machine takes to write it.
const complaintPause = time.Minute - 10*time.Second

// checkComplaints: the log has said what was wrong, and what became of it, nothing of it twice in a minute.
func checkComplaints(lines []string, says string) {
	GinkgoHelper()
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "the database is slow") }) // it may be
	text := strings.Join(lines, "")
	if says == "" {
		Expect(lines).To(BeEmpty())
		return
	}
	Expect(text).To(ContainSubstring(says))
	last := map[string]time.Time{}
	for _, line := range lines {
		head, message, _ := strings.Cut(line, "msg=")
		message, _, _ = strings.Cut(strings.TrimPrefix(message, `"`), `"`)
		stamp, _, _ := strings.Cut(strings.TrimPrefix(head, "time="), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		Expect(err).NotTo(HaveOccurred())
		if before, said := last[message]; said {
			Expect(at).To(BeTemporally(">", before.Add(complaintPause)), text)
		}
		last[message] = at
	}
}

// checkStored: the room has what was acknowledged, each once, and what the other server said.
func checkStored(ctx context.Context, u *user.User, roomID string, said map[string]string, theirs id.EventID) {
	GinkgoHelper()
	history, err := u.History(ctx, roomID)
	Expect(err).NotTo(HaveOccurred())
	stored, foreign := map[string]string{}, 0
	for _, e := range history {
		if e.Type != "m.room.message" {
			continue
		}
		Expect(stored).NotTo(HaveKey(e.ID))
		if e.ID == string(theirs) {
			foreign++
			continue
		}
		stored[e.ID] = e.Body()
	}
	Expect(foreign).To(Equal(1), "the other server's")
	Expect(stored).To(HaveLen(len(said)))
	for eventID, body := range said {
		Expect(stored).To(HaveKeyWithValue(eventID, body))
	}
}

// delivery is a transaction that a peer sends until it is taken.
type delivery struct {
	refusals atomic.Int64
	done     chan struct{}
	problem  string // set before done is closed: what the node has against its event
}

func deliver(ctx context.Context, p *peer.Peer, n *node, e *event.Event) *delivery {
	d := &delivery{done: make(chan struct{})}
	request := p.SendRequest(e.JSON())
	go func() {
		defer close(d.done)
		for ctx.Err() == nil {
			answer, err := p.Do(ctx, n.name, request)
			var sent federation.SendResponse
			switch {
			case err != nil:
			case answer.Status >= 500:
				d.refusals.Add(1)
			case answer.Status != http.StatusOK || json.Unmarshal(answer.Body, &sent) != nil:
				d.problem = answer.String()
				return
			default:
				d.problem = sent.PDUs[e.ID()].Error
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	return d
}
