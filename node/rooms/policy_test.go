package rooms_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/signedjson"
	"hanse/node/rooms"
)

// guard is a policy server that signs all but spam.
type guard struct {
	name  id.ServerName
	key   signedjson.Key
	asked atomic.Int64
}

func newGuard(h *host) *guard {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	g := &guard{name: h.name, key: signedjson.Key{ID: room.PolicyKeyID, Private: private}}
	h.sign(g.ServeHTTP)
	return g
}

func (g *guard) content() string {
	public := signedjson.EncodeBase64(g.key.Private.Public().(ed25519.PublicKey))
	return fmt.Sprintf(`{"via": %q, "public_keys": {"ed25519": %q}}`, g.name, public)
}

// ServeHTTP signs what it is given as if it were redacted already: the tests' messages have nothing but a content to lose.
func (g *guard) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	defer GinkgoRecover()
	g.asked.Add(1)
	body, err := io.ReadAll(q.Body)
	Expect(err).NotTo(HaveOccurred())
	w.Header().Set("Content-Type", "application/json")
	if strings.Contains(string(body), "spam") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"errcode":"M_FORBIDDEN","error":"no meat here"}`)
		return
	}
	var e map[string]json.RawMessage
	Expect(json.Unmarshal(body, &e)).To(Succeed())
	if t := string(e["type"]); t == `"m.room.message"` || t == `"m.room.topic"` {
		e["content"] = json.RawMessage(`{}`)
	}
	redacted, err := json.Marshal(e)
	Expect(err).NotTo(HaveOccurred())
	signed, err := signedjson.Sign(redacted, string(g.name), g.key)
	Expect(err).NotTo(HaveOccurred())
	var answer struct {
		Signatures map[string]map[string]string `json:"signatures"`
	}
	Expect(json.Unmarshal(signed, &answer)).To(Succeed())
	Expect(json.NewEncoder(w).Encode(map[string]any{
		string(g.name): map[string]string{string(g.key.ID): answer.Signatures[string(g.name)][string(g.key.ID)]},
	})).To(Succeed())
}

var _ = Describe("a room with a policy server", func() {
	var (
		w             *world
		one, two, pol *host
		alice, bob    id.UserID
		g             *guard
		roomID        id.RoomID
		ctx           = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two, pol = w.start("one.test"), w.start("two.test"), w.start("guard.test")
		alice, bob = one.user("alice"), two.user("bob")
		g = newGuard(pol)
		roomID = one.create(rooms.CreateRequest{})
		two.join(bob, roomID, one.name)
		pol.join(pol.user("bot"), roomID, one.name)
	})
	status := func(h *host, e id.EventID) func() string {
		return func() string {
			row, ok, err := h.store.Event(ctx, e)
			if err != nil || !ok || row.Outlier {
				return "unknown"
			}
			return row.Status.String()
		}
	}

	It("is asked about its room's events alone, when a server sends for several rooms", func() {
		other := one.create(rooms.CreateRequest{})
		two.join(bob, other, one.name)
		two.sees(one.set(alice, roomID, "m.room.policy", "", g.content()))
		var submissions []rooms.Submission
		for _, r := range []id.RoomID{other, roomID} {
			info, _, err := one.store.Room(ctx, r)
			Expect(err).NotTo(HaveOccurred())
			submissions = append(submissions, rooms.Submission{Room: r, Events: two.forged(bob, r, info.Forward, info.Depth+1, 2)})
		}
		verdicts, err := one.rooms.SubmitTogether(ctx, two.name, submissions)
		Expect(err).NotTo(HaveOccurred())
		Expect(verdicts).To(HaveLen(2))
		for i, s := range submissions {
			for _, e := range s.Events {
				Expect(verdicts[i]).To(ContainElement(room.Verdict{EventID: e.ID(), Status: room.Accepted}))
			}
		}
		Expect(g.asked.Load()).To(BeEquivalentTo(2))

		info, _, err := one.store.Room(ctx, other)
		Expect(err).NotTo(HaveOccurred())
		taken := two.forged(bob, other, info.Forward, info.Depth+1, 1)
		_, err = one.rooms.SubmitTogether(ctx, two.name, []rooms.Submission{{Room: "!unknown:two.test", Events: taken}, {Room: other, Events: taken}})
		Expect(err).To(MatchError(ContainSubstring("does not know the room !unknown:two.test")))
		Expect(status(one, taken[0].ID())()).To(Equal(room.Accepted.String()))
	})

	It("sends what it signs and nothing that it refuses", func() {
		two.sees(one.set(alice, roomID, "m.room.policy", "", g.content()))
		Expect(g.asked.Load()).To(BeZero(), "the event that names it is not its business")
		said := one.say(alice, roomID, "hello")
		Expect(g.asked.Load()).To(BeEquivalentTo(1))
		two.sees(said)
		row, _, err := one.store.Event(ctx, said)
		Expect(err).NotTo(HaveOccurred())
		Expect(row.Event.Signatures()[g.name]).To(HaveKey(room.PolicyKeyID))
		Expect(g.asked.Load()).To(BeEquivalentTo(1), "nobody asks again about what is signed")

		_, err = one.rooms.Send(ctx, message(alice, roomID, "spam"))
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		Expect(err).To(MatchError(ContainSubstring("no meat here")))
		topic := one.set(alice, roomID, "m.room.topic", "", `{"topic":"still the same room"}`)
		two.sees(topic)
		agree(roomID, one, two)
	})

	It("makes a message once, however often a client sends it", func() {
		one.set(alice, roomID, "m.room.policy", "", g.content())
		req := message(alice, roomID, "once")
		req.Device, req.TxnID = "PHONE", "1"
		first, err := one.rooms.Send(ctx, req)
		Expect(err).NotTo(HaveOccurred())
		Expect(one.rooms.Send(ctx, req)).To(Equal(first))
	})

	It("says so when it can't be asked", func() {
		two.sees(one.set(alice, roomID, "m.room.policy", "", g.content()))
		w.cut(pol)
		_, err := one.rooms.Send(ctx, message(alice, roomID, "hello"))
		Expect(err).To(MatchError(ContainSubstring("policy server")))
		Expect(one.rooms.Send(ctx, rooms.SendRequest{Room: roomID, Sender: alice, Type: "m.room.policy", StateKey: new(string), Content: json.RawMessage(`{}`)})).NotTo(BeEmpty())
		two.sees(one.say(alice, roomID, "without it"))
	})

	It("asks about what others sent without asking", func() {
		w.cut(two)
		one.set(alice, roomID, "m.room.policy", "", g.content())
		good, bad := two.say(bob, roomID, "hello"), two.say(bob, roomID, "spam")
		w.heal(two)
		after := one.say(alice, roomID, "the other branch")
		Eventually(status(one, good)).Should(Equal("accepted"))
		Eventually(status(one, bad)).Should(Equal("soft-failed"))
		two.sees(after)
	})

	It("lets users of other servers in", func() {
		one.set(alice, roomID, "m.room.policy", "", g.content())
		four := w.start("four.test")
		dora := four.user("dora")
		four.join(dora, roomID, one.name)
		Expect(four.current(roomID, "m.room.member", string(dora)).Signatures()[g.name]).To(HaveKey(room.PolicyKeyID), "the resident server asked")
		two.sees(four.say(dora, roomID, "hello"))
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: four.user("emil")})).To(Succeed())
		Eventually(func() string { return two.membership(roomID, four.user("emil")) }).Should(Equal("invite"))
	})
})
