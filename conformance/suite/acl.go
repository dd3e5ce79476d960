package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/testnet/peer"
)

const aclSection = "server-server-api#server-access-control-lists-acls"

// denied is a room in which the peer's server is denied by the ACL, after its user came.
func denied(ctx context.Context) meeting {
	GinkgoHelper()
	m := meet(ctx, mainVersion)
	eventID, err := alice.SetState(ctx, string(m.ID), "m.room.server_acl", "", map[string]any{
		"allow": []any{"*"}, "deny": []any{m.peer.Name.Host()}, "allow_ip_literals": true,
	})
	Expect(err).NotTo(HaveOccurred())
	m.arrives(id.EventID(eventID))
	return m
}

var _ = Describe("Server ACLs", Label("s2s:acl"), func() {
	DescribeTable("protect the endpoints of a room",
		says(aclSection, "If the server is denied access to a room, the receiving server MUST reply with a 403 HTTP status code and an errcode of M_FORBIDDEN."), func(ctx SpecContext, request func(m meeting, room, user, e string) peer.ByHand) {
			m := denied(ctx)
			e := url.PathEscape(string(m.create()))
			answer, err := m.peer.Do(ctx, sut.name, request(m, url.PathEscape(string(m.ID)), url.PathEscape(string(m.user)), e))
			Expect(err).NotTo(HaveOccurred())
			Expect(answer.Status).To(Equal(http.StatusForbidden), "%s", answer.String())
			Expect(answer.Code()).To(Equal("M_FORBIDDEN"))
		},
		Entry("make_join", get(func(room, user, _ string) string { return "v1/make_join/" + room + "/" + user + "?ver=10" })),
		Entry("make_leave", get(func(room, user, _ string) string { return "v1/make_leave/" + room + "/" + user })),
		Entry("make_knock", get(func(room, user, _ string) string { return "v1/make_knock/" + room + "/" + user + "?ver=10" })),
		Entry("send_join v1", put("v1/send_join/", "join")),
		Entry("send_join v2", put("v2/send_join/", "join")),
		Entry("send_leave v1", put("v1/send_leave/", "leave")),
		Entry("send_leave v2", put("v2/send_leave/", "leave")),
		Entry("send_knock", put("v1/send_knock/", "knock")),
		Entry("state", get(func(room, _, e string) string { return "v1/state/" + room + "?event_id=" + e })),
		Entry("state_ids", get(func(room, _, e string) string { return "v1/state_ids/" + room + "?event_id=" + e })),
		Entry("event_auth", get(func(room, _, e string) string { return "v1/event_auth/" + room + "/" + e })),
		Entry("backfill", get(func(room, _, e string) string { return "v1/backfill/" + room + "?limit=5&v=" + e })),
		Entry("get_missing_events", func(m meeting, _, _, _ string) peer.ByHand {
			return historyRequest("get_missing_events", m.ID, m.create())
		}),
	)

	It("apply to each event of a transaction",
		says(aclSection, "ACLs MUST be applied to all PDUs on a per-PDU basis. If the sending server is denied access to the room identified by room_id, the PDU MUST be ignored with an appropriate error included in the response for the respective event ID."), func(ctx SpecContext) {
			m := denied(ctx)
			other := visit(ctx, m.peer, roomOfAlice(ctx, mainVersion, nil))
			bad, err := m.Put(peer.MessageDraft(m.user, "denied"))
			Expect(err).NotTo(HaveOccurred())
			good, err := other.Put(peer.MessageDraft(m.user, "allowed"))
			Expect(err).NotTo(HaveOccurred())
			results := m.delivered(ctx, bad.JSON(), good.JSON())
			Expect(results[bad.ID()]).NotTo(BeEmpty(), "no error for the denied event")
			Expect(results[good.ID()]).To(BeEmpty())
			Eventually(timeline(ctx, alice, other.ID)).Should(ContainElement(good.ID()))
			m.invisible(ctx, bad.ID())
		})

	It("apply to typing",
		says(aclSection, "For typing notifications (m.typing), if the sending server is denied access to the room identified by room_id, the EDU MUST be ignored."), func(ctx SpecContext) {
			m := denied(ctx)
			Expect(m.peer.SendEDU(ctx, sut.name, "m.typing", map[string]any{"room_id": m.ID, "user_id": m.user, "typing": true})).To(Succeed())
			Consistently(ephemeral(ctx, m.ID)).ShouldNot(ContainSubstring(string(m.user)))
		})
})

func get(uri func(room, user, e string) string) func(m meeting, room, user, e string) peer.ByHand {
	return func(_ meeting, room, user, e string) peer.ByHand {
		return peer.ByHand{Method: http.MethodGet, URI: "/_matrix/federation/" + uri(room, user, e)}
	}
}

// put hands in a membership event of the peer's user that is right in all else.
func put(path, membership string) func(m meeting, room, user, e string) peer.ByHand {
	return func(m meeting, room, _, _ string) peer.ByHand {
		GinkgoHelper()
		e, err := m.Build(peer.StateDraft(m.user, "m.room.member", string(m.user), map[string]any{"membership": membership}))
		Expect(err).NotTo(HaveOccurred())
		return peer.ByHand{Method: http.MethodPut, Body: json.RawMessage(e.JSON()), URI: "/_matrix/federation/" + path + room + "/" + url.PathEscape(string(e.ID()))}
	}
}
