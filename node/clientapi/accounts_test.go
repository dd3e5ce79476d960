package clientapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"net/netip"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/users"
)

var _ = Describe("registration", func() {
	It("is closed by default, and says how to open it", func() {
		w := newWorld(func(c *Config) { c.Registration = Registration{} })
		a := w.nobody().post("/register", obj{"username": "alice", "password": "x"})
		refused(a, 403, "M_FORBIDDEN")
		Expect(a.text("error")).To(ContainSubstring("registration.open"))
		refused(w.nobody().get("/register/available?username=alice"), 403, "M_FORBIDDEN")
		refused(w.nobody().get("/_synapse/admin/v1/register"), 400, "M_UNKNOWN")
		refused(w.nobody().get("/_matrix/client/v1/register/m.login.registration_token/validity?token=x"), 403, "M_FORBIDDEN")
	})

	It("goes by stages, whose session is for this alone", func() {
		w := newWorld(nil)
		p := w.nobody()
		ask := p.post("/register", obj{})
		Expect(ask.status).To(Equal(401))
		Expect(ask.body).To(HaveKeyWithValue("flows", []any{obj{"stages": []any{"m.login.dummy"}}}))
		Expect(ask.body).To(HaveKey("params"))
		Expect(ask.body).NotTo(HaveKey("errcode"))
		session := ask.text("session")
		wrong := p.post("/register", obj{"username": "alice", "password": "x", "auth": obj{"type": "m.login.password", "session": session}})
		refused(wrong, 401, "M_FORBIDDEN")
		Expect(wrong.text("session")).To(Equal(session))
		expired := p.post("/register", obj{"username": "alice", "password": "x", "auth": obj{"type": "m.login.dummy", "session": "nonsense"}})
		refused(expired, 401, "M_FORBIDDEN")
		refused(p.post("/register", obj{"username": "alice", "auth": obj{"type": "m.login.dummy", "session": session}}), 400, "M_MISSING_PARAM")
		refused(p.post("/register", obj{"username": "alice", "password": "x", "auth": "nonsense"}), 400, "M_BAD_JSON")
		done := fine(p.post("/register", obj{
			"username": "Alice", "password": "x", "device_id": "PHONE", "initial_device_display_name": "her phone",
			"auth": obj{"session": session},
		}), "user_id", "access_token", "device_id")
		Expect(done.text("user_id")).To(Equal("@alice:hanse.test"))
		Expect(done.text("device_id")).To(Equal("PHONE"))
		alice := &person{w: w, id: done.text("user_id"), token: done.text("access_token")}
		Expect(fine(alice.get("/account/whoami")).body).To(Equal(obj{"user_id": alice.id, "device_id": "PHONE", "is_guest": false}))
		Expect(fine(alice.get("/devices/PHONE")).body).To(HaveKeyWithValue("display_name", "her phone"))
		Expect(fine(alice.get("/profile/" + esc(alice.id))).body).To(HaveKeyWithValue("displayname", "alice"))
		refused(p.post("/register", obj{"username": "alice"}), 400, "M_USER_IN_USE")
	})

	It("refuses names that can't be, and makes one up where none is asked for", func() {
		w := newWorld(nil)
		p := w.nobody()
		for _, name := range []string{"a b", "ä", "@alice:elsewhere.test", strings.Repeat("a", 250), "a:b", "@", "_bridged"} {
			refused(p.post("/register", obj{"username": name}), 400, "M_INVALID_USERNAME")
			refused(p.get("/register/available?username="+esc(name)), 400, "M_INVALID_USERNAME")
		}
		Expect(fine(p.get("/register/available?username=alice")).body).To(HaveKeyWithValue("available", true))
		refused(p.get("/register/available"), 400, "M_MISSING_PARAM")
		refused(p.post("/register?kind=guest", obj{}), 403, "M_FORBIDDEN")
		refused(p.post("/register?kind=robot", obj{}), 400, "M_INVALID_PARAM")
		done := fine(p.post("/register", obj{"password": "x", "inhibit_login": true, "auth": obj{"type": "m.login.dummy"}}), "user_id")
		Expect(done.body).NotTo(HaveKey("access_token"))
		refused(p.post("/register", obj{"password": strings.Repeat("x", 600), "auth": obj{"type": "m.login.dummy"}}), 400, "M_WEAK_PASSWORD")
	})

	It("goes on by a session: with auth alone, and again for who didn't get the answer", func() {
		w := newWorld(nil)
		p := w.nobody()
		begin := func(form obj) string {
			GinkgoHelper()
			ask := p.post("/register", form)
			Expect(ask.status).To(Equal(401), ask.raw)
			return ask.text("session")
		}
		dummy := func(session string) obj { return obj{"type": "m.login.dummy", "session": session} }

		// Element for Android sends the rest once only.
		session := begin(obj{"username": "alice", "password": "x", "device_id": "PHONE", "initial_device_display_name": "her phone"})
		done := fine(p.post("/register", obj{"auth": dummy(session)}))
		Expect(done.body).To(And(HaveKeyWithValue("user_id", "@alice:hanse.test"), HaveKeyWithValue("device_id", "PHONE")))
		alice := &person{w: w, id: done.text("user_id"), token: done.text("access_token")}
		Expect(fine(alice.get("/devices/PHONE")).body).To(HaveKeyWithValue("display_name", "her phone"))
		kept, _ := w.api.uia.find(session)
		Expect(kept.registration.Password).To(BeEmpty(), "the password is kept though it is not needed any more")

		for _, again := range []obj{{"auth": dummy(session)}, {"username": "Alice", "password": "x", "auth": dummy(session)}} {
			repeated := fine(p.post("/register", again))
			Expect(repeated.body).To(HaveKeyWithValue("user_id", alice.id))
			alice.token = repeated.text("access_token") // the device's token before is no longer good
		}
		refused(p.post("/register", obj{"username": "bob", "password": "x", "auth": dummy(session)}), 400, "M_USER_IN_USE")
		refused(p.post("/register", obj{"username": "alice", "password": "y", "auth": dummy(session)}), 400, "M_USER_IN_USE")
		fine(alice.post("/account/password", obj{"new_password": "z", "auth": obj{"type": "m.login.password", "user": "alice", "password": "x"}}))
		refused(p.post("/register", obj{"auth": dummy(session)}), 400, "M_USER_IN_USE")

		session = begin(obj{"password": "x"})
		form := obj{"password": "x", "auth": dummy(session)}
		nameless := fine(p.post("/register", form)).text("user_id")
		Expect(fine(p.post("/register", form)).text("user_id")).To(Equal(nameless))

		session = begin(obj{"username": "dora", "password": "x", "inhibit_login": true})
		Expect(fine(p.post("/register", obj{"auth": dummy(session)})).body).To(And(HaveKeyWithValue("user_id", "@dora:hanse.test"), Not(HaveKey("access_token"))))

		session = begin(obj{"username": "erik", "password": "x", "device_id": strings.Repeat("x", maxKeptRegistration)})
		refused(p.post("/register", obj{"auth": dummy(session)}), 400, "M_MISSING_PARAM") // too long to be kept
	})

	It("by tokens of the configuration", func() {
		w := newWorld(func(c *Config) { c.Registration = Registration{Tokens: []string{"open sesame"}} })
		p := w.nobody()
		valid := func(token string) any {
			return fine(p.get("/_matrix/client/v1/register/m.login.registration_token/validity?token=" + esc(token))).body["valid"]
		}
		Expect(valid("open sesame")).To(BeTrue())
		Expect(valid("nonsense")).To(BeFalse())
		Expect(valid("")).To(BeFalse())
		register := func(name, token string) answered {
			return p.post("/register", obj{"username": name, "password": "x", "auth": obj{"type": "m.login.registration_token", "token": token}})
		}
		refused(register("alice", "nonsense"), 401, "M_UNAUTHORIZED")
		refused(p.post("/register", obj{"username": "x", "password": "x", "auth": obj{"type": "m.login.dummy"}}), 401, "M_FORBIDDEN")
		fine(register("alice", "open sesame"))
		fine(register("bob", "open sesame"))
	})

	It("by a shared secret, as existing tools do", func() {
		w := newWorld(func(c *Config) { c.Registration = Registration{SharedSecret: "hush"} })
		p := w.nobody()
		register := func(name, secret string, admin bool) answered {
			nonce := fine(p.get("/_synapse/admin/v1/register")).text("nonce")
			role := "notadmin"
			if admin {
				role = "admin"
			}
			mac := hmac.New(sha1.New, []byte(secret))
			mac.Write([]byte(nonce + "\x00" + name + "\x00pass\x00" + role))
			return p.post("/_synapse/admin/v1/register", obj{
				"nonce": nonce, "username": name, "password": "pass", "admin": admin, "mac": hex.EncodeToString(mac.Sum(nil)),
			})
		}
		done := fine(register("root", "hush", true), "user_id", "access_token", "device_id", "home_server")
		Expect(done.text("user_id")).To(Equal("@root:hanse.test"))
		refused(register("eve", "guess", false), 403, "M_UNKNOWN")
		refused(register("root", "hush", false), 400, "M_USER_IN_USE")
		refused(p.post("/_synapse/admin/v1/register", obj{"nonce": "x", "username": "a", "password": "b", "mac": "00"}), 400, "M_UNKNOWN")
		refused(p.post("/_synapse/admin/v1/register", obj{"username": "a"}), 400, "M_MISSING_PARAM")
		session, err := w.users.Authenticate(context.Background(), done.text("access_token"), netip.Addr{}, "")
		Expect(err).NotTo(HaveOccurred())
		Expect(session.Admin).To(BeTrue())
	})
})

