package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
)

const checksSection = "server-server-api#checks-performed-on-receipt-of-a-pdu"

// forged is an event of the peer's as a test wants it.
func (m meeting) forged(alter func(fields map[string]any), f peer.Forgery) (json.RawMessage, id.EventID) {
	GinkgoHelper()
	e, err := m.Build(peer.MessageDraft(m.user, "forged"))
	Expect(err).NotTo(HaveOccurred())
	return m.Forge(e, alter, f)
}

// delivered sends events in one transaction, which must be taken as a whole whatever they are.
func (m meeting) delivered(ctx SpecContext, pdus ...json.RawMessage) map[id.EventID]string {
	GinkgoHelper()
	results, err := m.peer.Transaction(ctx, sut.name, pdus...)
	Expect(err).NotTo(HaveOccurred(), "a wrong event must not fail the transaction")
	errors := map[id.EventID]string{}
	for eventID, result := range results {
		errors[eventID] = result.Error
	}
	return errors
}

// invisible checks that alice sees nothing of some events, after one that comes later.
func (m meeting) invisible(ctx SpecContext, ids ...id.EventID) {
	GinkgoHelper()
	shown, err := timeline(ctx, alice, m.ID)()
	Expect(err).NotTo(HaveOccurred())
	for _, eventID := range ids {
		Expect(shown).NotTo(ContainElement(eventID))
	}
}

func asIs(map[string]any) {}

