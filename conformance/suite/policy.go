package suite

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

// policed is a room of alice's whose policy server is the peer.
type policed struct {
	meeting
	key ed25519.PrivateKey
}

// police makes such a room. The peer signs what it is asked to, until a test says otherwise.
func police(ctx context.Context) policed {
	GinkgoHelper()
	m := meet(ctx, mainVersion)
	public, private, err := ed25519.GenerateKey(nil)
	Expect(err).NotTo(HaveOccurred())
	p := policed{meeting: m, key: private}
	m.peer.On("policy_sign", func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it went away
		}
		peer.Answer(http.StatusOK, fmt.Sprintf(`{%q:{"ed25519:policy_server":%q}}`, m.peer.Name, p.signature(body)))(w, r, next)
	})
	eventID, err := alice.SetState(ctx, string(m.ID), "m.room.policy", "", map[string]any{
		"via": m.peer.Name, "public_keys": map[string]any{"ed25519": base64.RawStdEncoding.EncodeToString(public)},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(m.peer.Requests("policy_sign")).To(BeEmpty(), "This endpoint MUST NOT be called for events which have a type of m.room.policy and an empty string state_key.")
	m.arrives(id.EventID(eventID))
	return p
}

// signature is the policy server's signature on an event; "" for what is no event.
func (p policed) signature(raw []byte) string {
	e, err := literal.Read(numberOf(p.Rules.Version), raw)
	if err != nil {
		return ""
	}
	essential := e.Redacted()
	delete(essential, "signatures")
	delete(essential, "unsigned")
	return base64.RawStdEncoding.EncodeToString(ed25519.Sign(p.key, literal.Canonical(essential)))
}

// signed adds the policy server's signature to an event of the peer's.
func (p policed) signed(e *event.Event) json.RawMessage {
	GinkgoHelper()
	var fields map[string]any
	Expect(json.Unmarshal(e.JSON(), &fields)).To(Succeed())
	fields["signatures"].(map[string]any)[string(p.peer.Name)].(map[string]any)["ed25519:policy_server"] = p.signature(e.JSON())
	return encode(fields)
}

var _ = Describe("Policy servers", Label("s2s:policy-servers"), func() {
	const (
		enabled    = "server-server-api#determining-if-a-policy-server-is-enabled-in-a-room"
		validating = "server-server-api#validating-policy-server-signatures"
		asking     = "server-server-api#asking-for-a-policy-server-signature-on-an-event"
		endpoint   = "server-server-api#post_matrixpolicyv1sign"
	)

	It("are asked before an event is sent, and their signature goes with it",
		says(enabled, "If a room has enabled a Policy Server, all servers in that room MUST ask that Policy Server for a signature before sending an event."),
		says(endpoint, "This signature is to be added to the event before sending or processing the event further."),
		says("server-server-api#policy-servers", "For a homeserver to be a Policy Server, it MUST implement the following functionality … Receiving and processing POST /_matrix/policy/v1/sign requests."), func(ctx SpecContext) {
			p := police(ctx)
			e := p.fromAlice(ctx, "hello")
			requests := p.peer.Requests("policy_sign")
			Expect(requests).NotTo(BeEmpty())
			Expect(requests[0].AuthErr).NotTo(HaveOccurred())
			Expect(e.SignaturesOf(p.peer.Name)).To(HaveKey(id.KeyID("ed25519:policy_server")))
		})

	It("that refuse are obeyed, and the client is told",
		says(asking, "If the Policy Server returns an error, the event SHOULD NOT be sent to clients and servers."),
		says(validating, "If the Policy Server returned an error, that error SHOULD be provided to the client verbatim."), func(ctx SpecContext) {
			p := police(ctx)
			p.peer.On("policy_sign", peer.Fail(http.StatusBadRequest, "M_FORBIDDEN"))
			_, err := alice.Say(ctx, string(p.ID), "spam")
			Expect(status(err)).To(BeElementOf(http.StatusBadRequest, http.StatusForbidden), "%s", errorText(err))
			Expect(errorText(err)).To(ContainSubstring("M_FORBIDDEN"))
			Expect(timelineBodies(ctx, p.ID)).NotTo(ContainElement("spam"))
		})

	It("that sign with another key are not believed",
		says(asking, "After asking for a signature, homeservers SHOULD validate the returned signature before continuing to send events."), func(ctx SpecContext) {
			p := police(ctx)
			p.peer.On("policy_sign", peer.Answer(http.StatusOK, fmt.Sprintf(`{%q:{"ed25519:policy_server":%q}}`, p.peer.Name, base64.RawStdEncoding.EncodeToString(make([]byte, 64)))))
			_, err := alice.Say(ctx, string(p.ID), "unsigned")
			Expect(err).To(HaveOccurred())
			Expect(timelineBodies(ctx, p.ID)).NotTo(ContainElement("unsigned"))
		})

	It("make that an event with their signature is taken, and one that they don't sign is soft-failed",
		says(validating, "If the Policy Server's signature is invalid or missing, the homeserver SHOULD ask for a new signature. If the event still does not have a valid Policy Server signature, … soft fail the event."), func(ctx SpecContext) {
			p := police(ctx)
			good, err := p.Build(peer.MessageDraft(p.user, "signed"))
			Expect(err).NotTo(HaveOccurred())
			raw := p.signed(good)
			parsed, err := event.Parse(p.Rules, raw)
			Expect(err).NotTo(HaveOccurred())
			Expect(p.Add(parsed)).To(Succeed())
			p.delivered(ctx, raw)
			p.sees(ctx, good.ID())

			p.peer.On("policy_sign", peer.Fail(http.StatusBadRequest, "M_FORBIDDEN"))
			bad, err := p.Build(peer.MessageDraft(p.user, "not signed"))
			Expect(err).NotTo(HaveOccurred())
			next, err := p.Build(peer.MessageDraft(p.user, "signed, beside it"))
			Expect(err).NotTo(HaveOccurred())
			p.delivered(ctx, bad.JSON(), p.signed(next))
			p.sees(ctx, next.ID())
			p.invisible(ctx, bad.ID())
		})

	It("are asked for a signature that is missing",
		says(validating, "If the Policy Server's signature is invalid or missing, the homeserver SHOULD ask for a new signature."), func(ctx SpecContext) {
			p := police(ctx)
			e, err := p.Put(peer.MessageDraft(p.user, "the signature is asked for"))
			Expect(err).NotTo(HaveOccurred())
			p.delivered(ctx, e.JSON())
			p.sees(ctx, e.ID())
			Expect(p.peer.Requests("policy_sign")).NotTo(BeEmpty())
		})

	DescribeTable("that are none are not asked",
		says(enabled, "For a room to be considered as \"using\" a Policy Server, all of the following conditions MUST be true: … via … public_keys containing at least a string value for ed25519 … at least one joined user in the room"), func(ctx SpecContext, content func(m meeting) map[string]any) {
			m := meet(ctx, mainVersion)
			m.peer.On("policy_sign", peer.Fail(http.StatusBadRequest, "M_FORBIDDEN"))
			eventID, err := alice.SetState(ctx, string(m.ID), "m.room.policy", "", content(m))
			Expect(err).NotTo(HaveOccurred())
			m.arrives(id.EventID(eventID))
			m.fromAlice(ctx, "nobody judges")
			Expect(m.peer.Requests("policy_sign")).To(BeEmpty())
		},
		Entry("no via", func(meeting) map[string]any { return map[string]any{"public_keys": map[string]any{"ed25519": someKey}} }),
		Entry("no key", func(m meeting) map[string]any { return map[string]any{"via": m.peer.Name} }),
		Entry("a server without a user in the room", func(meeting) map[string]any {
			return map[string]any{"via": "elsewhere.test", "public_keys": map[string]any{"ed25519": someKey}}
		}),
	)
})

// timelineBodies are the texts that alice sees in a room.
func timelineBodies(ctx context.Context, roomID id.RoomID) []string {
	GinkgoHelper()
	history, err := alice.History(ctx, string(roomID))
	Expect(err).NotTo(HaveOccurred())
	var bodies []string
	for _, e := range history {
		bodies = append(bodies, e.Body())
	}
	return bodies
}