var _ = Describe("administration", func() {
	It("lets administrators see where whose devices were, others where their own were", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		_, err := w.users.Register(context.Background(), users.Registration{Username: "root", Password: "pass", Admin: true})
		Expect(err).NotTo(HaveOccurred())
		root := &person{w: w, token: fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "root", "password": "pass"})).text("access_token")}
		for _, p := range []*person{alice, root} {
			seen := fine(p.get("/admin/whois/" + esc(alice.id))).body
			Expect(seen).To(HaveKeyWithValue("user_id", alice.id))
			sessions := seen["devices"].(obj)[alice.device].(obj)["sessions"].([]any)
			Expect(sessions).To(HaveLen(1))
			Expect(sessions[0].(obj)["connections"]).To(ConsistOf(And(HaveKeyWithValue("ip", "127.0.0.1"), HaveKeyWithValue("last_seen", BeNumerically(">", 0)),
				HaveKeyWithValue("user_agent", "Go-http-client/1.1"))))
		}
		refused(bob.get("/admin/whois/"+esc(alice.id)), 403, "M_FORBIDDEN")
		refused(bob.get("/admin/whois/"+esc("@nobody:hanse.test")), 403, "M_FORBIDDEN")
		refused(root.get("/admin/whois/"+esc("@nobody:hanse.test")), 404, "M_NOT_FOUND")
		refused(root.get("/admin/whois/"+esc("@zoe:far.test")), 400, "M_INVALID_PARAM")
		refused(root.get("/admin/whois/nonsense"), 400, "M_INVALID_PARAM")
		refused(w.nobody().get("/admin/whois/"+esc(alice.id)), 401, "M_MISSING_TOKEN")
	})
})