var _ = Describe("Checks on receipt: dropped", Label("s2s:events"), func() {
	DescribeTable("an event without a good signature is dropped, the rest of its transaction handled", func(ctx SpecContext, forge func(m meeting) (json.RawMessage, id.EventID)) {
		says(checksSection, "2. Passes signature checks, otherwise it is dropped.")
		m := meet(ctx, mainVersion)
		raw, eventID := forge(m)
		good, err := m.Put(peer.MessageDraft(m.user, "the rest"))
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, raw, good.JSON())
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(good.ID()))
		m.invisible(ctx, eventID)
		_, err = m.peer.Client.Event(ctx, sut.name, eventID)
		Expect(err).To(refusedWith(http.StatusNotFound, "M_NOT_FOUND"), "a dropped event is not kept")
		m.notPrev(ctx, eventID)
	},
		Entry("signed with a key that is not published", func(m meeting) (json.RawMessage, id.EventID) {
			return m.forged(asIs, peer.Forgery{Key: peer.NewKey("ed25519:unknown")})
		}),
		Entry("signed with another key under a published ID", func(m meeting) (json.RawMessage, id.EventID) {
			return m.forged(asIs, peer.Forgery{Key: peer.NewKey("ed25519:peer")})
		}),
		Entry("not signed", func(m meeting) (json.RawMessage, id.EventID) { return m.forged(asIs, peer.Forgery{Unsigned: true}) }),
		Entry("signed by another server than the sender's", func(m meeting) (json.RawMessage, id.EventID) {
			other := newPeer()
			return m.forged(asIs, peer.Forgery{Server: other.Name, Key: other.Key()})
		}),
		Entry("in the name of a user of another server", func(m meeting) (json.RawMessage, id.EventID) {
			return m.forged(func(fields map[string]any) { fields["sender"] = alice.ID }, peer.Forgery{})
		}),
		Entry("with a protected field changed after it was signed", func(m meeting) (json.RawMessage, id.EventID) {
			raw, eventID := m.forged(asIs, peer.Forgery{})
			return json.RawMessage(strings.Replace(string(raw), `"depth":`, `"depth":1`, 1)), eventID
		}),
	)

	DescribeTable("an event that does not have its room version's format is dropped, the rest of its transaction handled", func(ctx SpecContext, version roomversion.Version, alter func(fields map[string]any)) {
		says(checksSection, "1. Is a valid event, otherwise it is dropped. For an event to be valid, it must comply with the event format of that room version.")
		m := meet(ctx, version)
		raw, eventID := m.forged(alter, peer.Forgery{})
		good, err := m.Put(peer.MessageDraft(m.user, "the rest"))
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, raw, good.JSON())
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(good.ID()))
		m.invisible(ctx, eventID)
	},
		Entry("no type", mainVersion, remove("type")),
		Entry("a type that is no text", mainVersion, set("type", 7)),
		Entry("a type of 256 bytes", mainVersion, set("type", strings.Repeat("t", 256))),
		Entry("a state key of 256 bytes", mainVersion, set("state_key", strings.Repeat("k", 256))),
		Entry("a state key that is no text", mainVersion, set("state_key", 1)),
		Entry("no sender", mainVersion, remove("sender")),
		Entry("a sender that is no user ID", mainVersion, set("sender", "bob")),
		Entry("no content", mainVersion, remove("content")),
		Entry("content that is a text", mainVersion, set("content", "text")),
		Entry("no prev_events", mainVersion, remove("prev_events")),
		Entry("prev_events that are no list", mainVersion, set("prev_events", map[string]any{})),
		Entry("prev_events of numbers", mainVersion, set("prev_events", []any{1})),
		Entry("21 prev_events", mainVersion, set("prev_events", manyIDs(21))),
		Entry("11 auth_events", mainVersion, set("auth_events", manyIDs(11))),
		Entry("no auth_events", mainVersion, remove("auth_events")),
		Entry("no depth", mainVersion, remove("depth")),
		Entry("a depth that is a text", mainVersion, set("depth", "12")),
		Entry("a negative depth", mainVersion, set("depth", -1)),
		Entry("a depth beyond canonical JSON", mainVersion, set("depth", json.Number("9007199254740992"))),
		Entry("a time that is a text", mainVersion, set("origin_server_ts", "now")),
		Entry("a fraction in the content", mainVersion, set("content", map[string]any{"body": "x", "msgtype": "m.text", "n": json.Number("1.5")})),
		Entry("an exponent in the content", mainVersion, set("content", map[string]any{"body": "x", "msgtype": "m.text", "n": json.Number("1e3")})),
		Entry("a number beyond 2^53 in the content", mainVersion, set("content", map[string]any{"body": "x", "msgtype": "m.text", "n": json.Number("9007199254740992")})),
		Entry("more than 65536 bytes", mainVersion, set("content", map[string]any{"body": strings.Repeat("b", 65536), "msgtype": "m.text"})),
		Entry("a room_id that is a list", mainVersion, set("room_id", []any{})),
		Entry("version 1: no event_id", Label("rooms:v1"), roomversion.V1, remove("event_id")),
		Entry("version 1: prev_events without hashes", Label("rooms:v1"), roomversion.V1, set("prev_events", manyIDs(1))),
		Entry("version 12: no room_id", Label("rooms:v12"), roomversion.V12, remove("room_id")),
	)

	It("an event without hashes is dropped", func(ctx SpecContext) {
		says(checksSection, "1. Is a valid event, otherwise it is dropped.")
		m := meet(ctx, mainVersion)
		raw, eventID := m.forged(remove("hashes"), peer.Forgery{KeepHash: true})
		m.delivered(ctx, raw)
		m.marker(ctx)
		m.invisible(ctx, eventID)
	})

	It("an event that was made the same way, but right, is taken", func(ctx SpecContext) {
		says(checksSection, "the receiving server must ensure that the event … Is a valid event … Passes signature checks … Passes hash checks")
		m := meet(ctx, mainVersion)
		raw, eventID := m.forged(asIs, peer.Forgery{})
		m.delivered(ctx, raw)
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(eventID))
		Expect(content(ctx, alice, m.ID, eventID)()).To(HaveKeyWithValue("body", "forged"))
	})

	It("takes an event of exactly 65536 bytes", func(ctx SpecContext) {
		says("client-server-api#size-limits", "The complete event MUST NOT be larger than 65536 bytes, when formatted with the federation event format, including any signatures, and encoded as Canonical JSON.")
		m := meet(ctx, mainVersion)
		text := func(n int) event.Draft { return peer.MessageDraft(m.user, strings.Repeat("b", n)) }
		small, err := m.Build(text(0))
		Expect(err).NotTo(HaveOccurred())
		big, err := m.Put(text(65536 - len(small.JSON())))
		Expect(err).NotTo(HaveOccurred())
		Expect(big.JSON()).To(HaveLen(65536))
		m.delivered(ctx, big.JSON())
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(big.ID()))
	})

	It("takes fractions in a room of version 5, whose servers must not enforce canonical JSON", Label("rooms:v5"), func(ctx SpecContext) {
		says("rooms/v6#canonical-json", "Servers MUST strictly enforce the JSON format specified in the")
		m := meet(ctx, roomversion.V5)
		raw, eventID := m.forged(set("content", map[string]any{"body": "x", "msgtype": "m.text", "n": json.Number("1.5")}), peer.Forgery{})
		m.delivered(ctx, raw)
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(eventID))
	})

	DescribeTable("what is no transaction is refused", func(ctx SpecContext, body string) {
		says("server-server-api#transactions", "Transactions are limited in size; they can have at most 50 PDUs and 100 EDUs.")
		p := newPeer()
		r := p.SendRequest()
		r.Body = []byte(body)
		answer, err := p.Do(ctx, sut.name, r)
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Status).To(BeNumerically(">=", 400), answer.String())
		Expect(answer.Status).To(BeNumerically("<", 500), answer.String())
		Expect(answer.Code()).NotTo(BeEmpty())
	},
		Entry("a list", `[]`),
		Entry("pdus that are a text", `{"origin":"x.test","origin_server_ts":1,"pdus":"none"}`),
		Entry("51 PDUs", `{"origin":"x.test","origin_server_ts":1,"pdus":[`+strings.Repeat(`{},`, 50)+`{}]}`),
		Entry("101 EDUs", `{"origin":"x.test","origin_server_ts":1,"pdus":[],"edus":[`+strings.Repeat(`{"edu_type":"x","content":{}},`, 100)+`{"edu_type":"x","content":{}}]}`),
	)

	It("handles a transaction once", func(ctx SpecContext) {
		follows("server-server-api#put_matrixfederationv1sendtxnid", "a server that got no answer sends the transaction again under its ID: it was handled, so it is answered as before")
		m := meet(ctx, mainVersion)
		e, err := m.Put(peer.MessageDraft(m.user, "once"))
		Expect(err).NotTo(HaveOccurred())
		r := m.peer.SendRequest(e.JSON())
		first, err := m.peer.Do(ctx, sut.name, r)
		Expect(err).NotTo(HaveOccurred())
		second, err := m.peer.Do(ctx, sut.name, r)
		Expect(err).NotTo(HaveOccurred())
		Expect(second.String()).To(Equal(first.String()))
		m.delivered(ctx, e.JSON()) // and in another transaction
		m.marker(ctx)
		shown, err := timeline(ctx, alice, m.ID)()
		Expect(err).NotTo(HaveOccurred())
		Expect(count(shown, e.ID())).To(Equal(1))
	})

	It("does not stumble over events of rooms that it doesn't know", func(ctx SpecContext) {
		says(checksSection, "1. For some room versions, a room_id may also be required on the event in order to determine the room version to check the event against.")
		m := meet(ctx, mainVersion)
		strange, err := m.peer.CreateRoom(mainVersion, m.user, peer.RoomOptions{})
		Expect(err).NotTo(HaveOccurred())
		far, err := strange.Put(peer.MessageDraft(m.user, "elsewhere"))
		Expect(err).NotTo(HaveOccurred())
		good, err := m.Put(peer.MessageDraft(m.user, "the rest"))
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, far.JSON(), json.RawMessage(`{}`), good.JSON())
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(good.ID()))
	})
})

