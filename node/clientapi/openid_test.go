package clientapi

import (
	"context"
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
)

var _ = Describe("OpenID tokens", func() {
	It("tell others who a user is, and nothing else", func(ctx SpecContext) {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		refused(w.nobody().post("/user/"+esc(alice.id)+"/openid/request_token", obj{}), 401, "M_MISSING_TOKEN")
		refused(bob.post("/user/"+esc(alice.id)+"/openid/request_token", obj{}), 403, "M_FORBIDDEN")
		for _, body := range []any{obj{}, nil} {
			a := fine(alice.post("/user/"+esc(alice.id)+"/openid/request_token", body), "access_token", "expires_in")
			Expect(a.body).To(HaveKeyWithValue("token_type", "Bearer"))
			Expect(a.body).To(HaveKeyWithValue("matrix_server_name", string(self)))
			Expect(a.body["expires_in"]).To(BeNumerically(">", 0))
			user, err := w.users.OpenIDUser(ctx, a.text("access_token"))
			Expect(err).NotTo(HaveOccurred())
			Expect(user).To(Equal(id.UserID(alice.id)))
			refused((&person{w: w, token: a.text("access_token")}).get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		}
		for _, token := range []string{"", "nonsense", alice.token} {
			_, err := w.users.OpenIDUser(ctx, token)
			var matrix *federation.Error
			Expect(errors.As(err, &matrix)).To(BeTrue())
			Expect([]any{matrix.Status, matrix.Code}).To(Equal([]any{401, "M_UNKNOWN_TOKEN"}))
		}
	})

	It("end with the account", func(ctx SpecContext) {
		w := newWorld(nil)
		alice := w.register("alice")
		token := fine(alice.post("/user/"+esc(alice.id)+"/openid/request_token", obj{})).text("access_token")
		Expect(w.users.Deactivate(context.WithoutCancel(ctx), id.UserID(alice.id), false)).To(Succeed())
		_, err := w.users.OpenIDUser(ctx, token)
		Expect(err).To(HaveOccurred())
	})
})
