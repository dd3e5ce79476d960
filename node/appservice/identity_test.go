package appservice_test

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

var _ = onEach("The client-server API for application services", func(w *world) {
	BeforeEach(func() {
		w.bridge.start()
		w.start()
	})

	It("knows whom the service may be", func() {
		service, ghost := w.ofBridge(""), w.ghost("_irc_Ghost") // capitals stay: bridges use them
		Expect(service.fine("GET", "/account/whoami", nil)).To(HaveKeyWithValue("user_id", "@bridgebot:hanse.test"))
		Expect(ghost.fine("GET", "/account/whoami", nil)).To(And(HaveKeyWithValue("user_id", "@_irc_Ghost:hanse.test"), Not(HaveKey("device_id"))))
		w.register("alice")
		for _, user := range []string{"@alice:hanse.test", "@_irc_ghost:other.test", "@_irc_unregistered:hanse.test"} {
			w.ofBridge(user).refused(403, "M_FORBIDDEN", "GET", "/account/whoami", nil)
		}
		w.ofBridge("nonsense").refused(400, "M_INVALID_PARAM", "GET", "/account/whoami", nil)
		ghost.onDevice("NONE").refused(400, "M_UNKNOWN_DEVICE", "GET", "/account/whoami", nil)
		Expect(ghost.fine("GET", "/profile/"+url.PathEscape(ghost.id), nil)).To(HaveKeyWithValue("displayname", "_irc_Ghost"))
		// A service's user is deactivated without a password, and is nobody any more.
		ghost.fine("POST", "/account/deactivate", obj{})
		ghost.refused(403, "M_FORBIDDEN", "GET", "/account/whoami", nil)
	})

	It("keeps the service's users for it", func() {
		register := func(p *who, body obj) answered {
			GinkgoHelper()
			return p.do("POST", "/register", body)
		}
		nobody, service := w.nobody(), w.ofBridge("")
		for _, name := range []string{"bridgebot", "_irc_somebody"} {
			nobody.refused(400, map[bool]string{true: "M_EXCLUSIVE", false: "M_INVALID_USERNAME"}[name == "bridgebot"], "POST", "/register",
				obj{"username": name, "password": "secret", "auth": obj{"type": "m.login.dummy"}})
		}
		nobody.refused(400, "M_EXCLUSIVE", "GET", "/register/available?username=bridgebot", nil)
		Expect(register(nobody, obj{"username": "shared_one", "password": "secret", "auth": obj{"type": "m.login.dummy"}}).status).To(Equal(200))

		form := func(name string) obj { return obj{"type": "m.login.application_service", "username": name} }
		nobody.refused(401, "M_MISSING_TOKEN", "POST", "/register", form("_irc_a"))
		(&who{w: w, token: "wrong"}).refused(401, "M_UNKNOWN_TOKEN", "POST", "/register", form("_irc_a"))
		service.refused(400, "M_EXCLUSIVE", "POST", "/register", form("elsewhere"))
		service.refused(400, "M_INVALID_USERNAME", "POST", "/register", form("_irc_ä"))
		service.refused(400, "M_MISSING_PARAM", "POST", "/register", obj{"type": "m.login.application_service"})
		Expect(register(service, form("shared_two")).status).To(Equal(200))
		service.refused(400, "M_USER_IN_USE", "POST", "/register", form("shared_two"))
		first := register(service, form("_irc_a"))
		Expect(first.status).To(Equal(200), first.raw)
		Expect(first.body).To(And(HaveKeyWithValue("user_id", "@_irc_a:hanse.test"), HaveKey("access_token"), HaveKey("device_id")))

		login := func(name string) obj {
			return obj{"type": "m.login.application_service", "identifier": obj{"type": "m.id.user", "user": name}}
		}
		nobody.refused(401, "M_MISSING_TOKEN", "POST", "/login", login("_irc_a"))
		service.refused(400, "M_EXCLUSIVE", "POST", "/login", login("alice"))
		service.refused(403, "M_FORBIDDEN", "POST", "/login", login("_irc_unregistered"))
		done := service.fine("POST", "/login", login("@_irc_a:hanse.test"))
		Expect((&who{w: w, token: done["access_token"].(string)}).fine("GET", "/account/whoami", nil)).To(HaveKeyWithValue("user_id", "@_irc_a:hanse.test"))
		Expect(nobody.fine("GET", "/login", nil)["flows"]).To(ContainElement(HaveKeyWithValue("type", "m.login.application_service")))
	})

	It("lets it manage devices, and be one", func() {
		ghost, alice := w.ghost("_irc_ghost"), w.register("alice")
		device := func(name string, body obj) answered { GinkgoHelper(); return ghost.do("PUT", "/devices/"+name, body) }
		Expect(device("BRIDGE", obj{"display_name": "the bridge"}).status).To(Equal(201))
		Expect(device("BRIDGE", obj{}).status).To(Equal(200))
		Expect(ghost.fine("GET", "/devices/BRIDGE", nil)).To(HaveKeyWithValue("display_name", "the bridge"))
		alice.refused(404, "M_NOT_FOUND", "PUT", "/devices/NEW", obj{"display_name": "no"})
		bridge := ghost.onDevice("BRIDGE")
		Expect(bridge.fine("GET", "/account/whoami", nil)).To(HaveKeyWithValue("device_id", "BRIDGE"))

		keys := obj{"one_time_keys": obj{"curve25519:AAAA": "+abcdefg"}}
		ghost.refused(400, "M_MISSING_PARAM", "POST", "/keys/upload", keys)
		Expect(bridge.fine("POST", "/keys/upload", keys)).To(HaveKeyWithValue("one_time_key_counts", HaveKeyWithValue("curve25519", 1.0)))
		alice.fine("PUT", "/sendToDevice/m.test/1", obj{"messages": obj{ghost.id: obj{"BRIDGE": obj{"hello": "device"}}}})
		for _, path := range []string{"/sync", "/sync?timeout=0&org.matrix.msc3202.device_id=BRIDGE"} {
			as := bridge
			if strings.Contains(path, "?") { // as bridges ask that are from before it was in the specification
				as = ghost
			}
			Expect(as.fine("GET", path, nil)["to_device"]).To(HaveKeyWithValue("events", ConsistOf(And(
				HaveKeyWithValue("sender", alice.id), HaveKeyWithValue("content", HaveKeyWithValue("hello", "device"))))))
		}
		Expect(ghost.fine("GET", "/sync", nil)).NotTo(HaveKey("to_device"))

		// Cross-signing keys are replaced, and devices deleted, without a password.
		sign := func(key string) obj {
			return obj{"master_key": obj{"user_id": ghost.id, "usage": []string{"master"}, "keys": obj{"ed25519:" + key: key}}}
		}
		ghost.fine("POST", "/keys/device_signing/upload", sign("JGLn5lMQxVlwPLKKM0pzKpBW3UsuJ4kHJQ8y2nd6Dhs"))
		ghost.fine("POST", "/keys/device_signing/upload", sign("WmpgIOd3Q2PKNYtgY3Ai4iKNxKwGQdkn4TVEVRnBhPU"))
		ghost.fine("DELETE", "/devices/BRIDGE", nil)
		Expect(device("OTHER", obj{}).status).To(Equal(201))
		ghost.fine("POST", "/delete_devices", obj{"devices": []string{"OTHER"}})
		Expect(ghost.fine("GET", "/devices", nil)).To(HaveKeyWithValue("devices", BeEmpty()))
	})

	It("takes the time of an event from it, and each transaction once", func() {
		ghost, alice := w.ghost("_irc_ghost"), w.register("alice")
		room := url.PathEscape(ghost.room(alice))
		alice.fine("POST", "/rooms/"+room+"/join", obj{})
		ts := func(p *who, event string) any {
			GinkgoHelper()
			return p.fine("GET", "/rooms/"+room+"/event/"+url.PathEscape(event), nil)["origin_server_ts"]
		}
		send := func(p *who, txn string) string {
			GinkgoHelper()
			return p.fine("PUT", "/rooms/"+room+"/send/m.room.message/"+txn+"?ts=1234567", obj{"body": "x", "msgtype": "m.text"})["event_id"].(string)
		}
		first := send(ghost, "1")
		Expect(ts(ghost, first)).To(Equal(1234567.0))
		Expect(send(ghost, "1")).To(Equal(first))
		topic := ghost.fine("PUT", "/rooms/"+room+"/state/m.room.topic?ts=7654321", obj{"topic": "old"})["event_id"].(string)
		Expect(ts(ghost, topic)).To(Equal(7654321.0))
		kick := ghost.fine("PUT", "/rooms/"+room+"/state/m.room.member/"+url.PathEscape("@x:other.test")+"?ts=99", obj{"membership": "ban"})
		Expect(ts(ghost, kick["event_id"].(string))).To(Equal(99.0))
		Expect(ts(ghost, send(alice, "1"))).To(BeNumerically(">", float64(time.Now().Add(-time.Hour).UnixMilli())), "for others it means nothing")
		for _, wrong := range []string{"-1", "yesterday", "9007199254740992", "1.5"} {
			ghost.refused(400, "M_INVALID_PARAM", "PUT", "/rooms/"+room+"/send/m.room.message/2?ts="+wrong, obj{})
		}
	})

	It("keeps its aliases for it, and asks it for those that aren't there yet", func() {
		alice, service := w.register("alice"), w.ofBridge("")
		room := alice.fine("POST", "/createRoom", obj{"preset": "public_chat"})["room_id"].(string)
		path := func(alias string) string { return "/directory/room/" + url.PathEscape(alias) }
		alice.refused(400, "M_EXCLUSIVE", "PUT", path("#_irc_mine:hanse.test"), obj{"room_id": room})
		alice.refused(400, "M_EXCLUSIVE", "POST", "/createRoom", obj{"room_alias_name": "_irc_mine"})
		service.refused(400, "M_EXCLUSIVE", "PUT", path("#elsewhere:hanse.test"), obj{"room_id": room})
		service.fine("PUT", path("#_irc_room:hanse.test"), obj{"room_id": room}) // it needn't be there
		alice.refused(400, "M_EXCLUSIVE", "DELETE", path("#_irc_room:hanse.test"), nil)
		service.fine("DELETE", path("#_irc_room:hanse.test"), nil)
		Expect(w.bridge.questions()).To(BeEmpty())

		alice.refused(404, "M_NOT_FOUND", "POST", "/join/"+url.PathEscape("#_irc_nothing:hanse.test"), obj{})
		service.refused(404, "M_NOT_FOUND", "GET", path("#_irc_nothing:hanse.test"), nil) // it isn't asked what it asks itself
		w.bridge.set(func(b *bridge) {
			b.answer = func(r *http.Request) any {
				alias, isAlias := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1/rooms/#")
				if !isAlias {
					return nil
				}
				localpart, _, _ := strings.Cut(alias, ":")
				service.fine("POST", "/createRoom", obj{"preset": "public_chat", "room_alias_name": localpart})
				return obj{}
			}
		})
		joined := alice.fine("POST", "/join/"+url.PathEscape("#_irc_new:hanse.test"), obj{})
		Expect(joined["room_id"]).To(Equal(alice.fine("GET", path("#_irc_new:hanse.test"), nil)["room_id"]))
		Expect(w.bridge.questions()).To(Equal([]string{"/rooms/#_irc_nothing:hanse.test?", "/rooms/#_irc_new:hanse.test?"}))
		w.bridge.stop()
		alice.refused(408, "M_UNKNOWN", "GET", path("#_irc_more:hanse.test"), nil)
		alice.refused(404, "M_NOT_FOUND", "GET", path("#more:hanse.test"), nil)
	})

	It("asks it for users that aren't there yet", func() {
		alice, service := w.register("alice"), w.ofBridge("")
		profile := func(user string) string { return "/profile/" + url.PathEscape(user) }
		alice.refused(404, "M_NOT_FOUND", "GET", profile("@_irc_nobody:hanse.test"), nil)
		w.bridge.set(func(b *bridge) {
			b.answer = func(r *http.Request) any {
				user, _ := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1/users/@")
				localpart, _, _ := strings.Cut(user, ":")
				service.fine("POST", "/register", obj{"type": "m.login.application_service", "username": localpart, "inhibit_login": true})
				return obj{}
			}
		})
		Expect(alice.fine("GET", profile("@_irc_one:hanse.test"), nil)).To(HaveKeyWithValue("displayname", "_irc_one"))
		alice.room(w.ofBridge("@_irc_two:hanse.test"))
		w.ofBridge("@_irc_two:hanse.test").fine("GET", "/account/whoami", nil)
		alice.refused(404, "M_NOT_FOUND", "GET", profile("@nobody:hanse.test"), nil)
		Expect(w.bridge.questions()).To(Equal([]string{"/users/@_irc_nobody:hanse.test?", "/users/@_irc_one:hanse.test?", "/users/@_irc_two:hanse.test?"}))
	})

	It("pings it", func() {
		service, path := w.ofBridge(""), "/_matrix/client/v1/appservice/test%20bridge/ping"
		Expect(service.fine("POST", path, obj{"transaction_id": "meow"})).To(HaveKey("duration_ms"))
		w.register("alice").refused(403, "M_FORBIDDEN", "POST", path, obj{})
		service.refused(403, "M_FORBIDDEN", "POST", "/_matrix/client/v1/appservice/other/ping", obj{})
		w.bridge.set(func(b *bridge) { b.refuse = func(string) int { return 302 } })
		Expect(service.refused(502, "M_BAD_STATUS", "POST", path, obj{})).To(And(
			HaveKeyWithValue("status", 302.0), HaveKeyWithValue("body", ContainSubstring("NOT_NOW"))))
		w.bridge.stop()
		service.refused(502, "M_CONNECTION_FAILED", "POST", path, obj{})
	})

	It("passes questions about third-party networks on, and lists their rooms", func() {
		alice, service := w.register("alice"), w.ofBridge("")
		alice.refused(404, "M_NOT_FOUND", "GET", "/thirdparty/protocol/irc", nil)
		Expect(alice.fine("GET", "/thirdparty/protocols", nil)).To(BeEmpty())
		location := obj{"alias": "#_irc_a:hanse.test", "protocol": "irc", "fields": obj{"channel": "#a"}}
		w.bridge.set(func(b *bridge) {
			b.answer = func(r *http.Request) any {
				switch strings.TrimPrefix(r.URL.Path, "/_matrix/app/v1/thirdparty") {
				case "/protocol/irc":
					return obj{"user_fields": []string{"nick"}, "location_fields": []string{"channel"}, "icon": "", "field_types": obj{},
						"instances": []obj{{"desc": "Libera", "network_id": "libera", "fields": obj{}}, {"desc": "no network"}}}
				case "/location/irc", "/location":
					return []any{location, obj{"alias": "nothing else"}, "nonsense"}
				case "/user/irc", "/user":
					return []obj{{"userid": "@_irc_a:hanse.test", "protocol": "irc", "fields": obj{"nick": "a"}}}
				}
				return nil
			}
		})
		protocol := alice.fine("GET", "/thirdparty/protocols", nil)["irc"].(obj)
		Expect(protocol["instances"]).To(ConsistOf(And(HaveKeyWithValue("network_id", "libera"), HaveKeyWithValue("instance_id", "test bridge|libera"))))
		Expect(alice.fine("GET", "/thirdparty/protocol/irc", nil)).To(Equal(protocol))
		alice.refused(404, "M_NOT_FOUND", "GET", "/thirdparty/protocol/xmpp", nil)
		for _, path := range []string{"/thirdparty/location/irc?channel=%23a&access_token=x", "/thirdparty/location?alias=" + url.QueryEscape("#_irc_a:hanse.test")} {
			Expect(alice.do("GET", path, nil).list).To(Equal([]any{location}))
		}
		for _, path := range []string{"/thirdparty/user/irc?nick=a", "/thirdparty/user?userid=" + url.QueryEscape("@_irc_a:hanse.test")} {
			Expect(alice.do("GET", path, nil).list).To(ConsistOf(HaveKeyWithValue("userid", "@_irc_a:hanse.test")))
		}
		alice.refused(404, "M_NOT_FOUND", "GET", "/thirdparty/location/xmpp", nil)
		alice.refused(404, "M_NOT_FOUND", "GET", "/thirdparty/user?userid="+url.QueryEscape("@alice:hanse.test"), nil)
		Expect(w.bridge.questions()).To(ContainElement("/thirdparty/location/irc?channel=%23a"))

		bridged := service.fine("POST", "/createRoom", obj{"preset": "public_chat", "name": "bridged"})["room_id"].(string)
		list := "/directory/list/appservice/libera/" + url.PathEscape(bridged)
		alice.refused(403, "M_FORBIDDEN", "PUT", list, obj{"visibility": "public"})
		service.refused(400, "M_INVALID_PARAM", "PUT", list, obj{})
		service.refused(404, "M_NOT_FOUND", "PUT", "/directory/list/appservice/libera/"+url.PathEscape("!no:hanse.test"), obj{"visibility": "public"})
		service.fine("PUT", list, obj{"visibility": "public"})
		rooms := func(body obj) any { GinkgoHelper(); return alice.fine("POST", "/publicRooms", body)["chunk"] }
		Expect(rooms(obj{})).To(BeEmpty())
		Expect(rooms(obj{"third_party_instance_id": "test bridge|other"})).To(BeEmpty())
		Expect(rooms(obj{"third_party_instance_id": "unknown"})).To(BeEmpty())
		for _, body := range []obj{{"third_party_instance_id": "test bridge|libera"}, {"include_all_networks": true}} {
			Expect(rooms(body)).To(ConsistOf(HaveKeyWithValue("room_id", bridged)))
		}
		alice.refused(400, "M_INVALID_PARAM", "POST", "/publicRooms", obj{"third_party_instance_id": "x", "include_all_networks": true})
		service.fine("PUT", list, obj{"visibility": "private"})
		Expect(rooms(obj{"include_all_networks": true})).To(BeEmpty())
		service.fine("PUT", list, obj{"visibility": "public"})
		alice.refused(403, "M_FORBIDDEN", "DELETE", list, nil)
		service.fine("DELETE", list, nil)
		Expect(rooms(obj{"include_all_networks": true})).To(BeEmpty())
	})
})