func count[T comparable](list []T, wanted T) int {
	n := 0
	for _, one := range list {
		if one == wanted {
			n++
		}
	}
	return n
}

func remove(name string) func(map[string]any) {
	return func(fields map[string]any) { delete(fields, name) }
}

func set(name string, value any) func(map[string]any) {
	return func(fields map[string]any) { fields[name] = value }
}

func manyIDs(n int) []any {
	var list []any
	for i := range n {
		list = append(list, fmt.Sprintf("$%043d", i))
	}
	return list
}

var _ = Describe("Checks on receipt: redacted", Label("s2s:events"), func() {
	It("an event whose content hash is wrong is redacted", func(ctx SpecContext) {
		says(checksSection, "3. Passes hash checks, otherwise it is redacted before being processed further.")
		m := meet(ctx, mainVersion)
		raw, eventID := m.forged(func(fields map[string]any) {
			fields["content"].(map[string]any)["body"] = "changed on the way"
		}, peer.Forgery{KeepHash: true})
		m.delivered(ctx, raw)
		Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(eventID))
		Expect(content(ctx, alice, m.ID, eventID)()).NotTo(Or(HaveKey("body"), HaveKey("msgtype")))
	})

	It("a membership whose content hash is wrong counts, without what a redaction takes away", func(ctx SpecContext) {
		says("server-server-api#rejection", "This is in contrast to redacted events which can still affect the state of the room. For example, a redacted join event will still result in the user being considered joined.")
		m := meet(ctx, mainVersion)
		carol := m.peer.User("carol")
		e, err := m.Build(peer.StateDraft(carol, "m.room.member", string(carol), map[string]any{"membership": "join", "displayname": "Carol"}))
		Expect(err).NotTo(HaveOccurred())
		raw, eventID := m.Forge(e, func(fields map[string]any) {
			fields["content"].(map[string]any)["displayname"] = "Somebody else"
		}, peer.Forgery{KeepHash: true})
		m.delivered(ctx, raw)
		Eventually(membership(ctx, m.ID, carol)).Should(Equal("join"))
		Expect(stateContent(ctx, alice, m.ID, "m.room.member", string(carol))()).NotTo(HaveKey("displayname"))
		Expect(eventID).To(Equal(e.ID()), "the ID does not cover the display name")
	})
})