var _ = Describe("login", func() {
	It("takes the user's name in every form, and nothing else", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		p := w.nobody()
		fine(p.get("/login"), "flows")
		id := func(user string) obj { return obj{"type": "m.id.user", "user": user} }
		for _, body := range []obj{
			{"identifier": id("alice")}, {"identifier": id("@alice:hanse.test")}, {"identifier": id("Alice")}, {"user": "alice"},
			{"user": "@alice:hanse.test"},
		} {
			body["type"], body["password"] = "m.login.password", "secret of alice"
			Expect(fine(p.post("/login", body), "access_token", "device_id").text("user_id")).To(Equal(alice.id))
		}
		wrong := p.post("/login", obj{"type": "m.login.password", "identifier": id("alice"), "password": "guess"})
		refused(wrong, 403, "M_FORBIDDEN")
		nobody := p.post("/login", obj{"type": "m.login.password", "identifier": id("nobody"), "password": "guess"})
		refused(nobody, 403, "M_FORBIDDEN")
		Expect(nobody.body).To(Equal(wrong.body), "the answer tells which accounts exist")
		for _, name := range []string{"@alice:elsewhere.test", "@alice", "a b", strings.Repeat("x", 500)} {
			refused(p.post("/login", obj{"type": "m.login.password", "identifier": id(name), "password": "x"}), 403, "M_FORBIDDEN")
		}
		refused(p.post("/login", obj{"type": "m.login.password", "password": "x"}), 400, "M_MISSING_PARAM")
		refused(p.post("/login", obj{"type": "m.login.password", "identifier": id("alice")}), 400, "M_MISSING_PARAM")
		refused(p.post("/login", obj{"password": "x"}), 400, "M_MISSING_PARAM")
		refused(p.post("/login", obj{"type": "m.login.sso", "token": "x"}), 400, "M_UNKNOWN")
		refused(p.post("/login", obj{"type": "m.login.password", "password": "x", "identifier": obj{"type": "m.id.thirdparty", "medium": "email", "address": "a@b"}}), 403, "M_FORBIDDEN")
		refused(p.post("/login", obj{"type": "m.login.password", "password": "x", "identifier": obj{"type": "m.id.nonsense"}}), 400, "M_UNKNOWN")
		refused(p.post("/login", obj{"type": "m.login.password", "password": 7, "user": "alice"}), 400, "M_BAD_JSON")
		refused(p.post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice", "device_id": strings.Repeat("D", 300)}), 400, "M_INVALID_PARAM")
	})

	It("re-uses a device, whose old token ends", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		login := func() *person {
			a := fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice",
				"device_id": "LAPTOP", "initial_device_display_name": "first name"}))
			return &person{w: w, id: alice.id, token: a.text("access_token"), device: a.text("device_id")}
		}
		first := login()
		fine(first.put("/devices/LAPTOP", obj{"display_name": "my laptop"}))
		fine(first.get("/account/whoami"))
		second := login()
		refused(first.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		Expect(fine(second.get("/devices/LAPTOP"), "device_id").body).To(HaveKeyWithValue("display_name", "my laptop"))
		Expect(fine(second.get("/devices")).body["devices"]).To(HaveLen(2))
		fine(second.post("/logout", obj{}))
		refused(second.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		Expect(fine(alice.get("/devices")).body["devices"]).To(HaveLen(1))
		third := login()
		fine(third.post("/logout/all", nil))
		refused(third.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		refused(alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})

	It("keeps devices to their owner, who deletes them with the password", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		refused(bob.get("/devices/"+esc(alice.device)), 404, "M_NOT_FOUND")
		refused(bob.put("/devices/"+esc(alice.device), obj{"display_name": "mine"}), 404, "M_NOT_FOUND")
		refused(alice.put("/devices/"+esc(alice.device), obj{"display_name": strings.Repeat("x", 1000)}), 413, "M_TOO_LARGE")
		refused(alice.put("/devices/nonsense", obj{}), 404, "M_NOT_FOUND")
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice", "device_id": "OLD"}))
		ask := alice.del("/devices/OLD", nil)
		Expect(ask.status).To(Equal(401), ask.raw)
		auth := func(user, password string) obj {
			return obj{"auth": obj{"type": "m.login.password", "session": ask.text("session"), "password": password,
				"identifier": obj{"type": "m.id.user", "user": user}}}
		}
		refused(alice.del("/devices/OLD", auth("alice", "guess")), 401, "M_FORBIDDEN")
		refused(alice.del("/devices/OLD", auth("bob", "secret of bob")), 403, "M_FORBIDDEN")
		refused(alice.del("/devices/OLD", auth("bob", "guess")), 403, "M_FORBIDDEN")
		refused(alice.del("/devices/NEW", auth("alice", "secret of alice")), 403, "M_FORBIDDEN") // the session is for OLD
		refused(alice.post("/delete_devices", obj{"devices": []any{"OLD"}, "auth": auth("alice", "secret of alice")["auth"]}), 403, "M_FORBIDDEN")
		Expect(fine(alice.get("/devices/OLD")).text("user_id")).To(Equal(alice.id))
		fine(alice.del("/devices/OLD", auth("Alice", "secret of alice")))
		refused(alice.get("/devices/OLD"), 404, "M_NOT_FOUND")
		refused(alice.post("/delete_devices", obj{}), 400, "M_MISSING_PARAM")
		fine(alice.post("/delete_devices", obj{"devices": []string{alice.device, "never was"}, "auth": obj{"type": "m.login.password", "user": alice.id, "password": "secret of alice"}}))
		refused(alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})
})

