package clientapi

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/appservice"
	"hanse/node/users"
)

// administrator makes an administrator of the server and logs them in.
func (w *world) administrator(name string) *person {
	GinkgoHelper()
	_, err := w.users.Register(context.Background(), users.Registration{Username: name, Password: "secret of " + name, Admin: true})
	Expect(err).NotTo(HaveOccurred())
	return w.login(name)
}

func passwordOf(name string) obj {
	return obj{"type": "m.login.password", "identifier": obj{"type": "m.id.user", "user": name}, "password": "secret of " + name}
}

func (w *world) login(name string) *person {
	GinkgoHelper()
	done := fine(w.nobody().post("/login", passwordOf(name)))
	return &person{w: w, id: done.text("user_id"), token: done.text("access_token"), device: done.text("device_id")}
}

const (
	lockPath    = "/_matrix/client/v1/admin/lock/"
	suspendPath = "/_matrix/client/v1/admin/suspend/"
)

// locked expects the answer of a locked account.
func locked(a answered) {
	GinkgoHelper()
	refused(a, 401, "M_USER_LOCKED")
	Expect(a.body).To(HaveKeyWithValue("soft_logout", true))
}

var _ = Describe("account moderation", func() {
	It("is for administrators, and for users who are none", func() {
		w := newWorld(nil)
		root, other, alice := w.administrator("root"), w.administrator("other"), w.register("alice")
		for path, member := range map[string]string{lockPath: "locked", suspendPath: "suspended"} {
			yes, no := obj{member: true}, obj{member: false}
			refused(w.nobody().put(path+alice.id, yes), 401, "M_MISSING_TOKEN")
			for _, target := range []string{alice.id, "@nobody:hanse.test", "@a:elsewhere.test", "nonsense"} { // who there is stays unknown
				refused(alice.put(path+esc(target), yes), 403, "M_FORBIDDEN")
				refused(alice.get(path+esc(target)), 403, "M_FORBIDDEN")
			}
			for target, want := range map[string]answered{
				"@nobody:hanse.test": {status: 404, raw: "M_NOT_FOUND"}, "@a:elsewhere.test": {status: 400, raw: "M_INVALID_PARAM"},
				"nonsense": {status: 400, raw: "M_INVALID_PARAM"}, other.id: {status: 403, raw: "M_FORBIDDEN"},
			} {
				refused(root.put(path+esc(target), yes), want.status, want.raw)
				refused(root.get(path+esc(target)), want.status, want.raw)
			}
			refused(root.put(path+root.id, yes), 403, "M_FORBIDDEN")
			Expect(fine(root.get(path + root.id)).body).To(Equal(no))

			refused(root.put(path+alice.id, obj{}), 400, "M_MISSING_PARAM")
			for _, wrong := range []any{"true", 1, nil, obj{}} {
				refused(root.put(path+alice.id, obj{member: wrong}), 400, "M_BAD_JSON")
			}
			refused(root.put(path+alice.id, "[]"), 400, "M_BAD_JSON")
			refused(root.put(path+alice.id, "x"), 400, "M_NOT_JSON")
			Expect(fine(root.get(path + alice.id)).body).To(Equal(no))
			for _, body := range []obj{yes, yes, no, no} { // what is so already may be asked for
				Expect(fine(root.put(path+alice.id, body)).body).To(Equal(body))
				Expect(fine(root.get(path + alice.id)).body).To(Equal(body))
			}
		}
		Expect(w.users.Deactivate(context.Background(), "@alice:hanse.test", false)).To(Succeed())
		refused(root.get(lockPath+alice.id), 404, "M_NOT_FOUND")
		refused(root.put(suspendPath+alice.id, obj{"suspended": false}), 404, "M_NOT_FOUND")
	})

	It("is a capability of administrators alone", func() {
		w := newWorld(nil)
		can := func(p *person) any { return fine(p.get("/capabilities")).body["capabilities"] }
		Expect(can(w.administrator("root"))).To(HaveKeyWithValue("m.account_moderation", obj{"lock": true, "suspend": true}))
		Expect(can(w.register("alice"))).NotTo(HaveKey("m.account_moderation"))
	})

	It("locks an account for all but logging out, and keeps its sessions", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		refreshing := passwordOf("alice")
		refreshing["refresh_token"] = true
		second := fine(w.nobody().post("/login", refreshing), "refresh_token")
		token := fine(alice.post("/_matrix/client/v1/login/get_token", obj{"auth": passwordOf("alice")})).text("login_token")
		fine(root.put(lockPath+alice.id, obj{"locked": true}))

		wildcards := strings.NewReplacer("{userId}", esc(alice.id), "{roomId}", esc("!r:hanse.test"), "{$}", "")
		asked := 0
		for _, route := range w.api.routes() {
			if route.auth == withoutUser || lockedMay(route) {
				continue
			}
			asked++
			locked(alice.do(route.method, route.in[0]+wildcard.ReplaceAllString(wildcards.Replace(route.path), "x"), nil))
		}
		Expect(asked).To(BeNumerically(">", 100))
		locked(w.nobody().post("/login", passwordOf("alice")))
		wrong := passwordOf("alice")
		wrong["password"] = "wrong"
		refused(w.nobody().post("/login", wrong), 403, "M_FORBIDDEN") // only who knows the password learns of the lock
		locked(w.nobody().post("/login", obj{"type": "m.login.token", "token": token}))
		locked(w.nobody().post("/refresh", obj{"refresh_token": second.text("refresh_token")}))

		fine(root.put(lockPath+alice.id, obj{"locked": false}))
		fine(alice.get("/account/whoami"))
		again := fine(w.nobody().post("/refresh", obj{"refresh_token": second.text("refresh_token")}))
		third := w.login("alice")

		fine(root.put(lockPath+alice.id, obj{"locked": true}))
		fine(third.post("/logout", obj{}))
		refused(third.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		locked(alice.get("/account/whoami"))
		fine(alice.post("/logout/all", obj{}))
		refused(alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		refused((&person{w: w, token: again.text("access_token")}).get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})

	It("ends requests that wait when their user is locked", func() {
		w := newWorld(nil)
		root, alice := w.administrator("root"), w.register("alice")
		since := fine(alice.get("/sync")).text("next_batch")
		pos := fine(alice.post("/_matrix/client/unstable"+slidingSyncPath, obj{})).text("pos")
		answers := make(chan answered, 2)
		go func() {
			defer GinkgoRecover()
			answers <- alice.get("/sync?timeout=600000&since=" + since)
		}()
		go func() {
			defer GinkgoRecover()
			answers <- alice.post("/_matrix/client/unstable"+slidingSyncPath+"?timeout=600000&pos="+esc(pos), obj{})
		}()
		fine(root.put(suspendPath+alice.id, obj{"suspended": true})) // which is no reason
		Consistently(answers, 50*time.Millisecond).ShouldNot(Receive())
		fine(root.put(lockPath+alice.id, obj{"locked": true}))
		for range 2 {
			var a answered
			Eventually(answers).Should(Receive(&a))
			locked(a)
		}
	})

	It("leaves suspended users what keeps their data and takes back what they did", func() {
		w := newWorld(nil)
		root, alice, bob := w.administrator("root"), w.register("alice"), w.register("bob")
		room := alice.room(obj{"preset": "public_chat"})
		fine(bob.post("/join/"+esc(room), obj{}))
		said := fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hi"})).text("event_id")
		bobs := fine(bob.put("/rooms/"+esc(room)+"/send/m.room.message/1", obj{"msgtype": "m.text", "body": "hi"})).text("event_id")
		invited, elsewhere := bob.room(obj{"invite": []string{alice.id}}), bob.room(obj{"preset": "public_chat"})
		fine(root.put(suspendPath+alice.id, obj{"suspended": true}))

		wildcards := strings.NewReplacer("{roomIdOrAlias}", esc(elsewhere), "{userId}", esc(alice.id), "{keyName}", "displayname",
			"{roomId}", esc(room), "{roomAlias}", esc("#a:hanse.test"))
		kept := 0
		for _, route := range w.api.routes() {
			if suspendedMayNot(route) {
				kept++
				refused(alice.do(route.method, route.in[0]+wildcard.ReplaceAllString(wildcards.Replace(route.path), "x"), obj{}), 403, "M_USER_SUSPENDED")
			}
		}
		Expect(kept).To(Equal(21 - 3)) // all that suspendedMayNot names; this node has no files
		in := "/rooms/" + esc(room)
		for path, body := range map[string]obj{
			in + "/send/m.room.message/2":                       {"msgtype": "m.text", "body": "hi"},
			in + "/send/m.reaction/3":                           {"m.relates_to": obj{"rel_type": "m.annotation", "event_id": said, "key": "x"}},
			in + "/send/m.room.redaction/4":                     {"redacts": bobs},
			in + "/redact/" + esc(bobs) + "/5":                  {},
			in + "/state/m.room.name":                           {"name": "x"},
			in + "/state/m.room.member/" + esc(alice.id):        {"membership": "join", "displayname": "x"},
			in + "/state/m.room.member/" + esc(bob.id):          {"membership": "leave"},
			in + "/state/m.room.member/" + esc("@c:hanse.test"): {"membership": "invite"},
		} {
			refused(alice.put(path, body), 403, "M_USER_SUSPENDED")
		}
		Expect(alice.state(room, "m.room.member", bob.id)).To(HaveKeyWithValue("membership", "join"))

		another := w.login("alice") // who is suspended too
		refused(another.put(in+"/send/m.room.message/6", obj{}), 403, "M_USER_SUSPENDED")
		Expect(fine(another.get("/sync")).raw).To(ContainSubstring(bobs))
		Expect(fine(another.get(in + "/messages?dir=b")).raw).To(ContainSubstring(bobs))
		fine(another.post("/keys/upload", obj{}))
		fine(another.put("/sendToDevice/m.key.verification.request/1", obj{"messages": obj{alice.id: obj{"*": obj{}}}}))
		fine(another.post("/room_keys/version", obj{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": obj{}}), "version")
		fine(another.put("/user/"+esc(alice.id)+"/account_data/m.test", obj{}))
		fine(another.put(in+"/typing/"+esc(alice.id), obj{"typing": false}))
		fine(another.put(in+"/redact/"+esc(said)+"/7", obj{}))
		fine(another.post("/rooms/"+esc(invited)+"/leave", obj{}))
		fine(another.put(in+"/state/m.room.member/"+esc(alice.id), obj{"membership": "leave"}))
		fine(another.del("/devices/"+alice.device, obj{"auth": passwordOf("alice")}))
		fine(another.post("/account/deactivate", obj{"auth": passwordOf("alice")}))
	})

	It("holds for users of application services", func() {
		file := filepath.Join(GinkgoT().TempDir(), "irc.yaml")
		Expect(os.WriteFile(file, []byte(`{id: irc, url: null, as_token: the_token, hs_token: its_token, sender_localpart: ircbot, rate_limited: false,
			namespaces: {users: [{exclusive: true, regex: "@irc_.*"}]}}`), 0o600)).To(Succeed())
		registrations, problems := appservice.Load([]string{file}, self)
		Expect(problems).To(BeEmpty())
		services, err := appservice.New(appservice.Config{Self: self, Registrations: registrations})
		Expect(err).NotTo(HaveOccurred())
		w := newWorld(func(c *Config) { c.Services = services })
		root := w.administrator("root")
		_, err = w.users.RegisterFor(context.Background(), "@irc_carl:hanse.test", nil)
		Expect(err).NotTo(HaveOccurred())
		bridge := &person{w: w, token: "the_token"}
		as := "?user_id=" + esc("@irc_carl:hanse.test")
		room := fine(bridge.post("/createRoom"+as, obj{})).text("room_id")
		fine(root.put(suspendPath+esc("@irc_carl:hanse.test"), obj{"suspended": true}))
		refused(bridge.post("/createRoom"+as, obj{}), 403, "M_USER_SUSPENDED")
		refused(bridge.put("/rooms/"+esc(room)+"/send/m.room.message/1"+as, obj{}), 403, "M_USER_SUSPENDED")
		fine(root.put(lockPath+esc("@irc_carl:hanse.test"), obj{"locked": true}))
		locked(bridge.do(http.MethodGet, "/sync"+as, nil))
		locked(bridge.post("/login", obj{"type": serviceLogin, "identifier": obj{"type": "m.id.user", "user": "irc_carl"}}))
	})
})
