package clientapi

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/email"
	"hanse/node/media"
	"hanse/node/oauth"
	"hanse/node/store"
)

// storageGate stands before each transaction of a world's database: it lets all through, or holds them, or refuses them as a full disk does. Its
// zero value is open. Safe for concurrent use.
type storageGate struct {
	mu      sync.Mutex
	held    chan struct{} // guarded by mu: not nil: transactions wait until it is closed
	came    chan struct{} // guarded by mu: closed when the first of those has come
	refuses bool          // guarded by mu
	after   int           // guarded by mu: so many more are let through before the rest is refused
}

// age is what differs between two answers where nothing was changed: how old an event is, when a device was last used.
var age = regexp.MustCompile(`"(age|last_seen_ts)":[0-9]+`)

var errFullDisk = errors.New("the disk is full")

// in puts the gate before a database.
func (g *storageGate) in(d store.Dialect) store.Dialect {
	check, classify := d.Check, d.Classify
	d.Check = func() error {
		if err := g.pass(); err != nil {
			return err
		}
		return check()
	}
	d.Classify = func(err error) store.ErrorClass {
		if errors.Is(err, errFullDisk) {
			return store.StorageError
		}
		return classify(err)
	}
	return d
}

func (g *storageGate) pass() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if held := g.held; held != nil {
		select {
		case <-g.came:
		default:
			close(g.came)
		}
		g.mu.Unlock()
		<-held
		g.mu.Lock()
	}
	if g.refuses && g.after == 0 {
		return errFullDisk
	}
	g.after--
	return nil
}

// hold keeps transactions from now on; came is closed when there is one.
func (g *storageGate) hold() (came <-chan struct{}, release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := make(chan struct{})
	g.held, g.came = held, make(chan struct{})
	return g.came, sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.held = nil
		close(held)
	})
}

// refuseAfter refuses all transactions but the next few.
func (g *storageGate) refuseAfter(some int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuses, g.after = true, some
}

func (g *storageGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuses = false
}

// storing is a request that changes something.
type storing struct {
	route   string
	prepare func(name string)          // nil: nothing is to be done before
	ask     func(name string) answered // with what is different each time
	look    func(name string) string   // shows what it has changed; nil: nothing does that can be looked at twice
}

// atOnce are those that spend what can't be had again, a code or a name: as long as they are refused nothing at all is changed.
var atOnce = map[string]bool{"POST /login": true, "POST /register": true, "POST /_matrix/oauth/token": true, "POST /_synapse/admin/v1/register": true}

// notLookedAt are the routes that change nothing which has to outlive the process, and others: why.
var notLookedAt = map[string]string{
	"POST /publicRooms":           "a question",
	"POST /search":                "a question",
	"POST /user_directory/search": "a question",
	"POST /keys/query":            "a question",
	"POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync": "a question; its connections are in memory",
	"POST /_matrix/client/v1/appservice/{appserviceId}/ping":           "a question",
	"PUT /rooms/{roomId}/typing/{userId}":                              "in memory",
	"PUT /presence/{userId}/status":                                    "in memory; the status message is written within seconds",
	"PUT /directory/list/appservice/{networkId}/{roomId}":              "as PUT /directory/list/room/{roomId}, for application services",
	"DELETE /directory/list/appservice/{networkId}/{roomId}":           "as PUT /directory/list/room/{roomId}, for application services",
	"POST /keys/signatures/upload":                                     "its signatures would have to be good; it stores what /keys/device_signing/upload does",
	"POST /account/3pid":                                               "refused",
	"POST /account/3pid/bind":                                          "refused",
	"POST /account/3pid/unbind":                                        "refused",
	"POST /register/msisdn/requestToken":                               "refused",
	"POST /account/password/msisdn/requestToken":                       "refused",
	"POST /account/3pid/msisdn/requestToken":                           "refused",
	"POST /_matrix/oauth/authorize":                                    "a page",
	"POST /_matrix/oauth/link":                                         "a page",
	"POST /_matrix/oauth/account":                                      "a page",
	"POST /_matrix/email/confirm":                                      "a page",
}