// attempt is an event that a room's rules forbid, and the rule.
type attempt struct {
	rule  string
	draft func(m meeting) event.Draft
}

var _ = Describe("Checks on receipt: rejected", Label("s2s:events", "s2s:authorisation"), func() {
	DescribeTable("an event that the state before it forbids is rejected", func(ctx SpecContext, a attempt) {
		says("rooms/v10#authorisation-rules", a.rule)
		m := meet(ctx, mainVersion)
		bad, err := m.Put(a.draft(m))
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, bad.JSON())
		m.afterRejection(ctx, bad)
	},
		Entry("a message of somebody who is not there", attempt{"If the sender's current membership state is not join, reject.", func(m meeting) event.Draft {
			return peer.MessageDraft(m.peer.User("stranger"), "hello")
		}}),
		Entry("a topic without the power", attempt{"If the event type's required power level is greater than the sender's power level, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.topic", "", map[string]any{"topic": "mine"})
		}}),
		Entry("power levels without the power", attempt{"If the event type's required power level is greater than the sender's power level, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.power_levels", "", map[string]any{"users": map[string]any{string(m.user): 100}})
		}}),
		Entry("the state of another user", attempt{"If the event has a state_key that starts with an @ and does not match the sender, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "org.example.mood", alice.ID, map[string]any{"mood": "good"})
		}}),
		Entry("a kick without the power", attempt{"If the sender's power level is greater than or equal to the kick level, and the target user's power level is less than the sender's power level, allow.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", alice.ID, map[string]any{"membership": "leave"})
		}}),
		Entry("a ban without the power", attempt{"If the sender's power level is greater than or equal to the ban level, and the target user's power level is less than the sender's power level, allow.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", "@somebody:elsewhere.test", map[string]any{"membership": "ban"})
		}}),
		Entry("a join for somebody else", attempt{"If the sender does not match state_key, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", string(m.peer.User("carol")), map[string]any{"membership": "join"})
		}}),
		Entry("an invite of somebody who is there", attempt{"If target user's current membership state is join or ban, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", alice.ID, map[string]any{"membership": "invite"})
		}}),
		Entry("a knock where knocking is not allowed", attempt{"If the join_rule is anything other than knock or knock_restricted, reject.", func(m meeting) event.Draft {
			carol := m.peer.User("carol")
			return peer.StateDraft(carol, "m.room.member", string(carol), map[string]any{"membership": "knock"})
		}}),
		Entry("a membership that does not exist", attempt{"Otherwise, the membership is unknown. Reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "asleep"})
		}}),
		Entry("a membership without membership", attempt{"If there is no state_key property, or no membership property in content, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{})
		}}),
		Entry("a second create event", attempt{"If it has any prev_events, reject.", func(m meeting) event.Draft {
			return peer.StateDraft(m.user, "m.room.create", "", map[string]any{"creator": string(m.user), "room_version": "10"})
		}}),
		Entry("auth events that are not the selection", attempt{"If there are entries whose type and state_key don't match those specified by the auth events selection algorithm described in the server specification, reject.", func(m meeting) event.Draft {
			d := peer.MessageDraft(m.user, "too many auth events")
			for _, eventType := range []string{"m.room.create", "m.room.power_levels", "m.room.history_visibility"} {
				d.AuthEvents = append(d.AuthEvents, m.State(eventType, "").ID())
			}
			d.AuthEvents = append(d.AuthEvents, m.State("m.room.member", string(m.user)).ID())
			return d
		}}),
		Entry("auth events without the create event", attempt{"If there is no m.room.create event among the entries, reject.", func(m meeting) event.Draft {
			d := peer.MessageDraft(m.user, "no create event")
			d.AuthEvents = []id.EventID{m.State("m.room.power_levels", "").ID(), m.State("m.room.member", string(m.user)).ID()}
			return d
		}}),
		Entry("auth events without the sender's membership", attempt{"If the sender's current membership state is not join, reject.", func(m meeting) event.Draft {
			d := peer.MessageDraft(m.user, "no membership")
			d.AuthEvents = []id.EventID{m.State("m.room.create", "").ID(), m.State("m.room.power_levels", "").ID()}
			return d
		}}),
	)

	It("an event with an auth event of another room is rejected", func(ctx SpecContext) {
		says("rooms/v10#authorisation-rules", "If any event in auth_events has a room_id which does not match that of the event being authorised, reject.")
		m, other := meet(ctx, mainVersion), meet(ctx, mainVersion)
		elsewhere := visit(ctx, m.peer, other.ID)
		d := peer.MessageDraft(m.user, "with a membership of another room")
		d.AuthEvents = []id.EventID{
			m.State("m.room.create", "").ID(), m.State("m.room.power_levels", "").ID(), elsewhere.State("m.room.member", string(m.user)).ID(),
		}
		bad, err := m.Put(d)
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, bad.JSON())
		m.afterRejection(ctx, bad)
	})

	It("an event that rests on a rejected one is rejected", func(ctx SpecContext) {
		says("rooms/v10#authorisation-rules", "If there are entries which were themselves rejected under the checks performed on receipt of a PDU, reject.")
		m := meet(ctx, mainVersion)
		stolen, err := m.Put(peer.StateDraft(m.user, "m.room.power_levels", "", map[string]any{"users": map[string]any{string(m.user): 100}}))
		Expect(err).NotTo(HaveOccurred())
		topic, err := m.Put(peer.StateDraft(m.user, "m.room.topic", "", map[string]any{"topic": "by stolen power"}))
		Expect(err).NotTo(HaveOccurred())
		Expect(topic.AuthEvents()).To(ContainElement(stolen.ID()))
		m.delivered(ctx, stolen.JSON(), topic.JSON())
		Eventually(func() error {
			_, err := stateContent(ctx, alice, m.ID, "m.room.topic", "")()
			return err
		}).Should(HaveOccurred())
		m.invisible(ctx, stolen.ID(), topic.ID())
		m.notPrev(ctx, stolen.ID(), topic.ID())
	})

	It("a banned user's events are rejected", func(ctx SpecContext) {
		says("rooms/v10#authorisation-rules", "If the sender's current membership state is not join, reject.")
		m := meet(ctx, mainVersion)
		Expect(alice.Call(ctx, http.MethodPost, "/_matrix/client/v3/rooms/"+string(m.ID)+"/ban", nil, map[string]any{"user_id": m.user}, nil)).To(Succeed())
		Eventually(func() string { return m.Membership(m.user) }).Should(Equal("ban"))
		message, err := m.Put(peer.MessageDraft(m.user, "still here"))
		Expect(err).NotTo(HaveOccurred())
		join, err := m.Put(peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": "join"}))
		Expect(err).NotTo(HaveOccurred())
		m.delivered(ctx, message.JSON(), join.JSON())
		Expect(membership(ctx, m.ID, m.user)()).To(Equal("ban"))
		m.invisible(ctx, message.ID(), join.ID())
	})
})

