package clientapi

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/media"
)

// guest registers a guest.
func (w *world) guest() *person {
	GinkgoHelper()
	done := fine(w.nobody().post("/register?kind=guest", obj{"initial_device_display_name": "phone"}), "user_id", "access_token", "device_id")
	return &person{w: w, id: done.text("user_id"), token: done.text("access_token"), device: done.text("device_id")}
}

// guests lets guests into a room, or not any more.
func guests(by *person, room, access string) {
	GinkgoHelper()
	fine(by.put("/rooms/"+esc(room)+"/state/m.room.guest_access/", obj{"guest_access": access}))
}

func membershipOf(by *person, room, user string) string {
	GinkgoHelper()
	return fine(by.get("/rooms/" + esc(room) + "/state/m.room.member/" + esc(user))).text("membership")
}

var _ = Describe("guests", func() {
	withGuests := func(c *Config) { c.Registration.Guests = true }

	It("are there only where the configuration has them, and have no password and no name", func() {
		refused(newWorld(nil).nobody().post("/register?kind=guest", obj{}), 403, "M_FORBIDDEN")
		w := newWorld(withGuests)
		guest := w.guest()
		Expect(fine(guest.get("/account/whoami")).body).To(Equal(obj{"user_id": guest.id, "device_id": guest.device, "is_guest": true}))
		Expect(fine(guest.get("/devices/" + guest.device)).body).To(HaveKeyWithValue("display_name", "phone"))
		Expect(fine(guest.get("/profile/" + esc(guest.id))).body).To(BeEmpty())
		refused(w.nobody().post("/login", obj{"type": "m.login.password", "user": guest.id, "password": ""}), 403, "M_FORBIDDEN")
		Expect(w.guest().id).NotTo(Equal(guest.id))
		fine(guest.post("/logout", nil))
		refused(guest.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})

	It("may do what the specification lists, and nothing else", func() {
		w := newWorld(withGuests)
		alice, guest := w.register("alice"), w.guest()
		for _, path := range []string{"/createRoom", "/knock/!a:hanse.test", "/account/password", "/account/deactivate", "/user_directory/search", "/publicRooms"} {
			refused(guest.post(path, obj{}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		}
		refused(guest.get("/events?timeout=0"), 403, "M_GUEST_ACCESS_FORBIDDEN") // of one room only
		refused(guest.put("/profile/"+esc(guest.id)+"/avatar_url", obj{"avatar_url": "mxc://hanse.test/a"}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		fine(guest.put("/profile/"+esc(guest.id)+"/displayname", obj{"displayname": "creeper"}))
		Expect(fine(alice.get("/profile/" + esc(guest.id))).body).To(Equal(obj{"displayname": "creeper"}))
		fine(guest.get("/sync"))
		fine(guest.post("/keys/query", obj{"device_keys": obj{alice.id: []string{}}}))
		room := alice.room(obj{"preset": "public_chat", "initial_state": []obj{
			{"type": "m.room.history_visibility", "state_key": "", "content": obj{"history_visibility": "world_readable"}}}})
		fine(guest.get("/rooms/" + esc(room) + "/messages?dir=b"))
		fine(guest.get("/rooms/" + esc(room) + "/initialSync"))
		fine(guest.get("/events?timeout=0&room_id=" + esc(room)))
	})

	It("have this server ask others no more often than who is not logged in", func() {
		w := newWorld(func(c *Config) {
			withGuests(c)
			c.RateLimits = RateLimits{Joins: Limit{PerSecond: 0.01, Burst: 2}}
		})
		first, second := w.guest(), w.guest()
		for _, guest := range []*person{first, second} {
			refused(guest.get("/directory/room/"+esc("#a:elsewhere.test")), 502, "M_UNKNOWN")
		}
		refused(first.get("/profile/@a:elsewhere.test"), 429, "M_LIMIT_EXCEEDED")
	})

	It("may do nothing else by any path", func() {
		w := newMediaWorld(nil, func(_ *media.Config, c *Config) { withGuests(c) })
		guest := w.guest()
		listed, parameter := 0, regexp.MustCompile(`{[^}]*}`)
		for _, route := range w.api.routes() {
			if _, may := guestsMay[route.method+" "+route.path]; may {
				Expect(route.auth).To(Equal(withUser), route.path)
				listed++
			} else if route.auth == withUser {
				for _, prefix := range route.in {
					path := prefix + parameter.ReplaceAllStringFunc(route.path, func(name string) string { return strings.Trim(name[:2], "{$") })
					refused(guest.do(route.method, path, "{}"), 403, "M_GUEST_ACCESS_FORBIDDEN")
				}
			}
		}
		Expect(listed).To(Equal(len(guestsMay)), "each is a route")
	})

	It("change nobody's membership but their own, and don't knock, by state either", func() {
		w := newWorld(withGuests)
		alice, bob, guest := w.register("alice"), w.register("bob"), w.guest()
		room := alice.room(obj{"preset": "public_chat", "power_level_content_override": obj{"users_default": 60, "events_default": 0}})
		guests(alice, room, "can_join")
		fine(guest.post("/join/"+esc(room), obj{}))
		state := "/rooms/" + esc(room) + "/state/"
		for _, membership := range []string{"invite", "ban", "leave"} {
			refused(guest.put(state+"m.room.member/"+esc(bob.id), obj{"membership": membership}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		}
		refused(guest.put(state+"m.room.third_party_invite/a", obj{"display_name": "b", "key_validity_url": "https://a.test", "public_key": "a"}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		fine(guest.put(state+"m.room.topic/", obj{"topic": "guests speak"}))
		fine(guest.put(state+"m.room.member/"+esc(guest.id), obj{"membership": "leave"}))
		knocking := alice.room(obj{"preset": "public_chat", "initial_state": []obj{
			{"type": "m.room.guest_access", "state_key": "", "content": obj{"guest_access": "can_join"}},
			{"type": "m.room.join_rules", "state_key": "", "content": obj{"join_rule": "knock"}}}})
		refused(guest.put("/rooms/"+esc(knocking)+"/state/m.room.member/"+esc(guest.id), obj{"membership": "knock"}), 403, "M_GUEST_ACCESS_FORBIDDEN")
	})

	It("are in rooms that let them in, as long as they do", func() {
		w := newWorld(withGuests)
		alice, guest := w.register("alice"), w.guest()
		room := alice.room(obj{"preset": "public_chat"})
		path := "/rooms/" + esc(room)
		refused(guest.post(path+"/join", obj{}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		refused(guest.post("/join/"+esc("!far:elsewhere.test")+"?via=elsewhere.test", obj{}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		guests(alice, room, "can_join")
		refused(guest.put(path+"/send/m.room.message/1", obj{"body": "sup", "msgtype": "m.text"}), 403, "M_FORBIDDEN")
		fine(guest.post("/join/"+esc(room), obj{}))
		fine(guest.put(path+"/send/m.room.message/2", obj{"body": "sup", "msgtype": "m.text"}))
		Expect(membershipOf(alice, room, guest.id)).To(Equal("join"))
		guests(alice, room, "forbidden")
		Expect(membershipOf(alice, room, guest.id)).To(Equal("leave"))
		Expect(membershipOf(alice, room, alice.id)).To(Equal("join"))
		refused(guest.post("/join/"+esc(room), obj{}), 403, "M_GUEST_ACCESS_FORBIDDEN")
		refused(guest.put(path+"/state/m.room.member/"+esc(guest.id), obj{"membership": "join"}), 403, "M_GUEST_ACCESS_FORBIDDEN")
	})

	It("don't become users where registration is closed, but by a token", func() {
		body := func(guest *person, auth obj) obj {
			return obj{"username": guest.id, "password": "SIR_Arthur_David", "guest_access_token": guest.token, "auth": auth}
		}
		w := newWorld(func(c *Config) { c.Registration = Registration{Guests: true} })
		refused(w.nobody().post("/register", body(w.guest(), obj{"type": "m.login.dummy"})), 403, "M_FORBIDDEN")
		w = newWorld(func(c *Config) { c.Registration = Registration{Guests: true, Tokens: []string{"good"}} })
		guest := w.guest()
		for _, auth := range []obj{{"type": "m.login.dummy"}, {"type": "m.login.registration_token", "token": "bad"}} {
			Expect(w.nobody().post("/register", body(guest, auth)).status).To(Equal(http.StatusUnauthorized))
		}
		Expect(fine(guest.get("/account/whoami")).body).To(HaveKeyWithValue("is_guest", true))
		fine(w.nobody().post("/register", body(guest, obj{"type": "m.login.registration_token", "token": "good"})))
	})

	It("become users with a password, if it is they who ask", func() {
		w := newWorld(withGuests)
		alice, guest, other := w.register("alice"), w.guest(), w.guest()
		name := strings.TrimPrefix(strings.TrimSuffix(guest.id, ":hanse.test"), "@")
		upgrade := func(name, token string) answered {
			return w.nobody().post("/register", obj{"username": name, "password": "SIR_Arthur_David", "guest_access_token": token, "auth": obj{"type": "m.login.dummy"}})
		}
		refused(w.nobody().post("/register", obj{"username": name}), 400, "M_USER_IN_USE")
		for _, token := range []string{other.token, alice.token, "nonsense"} {
			refused(upgrade(name, token), 403, "M_FORBIDDEN")
		}
		refused(upgrade("alice", alice.token), 403, "M_FORBIDDEN")
		refused(upgrade("", guest.token), 400, "M_MISSING_PARAM")
		Expect(w.nobody().post("/register", obj{"username": name, "guest_access_token": guest.token}).status).To(Equal(http.StatusUnauthorized))
		Expect(w.users.Lock(context.Background(), id.UserID(guest.id), true)).To(Succeed())
		refused(upgrade(name, guest.token), 401, "M_USER_LOCKED")
		Expect(w.users.Lock(context.Background(), id.UserID(guest.id), false)).To(Succeed())
		done := fine(upgrade(name, guest.token), "access_token")
		Expect(done.text("user_id")).To(Equal(guest.id))
		guest.token = done.text("access_token")
		Expect(fine(guest.get("/account/whoami")).body).To(HaveKeyWithValue("is_guest", false))
		guest.room(obj{})
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": guest.id, "password": "SIR_Arthur_David"}))
		refused(upgrade(name, guest.token), 403, "M_FORBIDDEN")
	})
})
