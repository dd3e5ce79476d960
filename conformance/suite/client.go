package suite

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"hanse/testnet/user"
)

// raw is an answer of the client-server API as JSON.
func raw(ctx context.Context, u *user.User, method, path string, query url.Values, body any) map[string]any {
	GinkgoHelper()
	var answer map[string]any
	Expect(u.Call(ctx, method, path, query, body, &answer)).To(Succeed())
	return answer
}

// requires checks an answer's required members: name → what its value is.
func requires(object any, members map[string]types.GomegaMatcher) {
	GinkgoHelper()
	fields, ok := object.(map[string]any)
	Expect(ok).To(BeTrue(), "%v is no object", object)
	for name, matcher := range members {
		Expect(fields).To(HaveKeyWithValue(name, matcher), "in %v", object)
	}
}

var (
	text   = BeAssignableToTypeOf("")
	number = BeAssignableToTypeOf(1.0)
	object = BeAssignableToTypeOf(map[string]any{})
	list   = BeAssignableToTypeOf([]any{})
)

// clientEvent checks the form of an event as clients get it; in /sync without the room's ID.
func clientEvent(e any, inSync bool) {
	GinkgoHelper()
	requires(e, map[string]types.GomegaMatcher{"type": text, "event_id": text, "sender": text, "origin_server_ts": number, "content": object})
	if !inSync {
		requires(e, map[string]types.GomegaMatcher{"room_id": text})
	}
	for _, inner := range []string{"hashes", "signatures", "auth_events", "prev_events", "depth"} {
		Expect(e).NotTo(HaveKey(inner), "a member of the federation's format")
	}
}

