package rooms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/node/rooms"
)

var _ = Describe("invites of third parties", func() {
	var (
		w          *world
		one, two   *host
		alice, bob id.UserID
		roomID     id.RoomID
		identity   signedjson.Key
		ctx        = context.Background()
	)
	BeforeEach(func() {
		w = newWorld()
		one, two = w.start("one.test"), w.start("two.test")
		alice, bob = one.user("alice"), two.user("bob")
		roomID = one.create(rooms.CreateRequest{Preset: "private_chat"})
		_, private, err := ed25519.GenerateKey(rand.Reader)
		Expect(err).NotTo(HaveOccurred())
		identity = signedjson.Key{ID: "ed25519:0", Private: private}
		public := signedjson.EncodeBase64(private.Public().(ed25519.PublicKey))
		one.set(alice, roomID, "m.room.third_party_invite", "token", fmt.Sprintf(
			`{"display_name":"bo...@example.org","key_validity_url":"https://id.test/valid","public_key":%[1]q,"public_keys":[{"public_key":%[1]q}]}`, public))
	})
	signed := func(user id.UserID, token string) json.RawMessage {
		GinkgoHelper()
		raw, err := signedjson.Sign([]byte(fmt.Sprintf(`{"mxid":%q,"sender":%q,"token":%q}`, user, alice, token)), "id.test", identity)
		Expect(err).NotTo(HaveOccurred())
		return raw
	}
	// bind is the identity server's request: the invites of some senders.
	method := http.MethodPut
	bind := func(user id.UserID, token string, senders ...id.UserID) int {
		GinkgoHelper()
		var invites []any
		for _, sender := range append(senders, alice) {
			invites = append(invites, map[string]any{
				"medium": "email", "address": "bob@example.org", "mxid": user, "room_id": roomID, "sender": sender, "signed": signed(user, token),
			})
		}
		body, err := json.Marshal(map[string]any{"medium": "email", "address": "bob@example.org", "mxid": user, "invites": invites})
		Expect(err).NotTo(HaveOccurred())
		q, err := http.NewRequestWithContext(ctx, method, two.http.URL+"/_matrix/federation/v1/3pid/onbind", bytes.NewReader(body))
		Expect(err).NotTo(HaveOccurred())
		answer, err := two.http.Client().Do(q)
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Body.Close()).To(Succeed())
		return answer.StatusCode
	}
	invite := func(h *host) string { return h.membership(roomID, bob) }

	It("become invites of users through the inviting server", func() {
		Expect(bind(bob, "token")).To(Equal(http.StatusOK))
		Expect(invite(two)).To(Equal("invite"))
		Expect(invite(one)).To(Equal("invite"))
		Expect(string(one.current(roomID, "m.room.member", string(bob)).Content())).To(ContainSubstring(`"display_name":"bo...@example.org"`))
		two.join(bob, roomID)
		one.sees(two.say(bob, roomID, "thanks for the mail"))
	})

	It("are told of by POST too, as deployed identity servers do", func() {
		method = http.MethodPost
		DeferCleanup(func() { method = http.MethodPut })
		Expect(bind(bob, "token")).To(Equal(http.StatusOK))
		Expect(invite(two)).To(Equal("invite"))
	})

	It("are made though one of another sender isn't wanted", func() {
		Expect(bind(bob, "token", "@pest:one.test")).To(Equal(http.StatusOK))
		Expect(invite(two)).To(Equal("invite"))
	})

	It("are made in a room that the invited server is in", func() {
		carol := two.user("carol")
		Expect(one.rooms.Invite(ctx, rooms.MembershipRequest{Room: roomID, Sender: alice, Target: carol})).To(Succeed())
		two.join(carol, roomID)
		Expect(bind(bob, "token")).To(Equal(http.StatusOK))
		Expect(invite(two)).To(Equal("invite"))
		Eventually(func() string { return invite(one) }).Should(Equal("invite"), "it is signed by the invited server, not by its sender's")
		two.join(bob, roomID)
		agree(roomID, one, two)
	})

	It("are refused without the identity server's signature", func() {
		bad := identity
		_, bad.Private, _ = ed25519.GenerateKey(rand.Reader)
		good := identity
		identity = bad
		Expect(bind(bob, "token")).To(Equal(http.StatusOK), "the notice was taken, whatever becomes of it")
		Expect(invite(two)).To(BeEmpty())
		err := one.rooms.ExchangeThirdPartyInvite(ctx, two.name, federation.ThirdPartyInvite{RoomID: roomID, Sender: alice, Target: bob, Signed: signed(bob, "token")})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		identity = good
		err = one.rooms.ExchangeThirdPartyInvite(ctx, two.name, federation.ThirdPartyInvite{RoomID: roomID, Sender: alice, Target: bob, Signed: signed(bob, "another")})
		Expect(code(err)).To(Equal("M_FORBIDDEN"))
		err = one.rooms.ExchangeThirdPartyInvite(ctx, two.name, federation.ThirdPartyInvite{RoomID: roomID, Sender: alice, Target: two.user("mallory"), Signed: signed(bob, "token")})
		Expect(code(err)).To(Equal("M_FORBIDDEN"), "it was signed for somebody else")
		err = one.rooms.ExchangeThirdPartyInvite(ctx, "three.test", federation.ThirdPartyInvite{RoomID: roomID, Sender: alice, Target: bob, Signed: signed(bob, "token")})
		Expect(code(err)).To(Equal("M_FORBIDDEN"), "he is not of that server")
		Expect(one.current(roomID, "m.room.member", string(bob))).To(BeNil())
	})
})
