package clientapi

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
)

var _ = Describe("tokens", func() {
	var w *world
	BeforeEach(func() { w = newWorld(nil) })
	login := func(more obj) answered {
		GinkgoHelper()
		body := obj{"type": "m.login.password", "identifier": obj{"type": "m.id.user", "user": "alice"}, "password": "secret of alice"}
		for key, value := range more {
			body[key] = value
		}
		return fine(w.nobody().post("/login", body))
	}
	works := func(token string) int {
		return (&person{w: w, token: token}).get("/account/whoami").status
	}
	refresh := func(token string) answered { return w.nobody().post("/refresh", obj{"refresh_token": token}) }

	It("are refreshed, and the old ones last until the new are used", func() {
		w.register("alice")
		Expect(login(nil).body).NotTo(HaveKey("refresh_token"), "for clients that can't")
		first := login(obj{"refresh_token": true, "device_id": "D"})
		Expect(first.body).To(HaveKeyWithValue("expires_in_ms", BeNumerically(">", 0)))
		old, oldAccess := first.text("refresh_token"), first.text("access_token")
		Expect(works(oldAccess)).To(Equal(200))

		lost := fine(refresh(old))
		second := fine(refresh(old), "access_token", "expires_in_ms")
		Expect(works(lost.text("access_token"))).To(Equal(401), "the answer that was lost counts no more")
		Expect(works(oldAccess)).To(Equal(200))
		Expect(works(second.text("access_token"))).To(Equal(200))
		refused(refresh(old), 401, "M_UNKNOWN_TOKEN")
		refused(refresh(lost.text("refresh_token")), 401, "M_UNKNOWN_TOKEN")

		third := fine(refresh(second.text("refresh_token")))
		fourth := fine(refresh(third.text("refresh_token")))
		refused(refresh(second.text("refresh_token")), 401, "M_UNKNOWN_TOKEN")
		user := &person{w: w, token: fourth.text("access_token")}
		Expect(fine(user.get("/account/whoami")).body).To(HaveKeyWithValue("device_id", "D"))
		fine(user.post("/logout", obj{}))
		refused(refresh(fourth.text("refresh_token")), 401, "M_UNKNOWN_TOKEN")
		refused(w.nobody().post("/refresh", obj{}), 400, "M_MISSING_PARAM")
	})

	It("that have ended log the client out softly, and can still be refreshed", func(ctx context.Context) {
		alice := w.register("alice")
		ended := login(obj{"refresh_token": true, "device_id": "D"})
		Expect(w.store.Login(ctx, store.Device{User: "@alice:hanse.test", ID: "D"}, store.HashToken(ended.text("access_token")), store.Refreshing(store.Refreshable{
			Access: store.HashToken(ended.text("access_token")), Refresh: store.HashToken("refresh"), Expires: time.UnixMilli(1),
		}))).To(Succeed())
		gone := (&person{w: w, token: ended.text("access_token")}).get("/account/whoami")
		refused(gone, 401, "M_UNKNOWN_TOKEN")
		Expect(gone.body).To(HaveKeyWithValue("soft_logout", true))
		Expect(works(alice.token)).To(Equal(200))
		Expect(works(fine(refresh("refresh")).text("access_token"))).To(Equal(200))
	})

	It("let another client log in, once", func() {
		alice := w.register("alice")
		ask := alice.post("/_matrix/client/v1/login/get_token", obj{})
		Expect(ask.status).To(Equal(401))
		token := fine(alice.post("/_matrix/client/v1/login/get_token", obj{"auth": obj{
			"type": "m.login.password", "session": ask.text("session"), "identifier": obj{"type": "m.id.user", "user": "alice"}, "password": "secret of alice",
		}}), "expires_in_ms").text("login_token")
		Expect(fine(w.nobody().get("/login")).raw).To(ContainSubstring(`"get_login_token":true`))
		by := func(token string) answered {
			return w.nobody().post("/login", obj{"type": "m.login.token", "token": token})
		}
		Expect(fine(by(token)).body).To(HaveKeyWithValue("user_id", alice.id))
		refused(by(token), 403, "M_FORBIDDEN")
		refused(by("nonsense"), 403, "M_FORBIDDEN")
		refused(w.nobody().post("/login", obj{"type": "m.login.token"}), 400, "M_MISSING_PARAM")
	})
})
