package interop

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/signedjson"
	"hanse/testnet/user"
)

var _ = Describe("what encryption needs of Hanse and "+peerTitle, func() {
	for _, d := range both("of %s") {
		Context(d.name, func() {
			It("hands out keys of devices, one-time keys once, then the fallback key", func(ctx SpecContext) { oneTimeKeys(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("shows cross-signing keys and signatures", func(ctx SpecContext) { crossSigning(ctx, d.direction) }, SpecTimeout(time.Minute))
			It("tells of changes of devices, after an outage too", func(ctx SpecContext) { deviceLists(ctx, d.direction) }, SpecTimeout(2*time.Minute))
			It("carries messages to devices, in order and once, over an outage of either side", func(ctx SpecContext) { toDevice(ctx, d.direction) }, SpecTimeout(3*time.Minute))
		})
	}
})

// post is a call whose answer is an object.
func post(ctx context.Context, u *user.User, path string, body any) map[string]any {
	GinkgoHelper()
	return ask(ctx, u, "POST", clientV3("/"+path), nil, body)
}

// deep looks into nested objects; nil if there is nothing.
func deep(value any, path ...string) any {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return value
}

// signingKey is a key pair of a user: of a device, whose ID is its name, or of cross-signing, whose name it is itself.
type signingKey struct {
	name    string
	public  ed25519.PublicKey
	private ed25519.PrivateKey
}

func newSigningKey(name string) signingKey {
	GinkgoHelper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	if name == "" {
		name = signedjson.EncodeBase64(public)
	}
	return signingKey{name, public, private}
}

func (k signingKey) sign(u *user.User, object any) map[string]any {
	GinkgoHelper()
	raw, err := json.Marshal(object)
	Expect(err).NotTo(HaveOccurred())
	raw, err = signedjson.Sign(raw, u.ID, signedjson.Key{ID: id.KeyID("ed25519:" + k.name), Private: k.private})
	Expect(err).NotTo(HaveOccurred())
	var signed map[string]any
	Expect(json.Unmarshal(raw, &signed)).To(Succeed())
	return signed
}

// deviceKeys are keys of a user's device as clients make them.
func deviceKeys(u *user.User, key signingKey) map[string]any {
	GinkgoHelper()
	return key.sign(u, map[string]any{
		"user_id": u.ID, "device_id": u.DeviceID, "algorithms": []string{"m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"},
		"keys": map[string]string{"ed25519:" + key.name: signedjson.EncodeBase64(key.public), "curve25519:" + key.name: signedjson.EncodeBase64(key.public)},
	})
}

// oneTimeKeys: the visitor's user asks for keys of the resident's.
func oneTimeKeys(ctx context.Context, d direction) {
	alice, bob := (*d.resident).newUser(ctx), (*d.visitor).newUser(ctx)
	key := newSigningKey(alice.DeviceID)
	signed := func(text string, fallback bool) map[string]any {
		object := map[string]any{"key": text}
		if fallback {
			object["fallback"] = true
		}
		return key.sign(alice, object)
	}
	keys := deviceKeys(alice, key)
	post(ctx, alice, "keys/upload", map[string]any{
		"device_keys":   keys,
		"one_time_keys": map[string]any{"signed_curve25519:AAA": signed("one", false), "signed_curve25519:AAB": signed("two", false)},
		"fallback_keys": map[string]any{"signed_curve25519:AAC": signed("last", true)},
	})
	answer := post(ctx, bob, "keys/query", map[string]any{"device_keys": map[string]any{alice.ID: []string{}}})
	got, _ := deep(answer, "device_keys", alice.ID, alice.DeviceID).(map[string]any)
	delete(got, "unsigned")
	Expect(got).To(Equal(keys))
	claim := func() map[string]any {
		GinkgoHelper()
		answer := post(ctx, bob, "keys/claim", map[string]any{"one_time_keys": map[string]any{alice.ID: map[string]string{alice.DeviceID: "signed_curve25519"}}})
		claimed, _ := deep(answer, "one_time_keys", alice.ID, alice.DeviceID).(map[string]any)
		Expect(claimed).To(HaveLen(1))
		return claimed
	}
	var once []string
	for range 2 {
		for name := range claim() {
			once = append(once, name)
		}
	}
	Expect(once).To(ConsistOf("signed_curve25519:AAA", "signed_curve25519:AAB"))
	if (*d.resident).kind == "dendrite" {
		return
	}
	for range 2 {
		Expect(claim()).To(HaveKeyWithValue("signed_curve25519:AAC", signed("last", true)))
	}
	var sync map[string]any
	Expect(alice.Call(ctx, "GET", "/_matrix/client/v3/sync", nil, nil, &sync)).To(Succeed())
	Expect(deep(sync, "device_unused_fallback_key_types")).To(BeEmpty())
}

// crossSigning: the resident's user has cross-signing keys and signs the device, which the visitor's user sees.
func crossSigning(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	device, master, selfSigning := newSigningKey(c.alice.DeviceID), newSigningKey(""), newSigningKey("")
	keys := deviceKeys(c.alice, device)
	post(ctx, c.alice, "keys/upload", map[string]any{"device_keys": keys})
	query := func() any {
		var answer map[string]any
		err := c.bob.Call(ctx, "POST", "/_matrix/client/v3/keys/query", nil, map[string]any{"device_keys": map[string]any{c.alice.ID: []string{}}}, &answer)
		if err != nil {
			return nil
		}
		return answer
	}
	Expect(deep(query(), "device_keys", c.alice.ID, c.alice.DeviceID)).NotTo(BeNil()) // the list is known from here on
	object := func(usage string, k signingKey) map[string]any {
		return map[string]any{"user_id": c.alice.ID, "usage": []string{usage}, "keys": map[string]string{"ed25519:" + k.name: k.name}}
	}
	crossSigningKeys := map[string]any{
		"master_key": object("master", master), "self_signing_key": master.sign(c.alice, object("self_signing", selfSigning)),
	}
	if (*d.resident).kind == "dendrite" {
		crossSigningKeys["auth"] = map[string]any{
			"type": "m.login.password", "password": password, "identifier": map[string]any{"type": "m.id.user", "user": c.alice.ID},
		}
	}
	post(ctx, c.alice, "keys/device_signing/upload", crossSigningKeys)
	Eventually(func() any { return deep(query(), "master_keys", c.alice.ID, "keys", "ed25519:"+master.name) }).WithTimeout(patience).Should(Equal(master.name))
	Eventually(func() any {
		return deep(query(), "self_signing_keys", c.alice.ID, "signatures", c.alice.ID, "ed25519:"+master.name)
	}).WithTimeout(patience).ShouldNot(BeNil())
	signed := selfSigning.sign(c.alice, keys)
	answer := post(ctx, c.alice, "keys/signatures/upload", map[string]any{c.alice.ID: map[string]any{c.alice.DeviceID: signed}})
	Expect(answer["failures"]).To(Or(BeNil(), BeEmpty()))
	Eventually(func() any {
		return deep(query(), "device_keys", c.alice.ID, c.alice.DeviceID, "signatures", c.alice.ID, "ed25519:"+selfSigning.name)
	}).WithTimeout(patience).Should(Equal(deep(signed, "signatures", c.alice.ID, "ed25519:"+selfSigning.name)))
	if (*d.resident).kind == "dendrite" {
		return
	}
	// Another name of the device takes nothing from that.
	Expect(c.alice.Call(ctx, "PUT", "/_matrix/client/v3/devices/"+c.alice.DeviceID, nil, map[string]any{"display_name": "the new phone"}, nil)).To(Succeed())
	Consistently(func() any {
		return deep(query(), "device_keys", c.alice.ID, c.alice.DeviceID, "signatures", c.alice.ID, "ed25519:"+selfSigning.name)
	}).WithTimeout(2 * time.Second).WithPolling(200 * time.Millisecond).ShouldNot(BeNil())
}

// inbox reads the /sync of a device on and on.
type inbox struct {
	user     *user.User
	since    string
	messages []float64 // the numbers of messages to the device
	changed  map[string]bool
}

func (i *inbox) read(ctx context.Context) error {
	query := url.Values{"timeout": {"500"}}
	if i.since != "" {
		query.Set("since", i.since)
	}
	var answer map[string]any
	if err := i.user.Call(ctx, "GET", "/_matrix/client/v3/sync", query, nil, &answer); err != nil {
		return err
	}
	i.since, _ = answer["next_batch"].(string)
	events, _ := deep(answer, "to_device", "events").([]any)
	for _, e := range events {
		if deep(e, "type") == "hanse.test" {
			n, _ := deep(e, "content", "n").(float64)
			i.messages = append(i.messages, n)
		}
	}
	users, _ := deep(answer, "device_lists", "changed").([]any)
	for _, u := range users {
		name, _ := u.(string)
		i.changed[name] = true
	}
	return nil
}

func newInbox(ctx context.Context, u *user.User) *inbox {
	GinkgoHelper()
	i := &inbox{user: u, changed: map[string]bool{}}
	Expect(i.read(ctx)).To(Succeed())
	return i
}

// newDevice logs a user in once more.
func newDevice(ctx context.Context, s *server, u *user.User) *user.User {
	GinkgoHelper()
	other := user.New(s.orders.ClientURL())
	DeferCleanup(other.Close)
	name, err := id.ParseUserID(u.ID)
	Expect(err).NotTo(HaveOccurred())
	Expect(other.Login(ctx, name.Localpart(), password)).To(Succeed())
	return other
}

// login is another device of a user, with keys.
func login(ctx context.Context, s *server, u *user.User) *user.User {
	GinkgoHelper()
	other := newDevice(ctx, s, u)
	post(ctx, other, "keys/upload", map[string]any{"device_keys": deviceKeys(other, newSigningKey(other.DeviceID))})
	return other
}

// deviceLists: the visitor's server hears of new and gone devices of the resident's user.
func deviceLists(ctx context.Context, d direction) {
	c := together(ctx, d, nil)
	first := login(ctx, *d.resident, c.alice)
	news := newInbox(ctx, c.bob)
	known := func() []string {
		var answer map[string]any
		if err := c.bob.Call(ctx, "POST", "/_matrix/client/v3/keys/query", nil, map[string]any{"device_keys": map[string]any{c.alice.ID: []string{}}}, &answer); err != nil {
			return nil
		}
		devices, _ := deep(answer, "device_keys", c.alice.ID).(map[string]any)
		var names []string
		for name := range devices {
			names = append(names, name)
		}
		return names
	}
	told := func() (bool, error) {
		err := news.read(ctx)
		return news.changed[c.alice.ID], err
	}
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID))
	second := login(ctx, *d.resident, c.alice)
	Eventually(told).WithTimeout(patience).Should(BeTrue())
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID, second.DeviceID))

	(*d.visitor).stop() // what happens meanwhile is heard of afterwards
	third := login(ctx, *d.resident, c.alice)
	Expect(second.Call(ctx, "POST", "/_matrix/client/v3/logout", nil, nil, nil)).To(Succeed())
	(*d.visitor).start()
	clear(news.changed)
	Expect(c.bob.Say(ctx, c.room, "I am back")).NotTo(BeEmpty())
	Eventually(told).WithTimeout(patience).Should(BeTrue())
	Eventually(known).WithTimeout(patience).Should(ConsistOf(first.DeviceID, third.DeviceID))
}