var _ = Describe("what a user changes", func() {
	It("is acknowledged once it is stored; where it can't be it is refused, nothing is changed, and it can be asked for again", func() {
		box := &postbox{}
		w := newMediaWorld(nil, func(_ *media.Config, c *Config) {
			withOAuth(c)
			c.Email = &Email{Send: box.send, Site: email.Site{Name: "Hanse", Server: string(self)}}
			c.Registration.SharedSecret, c.Registration.Guests = "hush", true
		})
		root, bob := w.administrator("root"), w.register("bob")
		root.anyForm, bob.anyForm = true, true
		room := root.room(obj{"preset": "public_chat"})
		in := "/rooms/" + esc(room)
		fine(bob.post("/join/"+esc(room), obj{}))
		said := fine(root.put(in+"/send/m.room.message/first", obj{"msgtype": "m.text", "body": "first"})).text("event_id")
		of := "/user/" + esc(root.id)
		client := w.oauthClient(nil)

		raw := func(p *person, path string) string { GinkgoHelper(); return age.ReplaceAllString(p.get(path).raw, "") }
		status := func(p *person, path string) string { GinkgoHelper(); return fmt.Sprint(p.get(path).status) }
		made := map[string]string{}     // what was made to be changed, by name
		persons := map[string]*person{} // and who
		someone := func(name string) { GinkgoHelper(); persons[name] = w.register("some-" + name) }
		again := func(name string) { GinkgoHelper(); persons[name] = w.login("root") } // another device of root's
		aRoom := func(options obj) func(string) {
			return func(name string) { GinkgoHelper(); made[name] = root.room(options) }
		}
		membership := func(name string) string { // bob's
			GinkgoHelper()
			return raw(root, "/rooms/"+esc(made[name])+"/state/m.room.member/"+bob.id)
		}
		backup := func(name string) {
			GinkgoHelper()
			made[name] = fine(root.post("/room_keys/version", obj{"algorithm": "a", "auth_data": obj{}})).text("version")
		}
		session := obj{"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": obj{"x": "y"}}
		backedUp := func(name string) string { GinkgoHelper(); return raw(root, "/room_keys/keys?version="+made[name]) }
		full := func(name string) {
			GinkgoHelper()
			backup(name)
			fine(root.put("/room_keys/keys/!r:x/s?version="+made[name], session))
		}
		rule := "/pushrules/global/content/"
		ruled := func(name string) { GinkgoHelper(); fine(root.put(rule+name, obj{"pattern": name, "actions": []any{}})) }
		rules := func(string) string { GinkgoHelper(); return raw(root, "/pushrules/") }
		crossSigning := func(name string) obj {
			key := base64.RawStdEncoding.EncodeToString([]byte(fmt.Sprintf("%032s", name)))
			return obj{"master_key": obj{"user_id": root.id, "usage": []string{"master"}, "keys": obj{"ed25519:" + key: key}}}
		}
		delayedOne := func(name string) {
			GinkgoHelper()
			made[name] = fine(root.put(in+"/send/m.room.message/"+name+"?org.matrix.msc4140.delay=3600000", obj{"body": name})).text("delay_id")
		}
		delayedAll := func(string) string { GinkgoHelper(); return raw(root, delayedPath) }
		aliased := func(name string) string {
			GinkgoHelper()
			return raw(root, "/directory/room/"+esc("#"+name+":hanse.test"))
		}
		devices := func(string) string { GinkgoHelper(); return raw(root, "/devices") }
		devicesOfBob := func(string) string { GinkgoHelper(); return raw(bob, "/devices") }
		messages := func(string) string { GinkgoHelper(); return raw(root, in+"/messages?dir=b&limit=100") }
		form := func(path string, values url.Values) answered {
			GinkgoHelper()
			return w.ask("/_matrix/oauth/"+path, values)
		}
		requestMail := func(path, name string) answered {
			GinkgoHelper()
			return w.nobody().post(path+"/email/requestToken", obj{"client_secret": "secret", "email": name + "@example.org", "send_attempt": 1})
		}
		addresses := func(string) string { GinkgoHelper(); return raw(root, "/account/3pid") }
		bySecret := func(name string) answered {
			GinkgoHelper()
			nonce := fine(w.nobody().get("/_synapse/admin/v1/register")).text("nonce")
			mac := hmac.New(sha1.New, []byte("hush"))
			mac.Write([]byte(nonce + "\x00" + name + "\x00pass\x00notadmin"))
			return w.nobody().post("/_synapse/admin/v1/register", obj{"nonce": nonce, "username": name, "password": "pass", "mac": hex.EncodeToString(mac.Sum(nil))})
		}
		surfers := 0
		code := func(name string) {
			GinkgoHelper()
			surfers++
			s := &surfer{w: w}
			address := authorization(client, fmt.Sprintf("DEVICE%d", surfers))
			s.logIn(address, "bob")
			made[name] = s.press(address, "allow").answer().Get("code")
		}
		deviceCode := func(name string) {
			GinkgoHelper()
			asked := fine(form("device", url.Values{"client_id": {client}, "scope": {"urn:matrix:client:api:* urn:matrix:client:device:TV" + name}}))
			s, address := &surfer{w: w}, asked.text("verification_uri_complete")
			s.logIn(address, "bob")
			s.press(address, "allow", "user_code", asked.text("user_code"))
			made[name] = asked.text("device_code")
		}

		all := []storing{
			{"POST /register", func(n string) {
				made[n] = w.nobody().post("/register", obj{"username": "new-" + n, "password": "secret"}).text("session")
			}, func(n string) answered {
				return w.nobody().post("/register", obj{"username": "new-" + n, "password": "secret", "auth": obj{"type": "m.login.dummy", "session": made[n]}})
			}, func(n string) string { return status(root, "/profile/"+esc("@new-"+n+":hanse.test")) }},
			{"POST /login", nil, func(string) answered { return w.nobody().post("/login", passwordOf("root")) }, devices},
			{"POST /login", nil, func(string) answered {
				ask := passwordOf("root")
				ask["refresh_token"] = true
				return w.nobody().post("/login", ask)
			}, devices},
			{"POST /login", func(n string) {
				made[n] = fine(root.post("/_matrix/client/v1/login/get_token", obj{"auth": passwordOf("root")}), "expires_in_ms").text("login_token")
			}, func(n string) answered {
				return w.nobody().post("/login", obj{"type": "m.login.token", "token": made[n]})
			}, devices},
			{"POST /register", nil, func(n string) answered {
				return w.nobody().post("/register?kind=guest", obj{"initial_device_display_name": n})
			}, func(string) string { return fmt.Sprint(w.store.Guests()) }},
			{"POST /register", func(n string) {
				made[n] = fine(w.nobody().post("/register?kind=guest", obj{})).text("access_token")
				made["name of "+n] = fine((&person{w: w, token: made[n]}).get("/account/whoami")).text("user_id")
				made["session of "+n] = w.nobody().post("/register", obj{"username": made["name of "+n], "password": "secret", "guest_access_token": made[n]}).text("session")
			}, func(n string) answered {
				return w.nobody().post("/register", obj{"username": made["name of "+n], "password": "secret", "guest_access_token": made[n],
					"auth": obj{"type": "m.login.dummy", "session": made["session of "+n]}})
			}, func(string) string { return fmt.Sprint(w.store.Guests()) }},
			{"POST /_matrix/client/v1/login/get_token", nil, func(string) answered {
				return root.post("/_matrix/client/v1/login/get_token", obj{"auth": passwordOf("root")})
			}, nil},
			{"POST /refresh", func(n string) {
				ask := passwordOf("root")
				ask["refresh_token"] = true
				made[n] = fine(w.nobody().post("/login", ask)).text("refresh_token")
			}, func(n string) answered { return w.nobody().post("/refresh", obj{"refresh_token": made[n]}) }, nil},
			{"POST /logout", again, func(n string) answered { return persons[n].post("/logout", obj{}) },
				func(n string) string { return status(persons[n], "/account/whoami") }},
			{"POST /logout/all", someone, func(n string) answered { return persons[n].post("/logout/all", obj{}) },
				func(n string) string { return status(persons[n], "/account/whoami") }},
			{"POST /account/password", func(n string) {
				someone(n)
				made[n] = persons[n].post("/account/password", obj{"new_password": "other"}).text("session")
			}, func(n string) answered {
				auth := passwordOf("some-" + n)
				auth["session"] = made[n] // in which the old password stays proven
				return persons[n].post("/account/password", obj{"new_password": "other", "auth": auth})
			}, func(n string) string { return fmt.Sprint(w.nobody().post("/login", passwordOf("some-"+n)).status) }},
			{"POST /account/deactivate", someone, func(n string) answered {
				return persons[n].post("/account/deactivate", obj{"auth": passwordOf("some-" + n)})
			}, func(n string) string { return status(root, "/profile/"+esc(persons[n].id)) }},
			{"PUT /devices/{deviceId}", nil, func(n string) answered { return root.put("/devices/"+root.device, obj{"display_name": n}) }, devices},
			{"DELETE /devices/{deviceId}", again, func(n string) answered {
				return root.del("/devices/"+persons[n].device, obj{"auth": passwordOf("root")})
			}, devices},
			{"POST /delete_devices", again, func(n string) answered {
				return root.post("/delete_devices", obj{"devices": []string{persons[n].device}, "auth": passwordOf("root")})
			}, devices},
			{"PUT /_matrix/client/v1/admin/lock/{userId}", someone, func(n string) answered {
				return root.put(lockPath+esc(persons[n].id), obj{"locked": true})
			}, func(n string) string { return raw(root, lockPath+esc(persons[n].id)) }},
			{"PUT /_matrix/client/v1/admin/suspend/{userId}", someone, func(n string) answered {
				return root.put(suspendPath+esc(persons[n].id), obj{"suspended": true})
			}, func(n string) string { return raw(root, suspendPath+esc(persons[n].id)) }},
			{"PUT /profile/{userId}/{keyName}", nil, func(n string) answered {
				return root.put("/profile/"+esc(root.id)+"/displayname", obj{"displayname": n})
			}, func(string) string { return raw(root, "/profile/"+esc(root.id)) }},
			{"DELETE /profile/{userId}/{keyName}", func(n string) { fine(root.put("/profile/"+esc(root.id)+"/org.example", obj{"org.example": n})) },
				func(string) answered { return root.del("/profile/"+esc(root.id)+"/org.example", nil) },
				func(string) string { return raw(root, "/profile/"+esc(root.id)) }},
			{"PUT /user/{userId}/account_data/{type}", nil, func(n string) answered { return root.put(of+"/account_data/a", obj{"n": n}) },
				func(string) string { return raw(root, of+"/account_data/a") }},
			{"PUT /user/{userId}/rooms/{roomId}/account_data/{type}", nil, func(n string) answered {
				return root.put(of+in+"/account_data/a", obj{"n": n})
			}, func(string) string { return raw(root, of+in+"/account_data/a") }},
			{"PUT /user/{userId}/rooms/{roomId}/tags/{tag}", nil, func(n string) answered { return root.put(of+in+"/tags/u."+n, obj{}) },
				func(string) string { return raw(root, of+in+"/tags") }},
			{"DELETE /user/{userId}/rooms/{roomId}/tags/{tag}", func(n string) { fine(root.put(of+in+"/tags/u."+n, obj{})) },
				func(n string) answered { return root.del(of+in+"/tags/u."+n, nil) }, func(string) string { return raw(root, of+in+"/tags") }},
			{"POST /user/{userId}/filter", nil, func(n string) answered { return root.post(of+"/filter", obj{"event_fields": []string{n}}) }, nil},
			{"PUT /pushrules/global/{kind}/{ruleId}", nil, func(n string) answered {
				return root.put(rule+"put-"+n, obj{"pattern": n, "actions": []any{}})
			}, rules},
			{"DELETE /pushrules/global/{kind}/{ruleId}", ruled, func(n string) answered { return root.del(rule+n, nil) }, rules},
			{"PUT /pushrules/global/{kind}/{ruleId}/enabled", ruled, func(n string) answered {
				return root.put(rule+n+"/enabled", obj{"enabled": false})
			}, rules},
			{"PUT /pushrules/global/{kind}/{ruleId}/actions", ruled, func(n string) answered {
				return root.put(rule+n+"/actions", obj{"actions": []string{"notify"}})
			}, rules},
			{"POST /pushers/set", nil, func(n string) answered {
				return root.post("/pushers/set", obj{"app_id": "a", "pushkey": n, "kind": "http", "app_display_name": "a", "device_display_name": "d", "lang": "en",
					"data": obj{"url": "http://127.0.0.1:1/_matrix/push/v1/notify"}})
			}, func(string) string { return raw(root, "/pushers") }},
			{"POST /keys/upload", nil, func(n string) answered {
				return root.post("/keys/upload", obj{"one_time_keys": obj{"curve25519:" + n: n}})
			}, func(string) string { return root.post("/keys/upload", obj{}).raw }},
			{"POST /keys/claim", func(n string) { fine(bob.post("/keys/upload", obj{"one_time_keys": obj{"curve25519:" + n: n}})) },
				func(string) answered {
					return root.post("/keys/claim", obj{"one_time_keys": obj{bob.id: obj{bob.device: "curve25519"}}})
				},
				func(string) string { return bob.post("/keys/upload", obj{}).raw }},
			{"POST /keys/device_signing/upload", nil, func(n string) answered {
				ask := crossSigning(n)
				ask["auth"] = passwordOf("root")
				return root.post("/keys/device_signing/upload", ask)
			}, func(string) string { return root.post("/keys/query", obj{"device_keys": obj{root.id: []any{}}}).raw }},
			{"PUT /sendToDevice/{eventType}/{txnId}", nil, func(n string) answered {
				return root.put("/sendToDevice/a/"+n, obj{"messages": obj{bob.id: obj{bob.device: obj{"n": n}}}})
			}, func(string) string {
				all, _ := json.Marshal(fine(bob.get("/sync?filter=" + url.QueryEscape(`{"room":{"rooms":[]}}`))).body["to_device"])
				return string(all)
			}},
			{"POST /room_keys/version", nil, func(n string) answered {
				return root.post("/room_keys/version", obj{"algorithm": "a", "auth_data": obj{"n": n}})
			}, func(string) string { return raw(root, "/room_keys/version") }},
			{"PUT /room_keys/version/{version}", backup, func(n string) answered {
				return root.put("/room_keys/version/"+made[n], obj{"algorithm": "a", "auth_data": obj{"changed": n}})
			}, func(string) string { return raw(root, "/room_keys/version") }},
			{"DELETE /room_keys/version/{version}", backup, func(n string) answered { return root.del("/room_keys/version/"+made[n], nil) },
				func(string) string { return raw(root, "/room_keys/version") }},
			{"PUT /room_keys/keys", backup, func(n string) answered {
				return root.put("/room_keys/keys?version="+made[n], obj{"rooms": obj{"!r:x": obj{"sessions": obj{"s": session}}}})
			}, backedUp},
			{"PUT /room_keys/keys/{roomId}", backup, func(n string) answered {
				return root.put("/room_keys/keys/!r:x?version="+made[n], obj{"sessions": obj{"s": session}})
			}, backedUp},
			{"PUT /room_keys/keys/{roomId}/{sessionId}", backup, func(n string) answered {
				return root.put("/room_keys/keys/!r:x/s?version="+made[n], session)
			}, backedUp},
			{"DELETE /room_keys/keys", full, func(n string) answered { return root.del("/room_keys/keys?version="+made[n], nil) }, backedUp},
			{"DELETE /room_keys/keys/{roomId}", full, func(n string) answered { return root.del("/room_keys/keys/!r:x?version="+made[n], nil) }, backedUp},
			{"DELETE /room_keys/keys/{roomId}/{sessionId}", full, func(n string) answered {
				return root.del("/room_keys/keys/!r:x/s?version="+made[n], nil)
			}, backedUp},
			{"POST /createRoom", nil, func(n string) answered {
				return root.post("/createRoom", obj{"preset": "public_chat", "visibility": "public", "room_alias_name": "made-" + n, "name": n, "invite": []string{bob.id}})
			}, func(n string) string { return aliased("made-" + n) }},
			{"POST /join/{roomIdOrAlias}", aRoom(obj{"preset": "public_chat"}), func(n string) answered { return bob.post("/join/"+esc(made[n]), obj{}) }, membership},
			{"POST /rooms/{roomId}/join", aRoom(obj{"preset": "public_chat"}), func(n string) answered {
				return bob.post("/rooms/"+esc(made[n])+"/join", obj{})
			}, membership},
			{"POST /knock/{roomIdOrAlias}", func(n string) {
				made[n] = root.room(obj{"initial_state": []obj{{"type": "m.room.join_rules", "content": obj{"join_rule": "knock"}}}})
			}, func(n string) answered { return bob.post("/knock/"+esc(made[n]), obj{}) }, membership},
			{"POST /rooms/{roomId}/invite", aRoom(obj{}), func(n string) answered {
				return root.post("/rooms/"+esc(made[n])+"/invite", obj{"user_id": bob.id})
			}, membership},
			{"POST /rooms/{roomId}/kick", aRoom(obj{"invite": []string{bob.id}}), func(n string) answered {
				return root.post("/rooms/"+esc(made[n])+"/kick", obj{"user_id": bob.id})
			}, membership},
			{"POST /rooms/{roomId}/ban", aRoom(obj{}), func(n string) answered {
				return root.post("/rooms/"+esc(made[n])+"/ban", obj{"user_id": bob.id})
			}, membership},
			{"POST /rooms/{roomId}/unban", func(n string) {
				made[n] = root.room(obj{})
				fine(root.post("/rooms/"+esc(made[n])+"/ban", obj{"user_id": bob.id}))
			}, func(n string) answered { return root.post("/rooms/"+esc(made[n])+"/unban", obj{"user_id": bob.id}) }, membership},
			{"POST /rooms/{roomId}/leave", aRoom(obj{"invite": []string{bob.id}}), func(n string) answered {
				return bob.post("/rooms/"+esc(made[n])+"/leave", obj{})
			}, membership},
			{"POST /rooms/{roomId}/forget", func(n string) {
				made[n] = root.room(obj{})
				fine(root.post("/rooms/"+esc(made[n])+"/leave", obj{}))
			}, func(n string) answered { return root.post("/rooms/"+esc(made[n])+"/forget", obj{}) },
				func(n string) string { return status(root, "/rooms/"+esc(made[n])+"/messages?dir=b") }},
			{"PUT /rooms/{roomId}/send/{eventType}/{txnId}", nil, func(n string) answered {
				return root.put(in+"/send/m.room.message/"+n, obj{"msgtype": "m.text", "body": "said " + n})
			}, messages},
			{"POST /rooms/{roomId}/send/{eventType}", nil, func(n string) answered {
				return root.post(in+"/send/m.room.message", obj{"msgtype": "m.text", "body": "posted " + n})
			}, messages},
			{"PUT /rooms/{roomId}/redact/{eventId}/{txnId}", nil, func(n string) answered { return root.put(in+"/redact/"+said+"/"+n, obj{}) }, messages},
			{"POST /rooms/{roomId}/redact/{eventId}", nil, func(string) answered { return root.post(in+"/redact/"+said, obj{}) }, messages},
			{"PUT /rooms/{roomId}/state/{eventType}", nil, func(n string) answered { return root.put(in+"/state/a", obj{"n": n}) }, messages},
			{"PUT /rooms/{roomId}/state/{eventType}/{$}", nil, func(n string) answered { return root.put(in+"/state/b/", obj{"n": n}) }, messages},
			{"PUT /rooms/{roomId}/state/{eventType}/{stateKey}", nil, func(n string) answered { return root.put(in+"/state/c/k", obj{"n": n}) }, messages},
			{"POST /rooms/{roomId}/upgrade", aRoom(obj{}), func(n string) answered {
				return root.post("/rooms/"+esc(made[n])+"/upgrade", obj{"new_version": "11"})
			}, func(n string) string { return raw(root, "/rooms/"+esc(made[n])+"/state/m.room.tombstone") }},
			{"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}", delayedOne, func(n string) answered {
				return root.post(delayedPath+"/"+made[n], obj{"action": "cancel"})
			}, delayedAll},
			{"POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/{action}", delayedOne, func(n string) answered {
				return root.post(delayedPath+"/"+made[n]+"/send", obj{})
			}, delayedAll},
			{"PUT /directory/room/{roomAlias}", nil, func(n string) answered {
				return root.put("/directory/room/"+esc("#put-"+n+":hanse.test"), obj{"room_id": room})
			}, func(n string) string { return aliased("put-" + n) }},
			{"DELETE /directory/room/{roomAlias}", func(n string) { fine(root.put("/directory/room/"+esc("#del-"+n+":hanse.test"), obj{"room_id": room})) },
				func(n string) answered { return root.del("/directory/room/"+esc("#del-"+n+":hanse.test"), nil) },
				func(n string) string { return aliased("del-" + n) }},
			{"PUT /directory/list/room/{roomId}", aRoom(obj{"preset": "public_chat"}), func(n string) answered {
				return root.put("/directory/list/room/"+esc(made[n]), obj{"visibility": "public"})
			}, func(n string) string { return raw(root, "/directory/list/room/"+esc(made[n])) }},
			{"POST /rooms/{roomId}/receipt/{receiptType}/{eventId}", func(n string) {
				made[n] = fine(root.put(in+"/send/m.room.message/read-"+n, obj{"msgtype": "m.text", "body": "read " + n})).text("event_id")
			}, func(n string) answered { return bob.post(in+"/receipt/m.read/"+made[n], obj{}) }, func(string) string {
				rooms := fine(root.get("/sync")).body["rooms"].(obj)["join"].(obj)
				return fmt.Sprint(rooms[room].(obj)["ephemeral"])
			}},
			{"POST /rooms/{roomId}/read_markers", func(n string) {
				made[n] = fine(root.put(in+"/send/m.room.message/marked-"+n, obj{"msgtype": "m.text", "body": "marked " + n})).text("event_id")
			}, func(n string) answered {
				return bob.post(in+"/read_markers", obj{"m.fully_read": made[n], "m.read": made[n]})
			},
				func(string) string { return raw(bob, "/user/"+esc(bob.id)+in+"/account_data/m.fully_read") }},
			{"POST /rooms/{roomId}/report", nil, func(n string) answered { return bob.post(in+"/report", obj{"reason": n}) }, nil},
			{"POST /rooms/{roomId}/report/{eventId}", nil, func(n string) answered { return bob.post(in+"/report/"+said, obj{"reason": n}) }, nil},
			{"POST /users/{userId}/report", nil, func(n string) answered { return bob.post("/users/"+esc(root.id)+"/report", obj{"reason": n}) }, nil},
			{"POST /user/{userId}/openid/request_token", nil, func(string) answered { return root.post(of+"/openid/request_token", obj{}) }, nil},
			{"POST /_matrix/media/v3/upload", nil, func(n string) answered { return root.post("/_matrix/media/v3/upload?filename="+n, "text") }, nil},
			{"POST /_matrix/media/v1/create", nil, func(string) answered { return root.post("/_matrix/media/v1/create", nil) }, nil},
			{"PUT /_matrix/media/v3/upload/{serverName}/{mediaId}", func(n string) {
				made[n] = strings.TrimPrefix(fine(root.post("/_matrix/media/v1/create", nil)).text("content_uri"), "mxc://")
			}, func(n string) answered { return root.put("/_matrix/media/v3/upload/"+made[n], "text") }, nil},
			{"PUT " + noticePath + "/{txnId}", someone, func(n string) answered { return root.put(noticePath+"/"+n, notice(persons[n].id, "notice "+n)) },
				func(n string) string {
					rooms, _ := fine(persons[n].get("/sync")).body["rooms"].(obj)
					return fmt.Sprint(rooms["invite"])
				}},
			{"POST " + noticePath, nil, func(n string) answered { return root.post(noticePath, notice(bob.id, "notice "+n)) }, nil},
			{"POST /_matrix/oauth/register", nil, func(n string) answered {
				return w.nobody().post("/_matrix/oauth/register", oauthClientForm(obj{"client_name": n}))
			}, nil},
			{"POST /_matrix/oauth/device", nil, func(n string) answered {
				return form("device", url.Values{"client_id": {client}, "scope": {"urn:matrix:client:api:* urn:matrix:client:device:DEV" + n}})
			}, nil},
			{"POST /_matrix/oauth/token", code, func(n string) answered { return w.exchange(client, made[n]) }, devicesOfBob},
			{"POST /_matrix/oauth/token", deviceCode, func(n string) answered {
				return form("token", url.Values{"grant_type": {oauth.GrantDevice}, "device_code": {made[n]}, "client_id": {client}})
			}, devicesOfBob},
			{"POST /register/email/requestToken", nil, func(n string) answered { return requestMail("/register", n) }, nil},
			{"POST /account/password/email/requestToken", nil, func(n string) answered { return requestMail("/account/password", n) }, nil},
			{"POST /account/3pid/email/requestToken", nil, func(n string) answered { return requestMail("/account/3pid", n) }, nil},
			{"POST /account/3pid/add", func(n string) {
				made[n] = requestMail("/account/3pid", n).text("sid")
				w.confirm(box.mails[len(box.mails)-1])
			}, func(n string) answered {
				return root.post("/account/3pid/add", obj{"sid": made[n], "client_secret": "secret", "auth": passwordOf("root")})
			}, addresses},
			{"POST /account/3pid/delete", func(n string) { root.addEmail(box, n+"@example.org") }, func(n string) answered {
				return root.post("/account/3pid/delete", obj{"medium": "email", "address": n + "@example.org"})
			}, addresses},
			{"POST /_synapse/admin/v1/register", nil, bySecret, func(n string) string { return status(root, "/register/available?username="+n) }},
			{"POST /_matrix/oauth/revoke", func(n string) {
				code(n)
				made[n] = fine(w.exchange(client, made[n])).text("access_token")
			}, func(n string) answered { return form("revoke", url.Values{"token": {made[n]}, "client_id": {client}}) },
				func(n string) string { return status(&person{w: w, token: made[n]}, "/account/whoami") }},
		}

		look := func(s storing, name string) string {
			if s.look == nil {
				return ""
			}
			return s.look(name)
		}
		seen := map[string]bool{}
		var wrong []string
		for i, s := range all {
			seen[s.route] = true
			for _, way := range []string{"held", "refused"} {
				err := InterceptGomegaFailure(func() {
					name := fmt.Sprintf("%s%d", way, i)
					if s.prepare != nil {
						s.prepare(name)
					}
					before := look(s, name)
					if way == "held" {
						w.acknowledgedLate(s, name)
					} else {
						w.refusedWhole(s, name, func() string { return look(s, name) })
					}
					if s.look != nil {
						Expect(s.look(name)).NotTo(Equal(before), "nothing is changed")
					}
				})
				if err != nil {
					wrong = append(wrong, s.route+", "+way+": "+err.Error())
				}
			}
		}
		texts := map[string]int{}
		for _, e := range fine(root.get(in + "/messages?dir=b&limit=100")).body["chunk"].([]any) {
			if text, ok := e.(obj)["content"].(obj)["body"].(string); ok {
				texts[text]++
			}
		}
		Expect(texts).To(HaveEach(1), "each message is there once")
		for _, r := range w.api.routes() {
			route := r.method + " " + r.path
			if !strings.HasPrefix(r.in[0], "/_matrix/client/v3") {
				route = r.method + " " + r.in[0] + r.path
			}
			meets := strings.HasPrefix(r.path, meetingPath) || strings.HasPrefix(r.path, newerMeetingPath) // in memory
			if _, known := notLookedAt[route]; r.method != "GET" && !known && !meets && !seen[route] {
				wrong = append(wrong, route+" is not looked at")
			}
		}
		GinkgoWriter.Println(strings.Join(wrong, "\n"))
		Expect(wrong).To(BeEmpty())
	})
})

