package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/peer"
	"hanse/testnet/user"
)

var _ = Describe("Messages", Label("s2s:messages"), func() {
	DescribeTable("go both ways, with their redactions",
		says("server-server-api#transactions", "The transfer of EDUs and PDUs between homeservers is performed by an exchange of Transaction messages"),
		says("client-server-api#redactions", "Upon receipt of a redaction event, the server must strip off any keys not in the following list"), func(ctx SpecContext, version roomversion.Version) {
			m := meet(ctx, version)
			for range 3 {
				m.fromAlice(ctx, "from here")
				m.marker(ctx)
			}
			theirs := m.marker(ctx)
			_, err := m.Send(ctx, event.Draft{Type: "m.room.redaction", Sender: m.user, Redacts: theirs.ID(), Content: json.RawMessage(`{"reason":"typo"}`)})
			Expect(err).NotTo(HaveOccurred())
			Eventually(content(ctx, alice, m.ID, theirs.ID())).ShouldNot(HaveKey("body"))

			ours := m.fromAlice(ctx, "I take that back")
			path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(m.ID)) + "/redact/" + url.PathEscape(string(ours.ID())) + "/txn1"
			var answer struct {
				EventID id.EventID `json:"event_id"`
			}
			Expect(alice.Call(ctx, http.MethodPut, path, nil, map[string]any{"reason": "typo"}, &answer)).To(Succeed())
			target, ok := m.arrives(answer.EventID).Redacts()
			Expect(ok).To(BeTrue())
			Expect(target).To(Equal(ours.ID()))
			Eventually(content(ctx, alice, m.ID, ours.ID())).ShouldNot(HaveKey("body"))
		}, eachVersion())

	DescribeTable("a redaction without the power is not applied",
		follows("rooms/v11#handling-redactions", "the sender needs the redact level, or be of the same server as the sender of the event that is redacted"), func(ctx SpecContext, version roomversion.Version) {
			m := meet(ctx, version)
			ours := m.fromAlice(ctx, "stays as it is")
			powerless, err := m.Send(ctx, event.Draft{Type: "m.room.redaction", Sender: m.user, Redacts: ours.ID()})
			Expect(err).NotTo(HaveOccurred())
			m.marker(ctx)
			Expect(content(ctx, alice, m.ID, ours.ID())()).To(HaveKeyWithValue("body", "stays as it is"))
			Expect(timeline(ctx, alice, m.ID)()).NotTo(ContainElement(powerless.ID()), "it is not sent to clients")
		}, Entry("version 10", Label("rooms:v10"), roomversion.V10), Entry("version 11", Label("rooms:v11"), roomversion.V11), Entry("version 12", Label("rooms:v12"), roomversion.V12))

	It("refers to all ends of the room",
		says("server-server-api#pdus", "The sending server should populate this field with all of the events in the room for which it has not yet seen a child"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			ends := m.Ends()
			var forks []id.EventID
			for range 2 {
				d := peer.MessageDraft(m.user, "a fork")
				d.PrevEvents = ends
				e, err := m.Put(d)
				Expect(err).NotTo(HaveOccurred())
				m.delivered(ctx, e.JSON())
				forks = append(forks, e.ID())
				time.Sleep(2 * time.Millisecond) // for another origin_server_ts, and so another ID
			}
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElements(forks))
			Expect(m.fromAlice(ctx, "joins the ends").PrevEvents()).To(ConsistOf(forks))
		})

	It("takes an event that is sent long after it was made",
		says(checksSection, "5. Passes authorisation rules based on the state before the event"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			d := peer.MessageDraft(m.user, "late")
			d.OriginServerTS = yesterday().UnixMilli()
			late, err := m.Put(d)
			Expect(err).NotTo(HaveOccurred())
			m.delivered(ctx, late.JSON())
			Eventually(timeline(ctx, alice, m.ID)).Should(ContainElement(late.ID()))
		})

	It("typing and receipts go both ways",
		says("server-server-api#edus", "EDUs, by comparison to PDUs, do not have an ID, a room ID, or a list of \"previous\" IDs."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			ours := m.fromAlice(ctx, "read this")
			room := "/_matrix/client/v3/rooms/" + url.PathEscape(string(m.ID))
			Expect(alice.Call(ctx, http.MethodPut, room+"/typing/"+url.PathEscape(alice.ID), nil, map[string]any{"typing": true, "timeout": 10000}, nil)).To(Succeed())
			Eventually(func() []peer.ReceivedEDU { return m.peer.EDUs("m.typing") }).Should(ContainElement(WithTransform(
				func(edu peer.ReceivedEDU) []byte { return edu.Content }, MatchJSON(`{"room_id":"`+string(m.ID)+`","user_id":"`+alice.ID+`","typing":true}`))))

			theirs := m.marker(ctx)
			Expect(alice.Call(ctx, http.MethodPost, room+"/receipt/m.read/"+url.PathEscape(string(theirs.ID())), nil, map[string]any{}, nil)).To(Succeed())
			Eventually(func() string {
				var all strings.Builder
				for _, edu := range m.peer.EDUs("m.receipt") {
					all.Write(edu.Content)
				}
				return all.String()
			}).Should(And(ContainSubstring(string(theirs.ID())), ContainSubstring(alice.ID)))

			Expect(m.peer.SendEDU(ctx, sut.name, "m.typing", map[string]any{"room_id": m.ID, "user_id": m.user, "typing": true})).To(Succeed())
			Expect(m.peer.SendEDU(ctx, sut.name, "m.typing", map[string]any{"room_id": m.ID, "user_id": "@forged:elsewhere.test", "typing": true})).To(Succeed())
			Expect(m.peer.SendEDU(ctx, sut.name, "m.receipt", map[string]any{string(m.ID): map[string]any{"m.read": map[string]any{
				string(m.user): map[string]any{"event_ids": []any{ours.ID()}, "data": map[string]any{"ts": time.Now().UnixMilli()}},
			}}})).To(Succeed())
			Eventually(ephemeral(ctx, m.ID)).Should(And(ContainSubstring(string(m.user)), ContainSubstring(string(ours.ID())), Not(ContainSubstring("@forged:elsewhere.test"))))
		})
})

// ephemeral is what alice's sync shows of typing and receipts in a room, as text.
func ephemeral(ctx context.Context, roomID id.RoomID) func() (string, error) {
	return func() (string, error) {
		var answer user.SyncAnswer
		err := alice.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", freshFilter(roomID)), nil, &answer)
		var text strings.Builder
		for _, e := range answer.Rooms.Join[string(roomID)].Ephemeral.Events {
			text.WriteString(e.Type)
			text.Write(e.Content)
		}
		return text.String(), err
	}
}