var _ = Describe("the account", func() {
	password := func(p string) obj { return obj{"type": "m.login.password", "password": p} }

	It("gets a new password, which logs the other devices out unless told not to", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		login := func(password string) answered {
			return w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": password})
		}
		other := &person{w: w, token: fine(login("secret of alice")).text("access_token")}
		Expect(alice.post("/account/password", obj{"new_password": "two"}).status).To(Equal(401))
		refused(alice.post("/account/password", obj{"auth": password("secret of alice")}), 400, "M_MISSING_PARAM")
		fine(alice.post("/account/password", obj{"new_password": "two", "logout_devices": false, "auth": password("secret of alice")}))
		fine(other.get("/account/whoami"))
		fine(alice.post("/account/password", obj{"new_password": "three", "auth": password("two")}))
		refused(other.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		fine(alice.get("/account/whoami"))
		refused(login("two"), 403, "M_FORBIDDEN")
		fine(login("three"))
	})

	It("ends: rooms are left, nobody logs in, the name stays taken", func() {
		w := newWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		fine(bob.post("/account/deactivate", obj{"auth": password("secret of bob")}), "id_server_unbind_result")
		refused(bob.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		refused(w.nobody().post("/login", obj{"type": "m.login.password", "user": "bob", "password": "secret of bob"}), 403, "M_FORBIDDEN")
		refused(w.nobody().get("/register/available?username=bob"), 400, "M_USER_IN_USE")
		refused(alice.get("/profile/"+esc(bob.id)), 404, "M_NOT_FOUND")
		Expect(alice.state(room, "m.room.member", bob.id)).To(HaveKeyWithValue("membership", "leave"))
	})

	It("ends with the wish to be forgotten: who comes later doesn't see what was said", func() {
		w := newWorld(nil)
		alice, bob, carol := w.register("alice"), w.register("bob"), w.register("carol")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		said := fine(bob.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "forget me"})).text("event_id")
		dora := w.register("dora")
		fine(dora.post("/join/"+esc(room), obj{}))
		fine(bob.post("/account/deactivate", obj{"erase": true, "auth": password("secret of bob")}))
		fine(carol.post("/join/"+esc(room), obj{}))
		where := "/rooms/" + esc(room) + "/event/" + esc(said)
		Expect(fine(alice.get(where)).body["content"]).To(HaveKeyWithValue("body", "forget me"), "who was there has seen it")
		Expect(fine(dora.get(where)).body["content"]).To(HaveKeyWithValue("body", "forget me"), "who came before the wish had it too")
		Expect(fine(carol.get(where)).body["content"]).To(BeEmpty())
		for path, of := range map[string]func(obj) any{
			"/rooms/" + esc(room) + "/messages?dir=b&limit=50": func(body obj) any { return body["chunk"] },
			"/sync": func(body obj) any {
				return body["rooms"].(obj)["join"].(obj)[room].(obj)["timeline"].(obj)["events"]
			},
		} {
			Expect(of(fine(carol.get(path)).body)).To(ContainElement(And(HaveKeyWithValue("event_id", said), HaveKeyWithValue("content", BeEmpty()))), path)
		}
	})
})