// acknowledgedLate makes a request while transactions are held: it must not be answered before they are let go, and then with success.
func (w *world) acknowledgedLate(s storing, name string) {
	GinkgoHelper()
	came, release := w.gate.hold()
	defer release()
	answers := make(chan answered, 1)
	go func() {
		defer GinkgoRecover()
		answers <- s.ask(name)
	}()
	select {
	case <-came:
	case a := <-answers:
		Expect(a.raw).To(BeEmpty(), "it is answered, and stores nothing")
	}
	select {
	case a := <-answers:
		Expect(a.raw).To(BeEmpty(), "it is answered before it is stored")
	case <-time.After(10 * time.Millisecond): // what is wrong may go unseen on a slow machine; what is right never fails
	}
	release()
	a := <-answers
	Expect(a.status/100).To(Equal(2), a.raw)
}

// refusedWhole makes a request while no transaction succeeds, then while only the first does, and so on until it succeeds: before it must
// be refused for now, and nothing be changed as long as nothing was stored.
func (w *world) refusedWhole(s storing, name string, look func() string) {
	GinkgoHelper()
	before := look()
	for transactions := 0; ; transactions++ {
		Expect(transactions).To(BeNumerically("<", 20), s.route)
		w.gate.refuseAfter(transactions)
		a := s.ask(name)
		w.gate.open()
		if a.status/100 == 2 {
			Expect(transactions).To(BeNumerically(">", 0), a.raw)
			return
		}
		refused(a, 503, "M_UNKNOWN")
		Expect(a.body).To(HaveKey("retry_after_ms"), a.raw)
		if transactions == 0 || atOnce[s.route] {
			Expect(look()).To(Equal(before), s.route)
		}
	}
}