// afterRejection checks what the specification says of a rejected event, which the peer's room holds: not shown, not
// referred to, not in the way of what comes after it.
func (m meeting) afterRejection(ctx SpecContext, bad *event.Event) {
	GinkgoHelper()
	says("server-server-api#rejection", "If an event is rejected it should neither be relayed to clients nor be included as a prev event in any new events generated by the server. Subsequent events from other servers that reference rejected events should be allowed if they still pass the auth rules.")
	eventID, err := alice.Say(ctx, string(m.ID), "after a rejected event")
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() bool { return m.Has(id.EventID(eventID)) }).Should(BeTrue())
	Expect(m.Event(id.EventID(eventID)).PrevEvents()).NotTo(ContainElement(bad.ID()))
	m.invisible(ctx, bad.ID())

	next := peer.MessageDraft(m.user, "on top of it")
	next.PrevEvents = []id.EventID{bad.ID(), id.EventID(eventID)}
	next.AuthEvents = []id.EventID{m.create(), m.Event(id.EventID(eventID)).AuthEvents()[indexOfLevels(m, eventID)], m.joinOf(m.user)}
	later, err := m.Build(next)
	Expect(err).NotTo(HaveOccurred())
	m.delivered(ctx, later.JSON())
	Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(later.ID()), "an event that refers to a rejected one, and is allowed")
	m.invisible(ctx, bad.ID())
	if stateKey, ok := bad.StateKey(); ok && bad.Type() != "m.room.create" && bad.Type() != "m.room.member" && bad.Type() != "m.room.power_levels" {
		_, err := stateContent(ctx, alice, m.ID, bad.Type(), stateKey)()
		Expect(status(err)).To(Equal(http.StatusNotFound), "the state has the rejected event")
	}
}

// create, levels and joinOf are the events that allow the peer's user to speak, whatever was put on top of them.
func (m meeting) create() id.EventID {
	for _, e := range m.All() {
		if e.Is("m.room.create", "") && len(e.PrevEvents()) == 0 {
			return e.ID()
		}
	}
	return ""
}

func (m meeting) joinOf(user id.UserID) id.EventID {
	for _, e := range m.Timeline() {
		if e.Is("m.room.member", string(user)) && e.Membership() == "join" {
			return e.ID()
		}
	}
	return ""
}

func indexOfLevels(m meeting, eventID string) int {
	return slices.IndexFunc(m.Event(id.EventID(eventID)).AuthEvents(), func(auth id.EventID) bool {
		return m.Event(auth) != nil && m.Event(auth).Type() == "m.room.power_levels"
	})
}
