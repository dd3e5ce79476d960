package appservice_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// The names under which deployed bridges look for what MSC4203 and MSC3202 have.
const (
	toDevice     = "de.sorunome.msc2409.to_device"
	deviceLists  = "org.matrix.msc3202.device_lists"
	keysLeft     = "org.matrix.msc3202.device_one_time_keys_count"
	unusedKeys   = "org.matrix.msc3202.device_unused_fallback_key_types"
	wantsEncrypt = "org.matrix.msc3202: true\n"
)

// taken are the bodies of the transactions that were taken, of each one.
func (b *bridge) taken() (bodies []map[string]json.RawMessage) {
	GinkgoHelper()
	seen := map[string]bool{}
	for _, t := range b.all() {
		if !t.taken || seen[t.id] {
			continue
		}
		seen[t.id] = true
		var body map[string]json.RawMessage
		Expect(json.Unmarshal(t.body, &body)).To(Succeed())
		bodies = append(bodies, body)
	}
	return bodies
}

// messages are the messages to devices that were taken, as "user device text".
func (b *bridge) messages() (texts []string) {
	GinkgoHelper()
	for _, body := range b.taken() {
		if body[toDevice] == nil {
			continue
		}
		var messages []struct {
			User    string `json:"to_user_id"`
			Device  string `json:"to_device_id"`
			Type    string
			Sender  string
			Content struct{ Text string }
		}
		Expect(json.Unmarshal(body[toDevice], &messages)).To(Succeed())
		for _, m := range messages {
			Expect(m.Type).To(Equal("m.test"))
			Expect(m.Sender).To(Equal("@alice:hanse.test"))
			texts = append(texts, m.User+" "+m.Device+" "+m.Content.Text)
		}
	}
	return texts
}

// lists are the users of device lists that were taken, in order: "+" those who changed, "-" those who left.
func (b *bridge) lists() (users []string) {
	GinkgoHelper()
	for _, body := range b.taken() {
		if body[deviceLists] == nil {
			continue
		}
		var lists struct{ Changed, Left []string }
		Expect(json.Unmarshal(body[deviceLists], &lists)).To(Succeed())
		for _, user := range lists.Changed {
			users = append(users, "+"+user)
		}
		for _, user := range lists.Left {
			users = append(users, "-"+user)
		}
	}
	return users
}

// keys is what was told last of what keys a device has left: the number of one-time keys, -1 if nothing was told, and the algorithms
// of fallback keys.
func (b *bridge) keys(user, device string) (count int, unused []string) {
	GinkgoHelper()
	count = -1
	for _, body := range b.taken() {
		if body[keysLeft] == nil {
			continue
		}
		var counts map[string]map[string]map[string]int
		var types map[string]map[string][]string
		Expect(json.Unmarshal(body[keysLeft], &counts)).To(Succeed())
		Expect(json.Unmarshal(body[unusedKeys], &types)).To(Succeed())
		if of, told := counts[user][device]; told {
			Expect(of).To(HaveKey("signed_curve25519"))
			count, unused = of["signed_curve25519"], types[user][device]
		}
	}
	return count, unused
}

// encrypted makes a device of the bridge's for one of its users, with keys.
func (p *who) encrypted(device string, oneTime int) *who {
	GinkgoHelper()
	p.do("PUT", "/devices/"+device, obj{})
	d := p.onDevice(device)
	keys := obj{}
	for i := range oneTime {
		keys[fmt.Sprintf("signed_curve25519:AAA%d", i)] = obj{"key": fmt.Sprint("key", i), "signatures": obj{}}
	}
	d.fine("POST", "/keys/upload", obj{
		"device_keys": obj{
			"user_id": p.id, "device_id": device, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2"},
			"keys": obj{"curve25519:" + device: "x", "ed25519:" + device: "y"}, "signatures": obj{p.id: obj{"ed25519:" + device: "z"}},
		},
		"one_time_keys": keys,
		"fallback_keys": obj{"signed_curve25519:FALL": obj{"key": "fall", "fallback": true, "signatures": obj{}}},
	})
	return d
}

var sendNumber atomic.Int64

// tell sends a message to a device; "*": to all of the user's.
func (p *who) tell(user *who, device string, texts ...string) {
	GinkgoHelper()
	for _, text := range texts {
		p.fine("PUT", fmt.Sprint("/sendToDevice/m.test/", sendNumber.Add(1)), obj{"messages": obj{user.id: obj{device: obj{"text": text}}}})
	}
}