// toDevice: numbered messages from the resident's user to the visitor's, whose servers are out in turn.
func toDevice(ctx context.Context, d direction) {
	const count = 120 // more than a transaction, and than an answer of /sync, has
	c := together(ctx, d, nil)
	news := newInbox(ctx, c.bob)
	next := 0
	var want []float64
	send := func() {
		GinkgoHelper()
		for range count {
			path := fmt.Sprintf("/_matrix/client/v3/sendToDevice/hanse.test/%d", next)
			Expect(c.alice.Call(ctx, "PUT", path, nil, map[string]any{"messages": map[string]any{c.bob.ID: map[string]any{c.bob.DeviceID: map[string]any{"n": next}}}}, nil)).To(Succeed())
			want = append(want, float64(next))
			next++
		}
	}
	all := func() ([]float64, error) {
		err := news.read(ctx)
		return news.messages, err
	}
	send()
	Eventually(all).WithTimeout(patience).WithPolling(10 * time.Millisecond).Should(Equal(want))
	(*d.visitor).stop()
	send()
	(*d.resident).stop()
	(*d.resident).start()
	(*d.visitor).start()
	Expect(c.bob.Say(ctx, c.room, "I am back")).NotTo(BeEmpty())
	Eventually(all).WithTimeout(patience).WithPolling(10 * time.Millisecond).Should(Equal(want))
	send()
	(*d.resident).stop() // what it has not delivered yet goes out when it is back
	(*d.resident).start()
	Eventually(all).WithTimeout(patience).WithPolling(10 * time.Millisecond).Should(Equal(want))
	Consistently(all).WithTimeout(time.Second).Should(Equal(want))
}