var _ = Describe("The client-server API", Label("c2s"), func() {
	It("answers have the members that the specification requires",
		says("client-server-api#get_matrixclientv3sync", "next_batch: Required"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			m.marker(ctx)
			m.fromAlice(ctx, "hello")
			room := "/_matrix/client/v3/rooms/" + url.PathEscape(string(m.ID))

			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/versions", nil, nil), map[string]types.GomegaMatcher{"versions": list})
			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/account/whoami", nil, nil), map[string]types.GomegaMatcher{"user_id": Equal(alice.ID), "device_id": text})
			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/capabilities", nil, nil), map[string]types.GomegaMatcher{"capabilities": object})
			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/login", nil, nil), map[string]types.GomegaMatcher{"flows": list})
			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/joined_rooms", nil, nil), map[string]types.GomegaMatcher{"joined_rooms": list})
			requires(raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/publicRooms", nil, nil), map[string]types.GomegaMatcher{"chunk": list})
			requires(raw(ctx, alice, http.MethodGet, room+"/joined_members", nil, nil), map[string]types.GomegaMatcher{"joined": HaveKey(string(m.user))})

			members := raw(ctx, alice, http.MethodGet, room+"/members", nil, nil)
			requires(members, map[string]types.GomegaMatcher{"chunk": HaveLen(2)})
			messages := raw(ctx, alice, http.MethodGet, room+"/messages", query("dir", "b", "limit", "5"), nil)
			requires(messages, map[string]types.GomegaMatcher{"start": text, "end": text, "chunk": HaveLen(5)})
			for _, e := range append(members["chunk"].([]any), messages["chunk"].([]any)...) {
				clientEvent(e, false)
			}
			clientEvent(raw(ctx, alice, http.MethodGet, room+"/event/"+url.PathEscape(string(m.Ends()[0])), nil, nil), false)
		})

	It("a sync is complete enough for strict clients",
		follows("client-server-api#get_matrixclientv3sync", "the members that the definition of the answer requires, and those that clients page by"),
		says("client-server-api#get_matrixclientv3sync", "timeout: The maximum time to wait, in milliseconds, before returning this request. If no events (or other data) become available before this time elapses, the server will return a response with empty fields."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			m.marker(ctx)
			filter := `{"room":{"rooms":["` + string(m.ID) + `"],"timeline":{"limit":3}}}`
			first := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", filter), nil)
			requires(first, map[string]types.GomegaMatcher{"next_batch": text, "rooms": object})
			joined := first["rooms"].(map[string]any)["join"].(map[string]any)[string(m.ID)]
			requires(joined, map[string]types.GomegaMatcher{"timeline": object, "state": object})
			timeline := joined.(map[string]any)["timeline"]
			requires(timeline, map[string]types.GomegaMatcher{"events": HaveLen(3), "limited": BeTrue(), "prev_batch": text})
			requires(joined.(map[string]any)["state"], map[string]types.GomegaMatcher{"events": list})
			for _, e := range timeline.(map[string]any)["events"].([]any) {
				clientEvent(e, true)
			}

			older := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/rooms/"+url.PathEscape(string(m.ID))+"/messages",
				query("dir", "b", "limit", "100", "from", timeline.(map[string]any)["prev_batch"].(string)), nil)
			shown := map[string]bool{}
			for _, e := range append(older["chunk"].([]any), timeline.(map[string]any)["events"].([]any)...) {
				eventID := e.(map[string]any)["event_id"].(string)
				Expect(shown).NotTo(HaveKey(eventID), "prev_batch: an event twice")
				shown[eventID] = true
			}
			all, err := alice.History(ctx, string(m.ID))
			Expect(err).NotTo(HaveOccurred())
			Expect(shown).To(HaveLen(len(all)), "prev_batch: events are missing")

			began := time.Now()
			next := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "100", "filter", filter, "since", first["next_batch"].(string)), nil)
			Expect(time.Since(began)).To(BeNumerically(">=", 90*time.Millisecond))
			requires(next, map[string]types.GomegaMatcher{"next_batch": text})
		})

	It("a waiting sync returns when another server's event comes",
		says("client-server-api#syncing", "Clients then receive new events by \"long-polling\" the homeserver"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			filter := `{"room":{"rooms":["` + string(m.ID) + `"]}}`
			first := raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "0", "filter", filter), nil)
			came := make(chan time.Duration, 1)
			began := time.Now()
			go func() {
				defer GinkgoRecover()
				raw(ctx, alice, http.MethodGet, "/_matrix/client/v3/sync", query("timeout", "20000", "filter", filter, "since", first["next_batch"].(string)), nil)
				came <- time.Since(began)
			}()
			_, err := m.Say(ctx, m.user, "wake up")
			Expect(err).NotTo(HaveOccurred())
			Eventually(came).Should(Receive(BeNumerically("<", 10*time.Second)))
		})

	DescribeTable("errors are standard errors", Label(LabelDeployed),
		says("client-server-api#standard-error-response", "Any errors which occur at the Matrix API level MUST return a \"standard error response\"."), func(ctx SpecContext, method, path, token string, wantStatus int, wantCode string) {
			u := user.New(sut.clientURL)
			defer u.Close()
			u.Token = token
			if token == "alice's" {
				u.Token = alice.Token
			}
			err := u.Call(ctx, method, path, nil, nil, nil)
			refusal, ok := err.(*user.Error)
			Expect(ok).To(BeTrue(), "%s", errorText(err))
			Expect(refusal.Status).To(Equal(wantStatus), "%s", refusal.Error())
			Expect(refusal.Code).To(Equal(wantCode), "%s", refusal.Error())
			Expect(refusal.Message).NotTo(BeEmpty())
		},
		Entry("no token", http.MethodGet, "/_matrix/client/v3/sync", "", http.StatusUnauthorized, "M_MISSING_TOKEN"),
		Entry("an unknown token", http.MethodGet, "/_matrix/client/v3/sync", "nonsense", http.StatusUnauthorized, "M_UNKNOWN_TOKEN"),
		Entry("an unknown endpoint", http.MethodGet, "/_matrix/client/v3/nonsense", "alice's", http.StatusNotFound, "M_UNRECOGNIZED"),
		Entry("another method", http.MethodDelete, "/_matrix/client/versions", "alice's", http.StatusMethodNotAllowed, "M_UNRECOGNIZED"),
		Entry("a room that isn't there", http.MethodGet, "/_matrix/client/v3/rooms/!nothing:"+string(home)+"/state", "alice's", http.StatusForbidden, "M_FORBIDDEN"),
		Entry("an unknown alias", http.MethodGet, "/_matrix/client/v3/directory/room/%23nothing:"+string(home), "alice's", http.StatusNotFound, "M_NOT_FOUND"),
	)

	It("a message is sent once per transaction ID",
		says("client-server-api#transaction-identifiers", "The purpose of the transaction ID is to allow the homeserver to distinguish a new request from a retransmission of a previous request so that it can make the request idempotent."), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(m.ID)) + "/send/m.room.message/same"
			first := raw(ctx, alice, http.MethodPut, path, nil, map[string]any{"msgtype": "m.text", "body": "once"})
			Expect(raw(ctx, alice, http.MethodPut, path, nil, map[string]any{"msgtype": "m.text", "body": "once"})).To(Equal(first))
		})

	It("content that is not canonical JSON is refused where the room version says so", Label("rooms:v10"),
		says("rooms/v6#canonical-json", "400 M_BAD_JSON error on most endpoints, or discarding of events over"), func(ctx SpecContext) {
			m := meet(ctx, mainVersion)
			path := "/_matrix/client/v3/rooms/" + url.PathEscape(string(m.ID)) + "/send/m.room.message/float"
			err := alice.Call(ctx, http.MethodPut, path, nil, json.RawMessage(`{"msgtype":"m.text","body":"x","n":1.5}`), nil)
			Expect(status(err)).To(Equal(http.StatusBadRequest), "%s", errorText(err))
		})
})