var _ = onEach("What a service's devices need for encryption", func(w *world) {
	begin := func() {
		GinkgoHelper()
		w.config.ApplicationServices = []string{w.bridge.registration(w.config.DataDir)}
		w.start()
	}

	It("goes in transactions if it asks for that, and not by /sync too", func() {
		w.bridge.extra = wantsEncrypt
		w.bridge.start()
		begin()
		alice, ghost, bot := w.register("alice"), w.ghost("_irc_ghost"), w.ofBridge("")
		phone := w.register("shared_phone") // in a namespace of the bridge's, but on a device of their own
		device := ghost.encrypted("GHOST", 2)
		login := bot.fine("POST", "/login", obj{"type": "m.login.application_service", "device_id": "BOT",
			"identifier": obj{"type": "m.id.user", "user": bot.id}})
		alice.tell(ghost, "GHOST", "one", "two")
		alice.tell(ghost, "ELSE", "nobody's")
		alice.tell(bot, "*", "three")
		alice.tell(phone, "*", "by sync")
		Eventually(w.bridge.messages).Should(ConsistOf(ghost.id+" GHOST one", ghost.id+" GHOST two", bot.id+" BOT three"))
		Expect(slices.Index(w.bridge.messages(), ghost.id+" GHOST one")).To(BeNumerically("<", slices.Index(w.bridge.messages(), ghost.id+" GHOST two")))

		// Nor does the device get by /sync what the bridge has not got yet.
		w.bridge.stop()
		alice.tell(ghost, "GHOST", "four", "five")
		alice.tell(bot, "BOT", "six", "seven")
		Expect(device.fine("GET", "/sync", nil)).NotTo(HaveKey("to_device"))
		Expect((&who{w: w, token: login["access_token"].(string)}).fine("GET", "/sync", nil)).NotTo(HaveKey("to_device"))
		sliding := device.fine("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", obj{"extensions": obj{"to_device": obj{"enabled": true}}})
		Expect(sliding["extensions"]).To(HaveKeyWithValue("to_device", HaveKeyWithValue("events", BeEmpty())))
		Expect(phone.fine("GET", "/sync", nil)["to_device"]).To(HaveKeyWithValue("events", HaveLen(1)))
		w.bridge.start()
		Eventually(func() []string { w.ping(); return w.bridge.messages() }).Should(HaveLen(7))

		// What is asked for no more is found by /sync: what the bridge took isn't.
		w.bridge.stop()
		alice.tell(ghost, "GHOST", "under way") // in a transaction, which stays one
		alice.tell(ghost, "GHOST", "waiting")
		Eventually(func() obj { return device.fine("GET", "/sync", nil) }).ShouldNot(HaveKey("to_device"))
		since := device.fine("GET", "/sync", nil)["next_batch"].(string)
		since = device.fine("GET", "/sync?since="+since, nil)["next_batch"].(string) // acknowledges nothing that it wasn't told
		w.stop()
		w.bridge.extra = ""
		begin()
		alice.tell(ghost, "GHOST", "by sync")
		events := device.fine("GET", "/sync?since="+since, nil)["to_device"].(obj)["events"].([]any)
		Expect(events[len(events)-1]).To(HaveKeyWithValue("content", HaveKeyWithValue("text", "by sync")))
		w.bridge.start()
		Eventually(func() int { w.ping(); return len(w.bridge.messages()) + len(events) }).Should(Equal(7 + 3))
	})

	It("goes to a service that has logged in to somebody's device, with what waits for it", func() {
		w.bridge.extra = wantsEncrypt
		w.bridge.start()
		begin()
		alice, phone := w.register("alice"), w.register("shared_phone")
		device := phone.fine("GET", "/account/whoami", nil)["device_id"].(string)
		alice.tell(phone, device, "one", "two")
		w.ofBridge("").fine("POST", "/login", obj{"type": "m.login.application_service", "device_id": device,
			"identifier": obj{"type": "m.id.user", "user": phone.id}})
		told := []string{phone.id + " " + device + " one", phone.id + " " + device + " two"}
		Eventually(w.bridge.messages).Should(Equal(told))

		// Whom it has no more, it gets nothing of.
		ghost := w.ghost("_irc_ghost")
		ghost.encrypted("GHOST", 0)
		for range 2 {
			w.stop()
			file := w.bridge.registration(w.config.DataDir)
			raw, err := os.ReadFile(file)
			Expect(err).NotTo(HaveOccurred())
			w.config.ApplicationServices = []string{write(w.config.DataDir, "registration.yaml", strings.ReplaceAll(string(raw), "@shared_", "@others_"))}
			w.start()
			alice.tell(phone, device, "three")
			alice.tell(ghost, "GHOST", "to ghost")
			told = append(told, ghost.id+" GHOST to ghost")
			Eventually(w.bridge.messages).Should(Equal(told))
		}
	})

	It("comes once and in order, whoever is killed", func() {
		w.bridge.extra = wantsEncrypt
		w.bridge.start()
		begin()
		alice, ghost, other := w.register("alice"), w.ghost("_irc_ghost"), w.ghost("_irc_other")
		ghost.encrypted("A", 0)
		ghost.encrypted("B", 0)
		other.encrypted("C", 0)
		room := alice.room(ghost)
		ghost.join(room)
		w.bridge.stop()
		want := map[string][]string{}
		say := func(n int) {
			GinkgoHelper()
			for range n {
				for device, user := range map[string]*who{"A": ghost, "B": ghost, "C": other} {
					text := fmt.Sprint(len(want[device]))
					want[device] = append(want[device], text)
					alice.tell(user, device, text)
				}
			}
			alice.say(room, fmt.Sprint("after ", len(want["A"])))
		}
		say(40)
		w.kill()
		begin()
		say(40)
		w.kill()
		var refused atomic.Int32
		w.bridge.set(func(b *bridge) {
			b.refuse = func(path string) int {
				if !strings.HasPrefix(path, "/transactions/") {
					return 0
				}
				switch n := refused.Add(1); {
				case n == 1:
					return 503
				case n == 2 || n == 4:
					return -1
				}
				return 0
			}
		})
		w.bridge.start()
		begin()
		Eventually(func() bool { w.ping(); return refused.Load() >= 3 }).Should(BeTrue())
		w.kill()
		begin()
		Eventually(func() int { w.ping(); return len(w.bridge.messages()) }).Should(BeNumerically(">=", 240))
		got := map[string][]string{}
		for _, text := range w.bridge.messages() {
			parts := strings.Fields(text)
			got[parts[1]] = append(got[parts[1]], parts[2])
		}
		Expect(got).To(Equal(want))
		// Messages go before events that came after them.
		Eventually(w.bridge.said).Should(Equal([]string{"after 40", "after 80"}))
		before := 0
		for _, body := range w.bridge.taken() {
			var messages, events []json.RawMessage
			_ = json.Unmarshal(body[toDevice], &messages) // none is none
			Expect(json.Unmarshal(body["events"], &events)).To(Succeed())
			if before += len(messages); strings.Contains(string(body["events"]), "after 80") {
				break
			}
		}
		Expect(before).To(Equal(240))
		bodies := map[string]string{}
		for _, t := range w.bridge.all() {
			if body, again := bodies[t.id]; again {
				Expect(string(t.body)).To(Equal(body))
			}
			bodies[t.id] = string(t.body)
		}
	})

	It("tells whose devices have changed, and of what keys are left", func() {
		w.bridge.extra = wantsEncrypt
		w.bridge.start()
		begin()
		alice, bob, carol, ghost := w.register("alice"), w.register("bob"), w.register("carol"), w.ghost("_irc_ghost")
		ghost.encrypted("GHOST", 2)
		count := func() int { n, _ := w.bridge.keys(ghost.id, "GHOST"); return n }
		Eventually(count).Should(Equal(2))
		_, unused := w.bridge.keys(ghost.id, "GHOST")
		Expect(unused).To(ConsistOf("signed_curve25519"))
		claim := func() {
			GinkgoHelper()
			alice.fine("POST", "/keys/claim", obj{"one_time_keys": obj{ghost.id: obj{"GHOST": "signed_curve25519"}}})
		}
		claim()
		Eventually(count).Should(Equal(1))
		claim()
		Eventually(count).Should(Equal(0))
		w.bridge.stop()
		claim() // the fallback key; a start tells of it
		w.kill()
		w.bridge.start()
		begin()
		Eventually(func() []string { w.ping(); _, unused := w.bridge.keys(ghost.id, "GHOST"); return unused }).Should(BeEmpty())

		// Who comes to a room of the service's, or is there when it comes, may have changed.
		room := alice.room(ghost, bob)
		bob.join(room)
		ghost.join(room)
		Eventually(w.bridge.lists).Should(ContainElements("+"+alice.id, "+"+bob.id))
		told := len(w.bridge.lists())
		carol.room() // nobody's business, like their devices
		carol.fine("POST", "/login", obj{"type": "m.login.password", "identifier": obj{"type": "m.id.user", "user": "carol"}, "password": "secret of carol"})
		w.bridge.stop()
		bob.fine("POST", "/login", obj{"type": "m.login.password", "identifier": obj{"type": "m.id.user", "user": "bob"}, "password": "secret of bob"})
		w.kill()
		w.bridge.start()
		begin()
		Eventually(func() []string { w.ping(); return w.bridge.lists()[told:] }).Should(ConsistOf("+" + bob.id))
		bob.fine("POST", "/rooms/"+url.PathEscape(room)+"/leave", obj{})
		Eventually(func() []string { return w.bridge.lists()[told+1:] }).Should(ConsistOf("-" + bob.id))
		ghost.fine("POST", "/rooms/"+url.PathEscape(room)+"/leave", obj{})
		Eventually(func() []string { return w.bridge.lists()[told+2:] }).Should(ConsistOf("-" + alice.id))
	})
})

// ping has the bridge ask for something, so that it is tried again.
func (w *world) ping() {
	w.ofBridge("").do("POST", "/_matrix/client/v1/appservice/test%20bridge/ping", obj{})
}
