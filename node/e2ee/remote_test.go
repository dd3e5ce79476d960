package e2ee_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ed25519"

	"hanse/federation"
	"hanse/federation/client"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
	"hanse/node/e2ee"
	"hanse/node/store"
)

// script is other servers that answer as a test says, and counts what they are asked.
type script struct {
	devices func(ctx context.Context, user id.UserID) (federation.UserDevices, error)
	query   func(ctx context.Context, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error)
	claim   func(ctx context.Context, server id.ServerName) (federation.OneTimeKeysAnswer, error)

	mu    sync.Mutex
	asked map[string]int // guarded by mu
}

func (s *script) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[what]++
}

// times is how often something was asked.
func (s *script) times(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

func (s *script) UserDevices(ctx context.Context, _ id.ServerName, user id.UserID) (federation.UserDevices, error) {
	s.count("devices")
	return s.devices(ctx, user)
}

func (s *script) QueryDeviceKeys(ctx context.Context, _ id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
	s.count("query")
	return s.query(ctx, q)
}

func (s *script) ClaimDeviceKeys(ctx context.Context, server id.ServerName, _ federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error) {
	s.count("claim " + string(server))
	return s.claim(ctx, server)
}

// listOf is a list with one device, which has a key.
func listOf(user id.UserID, stream int64, device string) federation.UserDevices {
	return federation.UserDevices{UserID: user, StreamID: stream, Devices: []federation.UserDevice{{DeviceID: device, Keys: deviceKeys(user, device)}}}
}

// share puts alice and users of other servers into a room.
func share(t testing.TB, s *store.Store, users ...id.UserID) {
	t.Helper()
	shareIn(t, s, id.RoomID("!shared:"+string(self)), users...)
}

func shareIn(t testing.TB, s *store.Store, roomID id.RoomID, users ...id.UserID) {
	t.Helper()
	rules, _ := roomversion.Lookup("10")
	key := signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	machine := room.New(self, rules)
	step := func(in room.Input) {
		result, err := machine.Step(time.Now(), in, s.Source(context.Background(), rules))
		if err == nil {
			_, err = s.Commit(context.Background(), result.Commit, store.CommitOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	state := func(typ, stateKey, content string, sender id.UserID) event.Draft {
		return event.Draft{RoomID: roomID, Type: typ, StateKey: &stateKey, Sender: sender, Content: json.RawMessage(content)}
	}
	step(room.Propose{Key: key, Drafts: []event.Draft{
		state("m.room.create", "", `{"room_version":"10","creator":"`+string(alice)+`"}`, alice),
		state("m.room.member", string(alice), `{"membership":"join"}`, alice),
		state("m.room.join_rules", "", `{"join_rule":"public"}`, alice),
	}})
	for _, user := range users {
		filled, err := machine.Template(time.Now(), state("m.room.member", string(user), `{"membership":"join"}`, user), key, s.Source(context.Background(), rules))
		if err != nil {
			t.Fatal(err)
		}
		e, err := filled.Draft.Sign(rules, user.Server(), key)
		if err != nil {
			t.Fatal(err)
		}
		step(room.Receive{Origin: user.Server(), Events: []*event.Event{e}})
	}
}

// scripted is a server of ours that shares a room with users of others.
func scripted(t testing.TB, others *script, users ...id.UserID) (*e2ee.E2EE, *store.Store) {
	t.Helper()
	_, s := open(t, self, alice, net{})
	share(t, s, users...)
	e, err := e2ee.New(e2ee.Config{Self: self, Store: s, Client: others})
	if err != nil {
		t.Fatal(err)
	}
	return e, s
}

// running lets a server fetch lists by itself.
func running(t testing.TB, e *e2ee.E2EE) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = e.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func edu(typ, content string) federation.EDU {
	return federation.EDU{Type: typ, Content: json.RawMessage(content)}
}

var _ = Describe("device lists of other servers", func() {
	var ctx context.Context
	BeforeEach(func() { ctx = context.Background() })
	devices := func(e *e2ee.E2EE, user id.UserID) []string {
		GinkgoHelper()
		keys, err := e.Query(ctx, alice, map[id.UserID][]string{user: nil}, time.Minute)
		Expect(err).NotTo(HaveOccurred())
		var names []string
		for name := range keys.DeviceKeys[user] {
			names = append(names, name)
		}
		return names
	}

	It("are asked for once, however many want them, and then known", func() {
		release := make(chan struct{})
		others := &script{devices: func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
			<-release
			return listOf(user, 5, "PHONE"), nil
		}}
		e, _ := scripted(GinkgoTB(), others, zoe)
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				defer GinkgoRecover()
				Expect(devices(e, zoe)).To(ConsistOf("PHONE"))
			})
		}
		Eventually(func() int { return others.times("devices") }).Should(Equal(1))
		close(release)
		group.Wait()
		Expect(devices(e, zoe)).To(ConsistOf("PHONE"))
		Expect(others.times("devices")).To(Equal(1))
	})

	DescribeTable("that change while they are asked for are fetched again", func(update federation.EDU) {
		answers := make(chan federation.UserDevices)
		others := &script{devices: func(ctx context.Context, user id.UserID) (federation.UserDevices, error) {
			select {
			case answer := <-answers:
				return answer, nil
			case <-ctx.Done():
				return federation.UserDevices{}, ctx.Err()
			}
		}}
		e, s := scripted(GinkgoTB(), others, zoe)
		asked := make(chan []string)
		go func() {
			defer GinkgoRecover()
			asked <- devices(e, zoe)
		}()
		Eventually(func() int { return others.times("devices") }).Should(Equal(1))
		Expect(e.HandleEDU(ctx, far, update)).To(Succeed())
		answers <- listOf(zoe, 5, "OLD")
		Expect(<-asked).To(ConsistOf("OLD"))
		Expect(s.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(zoe))
		running(GinkgoTB(), e)
		answers <- listOf(zoe, 9, "NEW")
		Eventually(func() ([]id.UserID, error) { return s.StaleDevices(ctx, time.Now(), "", 10) }).Should(BeEmpty())
		Expect(devices(e, zoe)).To(ConsistOf("NEW"))
		Expect(others.times("devices")).To(Equal(2))
	},
		Entry("by a device", edu(federation.EDUDeviceListUpdate, `{"user_id":"@zoe:far.test","device_id":"NEW","stream_id":9,"prev_id":[8]}`)),
		Entry("by cross-signing keys", edu(federation.EDUSigningKeyUpdate, `{"user_id":"@zoe:far.test"}`)),
		Entry("by what can't be read", edu(federation.EDUDeviceListUpdate, `{"user_id":"@zoe:far.test","device_id":"NEW","stream_id":-9}`)),
	)

	It("of users of whom a server says nothing take nothing from the others", func() {
		const ghost = id.UserID("@ghost:far.test")
		others := &script{
			devices: func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
				if user == ghost {
					return federation.UserDevices{}, &client.Error{Server: far, Status: 404, Stage: client.StageResponse, Matrix: federation.NotFound("who?")}
				}
				return listOf(user, 5, "PHONE"), nil
			},
			query: func(_ context.Context, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
				Expect(q.DeviceKeys).To(HaveLen(1))
				Expect(q.DeviceKeys).To(HaveKey(ghost))
				return federation.DeviceKeysAnswer{}, nil
			},
		}
		e, s := scripted(GinkgoTB(), others, zoe, ghost)
		keys, err := e.Query(ctx, alice, map[id.UserID][]string{zoe: nil, ghost: nil}, time.Minute)
		Expect(err).NotTo(HaveOccurred())
		Expect(keys.Failures).To(BeEmpty())
		Expect(keys.DeviceKeys[zoe]).To(HaveKey("PHONE"))
		Expect(keys.DeviceKeys[ghost]).To(BeEmpty())
		Expect(s.TrackDevices(ctx, []id.UserID{ghost}, false)).To(Succeed())
		running(GinkgoTB(), e)
		Eventually(func() ([]id.UserID, error) { return s.StaleDevices(ctx, time.Now(), "", 10) }).Should(BeEmpty(), "it isn't asked about for ever")
	})

	It("of many users are asked for in one question, and fetched afterwards", func() {
		var users []id.UserID
		wanted := map[id.UserID][]string{}
		for n := range 30 {
			users = append(users, id.UserID(fmt.Sprintf("@u%d:far.test", n)))
			wanted[users[n]] = nil
		}
		others := &script{
			devices: func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
				return listOf(user, 5, "PHONE"), nil
			},
			query: func(_ context.Context, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
				answer := federation.DeviceKeysAnswer{DeviceKeys: map[id.UserID]map[string]json.RawMessage{}}
				for user := range q.DeviceKeys {
					answer.DeviceKeys[user] = map[string]json.RawMessage{"PHONE": deviceKeys(user, "PHONE"), "LIE": deviceKeys(zoe, "PHONE")}
				}
				return answer, nil
			},
		}
		e, s := scripted(GinkgoTB(), others, users...)
		check := func() {
			GinkgoHelper()
			keys, err := e.Query(ctx, alice, wanted, time.Minute)
			Expect(err).NotTo(HaveOccurred())
			Expect(keys.DeviceKeys).To(HaveLen(len(users)))
			for _, devices := range keys.DeviceKeys {
				Expect(devices).To(HaveLen(1))
				Expect(devices).To(HaveKey("PHONE"))
			}
		}
		check()
		Expect(others.times("devices")).To(BeZero())
		start := s.Position()
		running(GinkgoTB(), e)
		Eventually(func() ([]id.UserID, error) { return s.StaleDevices(ctx, time.Now(), "", 10) }).Should(BeEmpty())
		check()
		Expect(others.times("query")).To(Equal(1))
		Expect(s.DeviceChanges(ctx, alice, start, s.Position())).To(BeEmpty(), "clients have been told nothing else")
	})

	It("are bounded, whatever a server says", func() {
		endless := federation.UserDevices{UserID: zoe, StreamID: 1 << 62}
		for n := range 12_000 {
			endless.Devices = append(endless.Devices, federation.UserDevice{DeviceID: fmt.Sprint(n)})
		}
		others := &script{devices: func(context.Context, id.UserID) (federation.UserDevices, error) { return endless, nil }}
		e, s := scripted(GinkgoTB(), others, zoe)
		devices(e, zoe)
		lists, err := s.RemoteDevices(ctx, []id.UserID{zoe})
		Expect(err).NotTo(HaveOccurred())
		Expect(lists[zoe].Devices).To(HaveLen(10_000))
		Expect(lists[zoe].Stream).To(Equal(int64(1<<53 - 1)))
		one := fmt.Sprintf(`{"user_id":"@zoe:far.test","device_id":"ONE MORE","stream_id":%d,"prev_id":[5]}`, int64(1)<<53-1)
		Expect(e.HandleEDU(ctx, far, edu(federation.EDUDeviceListUpdate, one))).To(Succeed())
		Expect(s.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(zoe), "that number was used before")
	})

	It("are fetched again where cross-signing keys come that are known: what they sign may be new", func() {
		name := strings.Repeat("A", 43)
		master := fmt.Sprintf(`{"user_id":%q,"usage":["master"],"keys":{"ed25519:%s":%q}}`, zoe, name, name)
		others := &script{}
		others.devices = func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
			list := listOf(user, 5, "PHONE")
			list.MasterKey = json.RawMessage(master)
			return list, nil
		}
		e, s := scripted(GinkgoTB(), others, zoe)
		Expect(devices(e, zoe)).To(ConsistOf("PHONE"))
		start := s.Position()
		Expect(e.HandleEDU(ctx, far, edu(federation.EDUSigningKeyUpdate, fmt.Sprintf(`{"user_id":%q,"master_key":%s}`, zoe, master)))).To(Succeed())
		Expect(s.DeviceChanges(ctx, alice, start, s.Position())).NotTo(BeEmpty())
		Expect(s.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(zoe))
		Expect(devices(e, zoe)).To(ConsistOf("PHONE"))
		Expect(others.times("devices")).To(Equal(2))
	})

	It("are fetched where their first update comes, and shown with keys that name nobody", func() {
		list := listOf(zoe, 1, "PHONE")
		list.Devices = append(list.Devices,
			federation.UserDevice{DeviceID: "ODD", Keys: json.RawMessage(`{"device_keys":{}}`)},
			federation.UserDevice{DeviceID: "NO KEYS", Keys: json.RawMessage(`null`)},
			federation.UserDevice{DeviceID: "OTHER DEVICE", Keys: deviceKeys(zoe, "PHONE")},
			federation.UserDevice{DeviceID: "OTHER USER", Keys: deviceKeys(alice, "OTHER USER")})
		others := &script{devices: func(context.Context, id.UserID) (federation.UserDevices, error) { return list, nil }}
		e, s := scripted(GinkgoTB(), others, zoe)
		running(GinkgoTB(), e)
		Expect(e.HandleEDU(ctx, far, edu(federation.EDUDeviceListUpdate, `{"user_id":"@zoe:far.test","device_id":"ODD","stream_id":1,"keys":{"device_keys":{}}}`))).To(Succeed())
		Eventually(func() (map[id.UserID]*store.RemoteDevices, error) { return s.RemoteDevices(ctx, []id.UserID{zoe}) }).WithTimeout(time.Minute).Should(HaveKey(zoe))
		Expect(devices(e, zoe)).To(ConsistOf("PHONE", "ODD"))
		update := `{"user_id":"@zoe:far.test","device_id":"ODD","device_display_name":"a name","stream_id":2,"prev_id":[1],"keys":{"device_keys":{}}}`
		Expect(e.HandleEDU(ctx, far, edu(federation.EDUDeviceListUpdate, update))).To(Succeed())
		keys, err := e.Query(ctx, alice, map[id.UserID][]string{zoe: {"ODD"}}, time.Minute)
		Expect(err).NotTo(HaveOccurred())
		Expect(keys.DeviceKeys[zoe]["ODD"]).To(MatchJSON(`{"device_keys":{},"unsigned":{"device_display_name":"a name"}}`))
		Expect(others.times("devices")).To(Equal(1))
	})

	It("are changed by their own server alone", func() {
		others := &script{devices: func(_ context.Context, user id.UserID) (federation.UserDevices, error) {
			return listOf(user, 5, "PHONE"), nil
		}}
		e, s := scripted(GinkgoTB(), others, zoe)
		devices(e, zoe)
		start := s.Position()
		for _, about := range []id.UserID{zoe, alice, "@nobody:evil.test"} {
			update := fmt.Sprintf(`{"user_id":%q,"device_id":"EVIL","stream_id":6,"prev_id":[5],"keys":{}}`, about)
			Expect(e.HandleEDU(ctx, "evil.test", edu(federation.EDUDeviceListUpdate, update))).To(Succeed())
			Expect(e.HandleEDU(ctx, "evil.test", edu(federation.EDUSigningKeyUpdate, update))).To(Succeed())
		}
		Expect(s.DeviceChanges(ctx, alice, start, s.Position())).To(BeEmpty())
		Expect(devices(e, zoe)).To(ConsistOf("PHONE"))
		Expect(others.times("devices")).To(Equal(1))
	})

	// spec:appendices#historical-user-ids
	It("are not told of where the user's ID is none that clients should see outside of events", func() {
		for _, user := range []id.UserID{zoe, "@zoë:far.test", "@:far.test"} {
			e, s := scripted(GinkgoTB(), &script{}, user)
			start := s.Position()
			update := fmt.Sprintf(`{"user_id":%q,"device_id":"NEW","stream_id":6,"keys":{}}`, user)
			Expect(e.HandleEDU(ctx, far, edu(federation.EDUDeviceListUpdate, update))).To(Succeed())
			Expect(e.HandleEDU(ctx, far, edu(federation.EDUSigningKeyUpdate, update))).To(Succeed())
			changes, err := s.DeviceChanges(ctx, alice, start, s.Position())
			Expect(err).NotTo(HaveOccurred())
			Expect(len(changes) > 0).To(Equal(user == zoe), "%s: %v", user, changes)
		}
	})

	It("are not waited for where their server was out a moment ago; keys are claimed all the same", func() {
		down := errors.New("connection refused")
		others := &script{
			devices: func(context.Context, id.UserID) (federation.UserDevices, error) {
				return federation.UserDevices{}, down
			},
			claim: func(ctx context.Context, server id.ServerName) (federation.OneTimeKeysAnswer, error) {
				if server != far {
					<-ctx.Done()
					return federation.OneTimeKeysAnswer{}, ctx.Err()
				}
				keys := map[string]json.RawMessage{"signed_curve25519:A": json.RawMessage(`{}`)}
				return federation.OneTimeKeysAnswer{OneTimeKeys: map[id.UserID]map[string]map[string]json.RawMessage{
					zoe: {"PHONE": keys, "NOT ASKED FOR": keys}, alice: {"ONE": keys},
				}}, nil
			},
		}
		e, _ := scripted(GinkgoTB(), others, zoe)
		for range 2 {
			keys, err := e.Query(ctx, alice, map[id.UserID][]string{zoe: nil}, time.Minute)
			Expect(err).NotTo(HaveOccurred())
			Expect(keys.Failures).To(HaveKey(far))
		}
		Expect(others.times("devices")).To(Equal(1))
		for range 2 {
			claimed, err := e.Claim(ctx, map[id.UserID]map[string]string{zoe: {"PHONE": "signed_curve25519"}, "@x:slow.test": {"A": "signed_curve25519"}}, time.Second)
			Expect(err).NotTo(HaveOccurred())
			Expect(claimed.OneTimeKeys).To(HaveLen(1))
			Expect(claimed.OneTimeKeys[zoe]).To(HaveLen(1))
			Expect(claimed.OneTimeKeys[zoe]).To(HaveKey("PHONE"))
			Expect(claimed.Failures).To(HaveLen(1))
			Expect(claimed.Failures).To(HaveKey(id.ServerName("slow.test")))
		}
		Expect(others.times("claim slow.test")).To(Equal(2), "it is asked again")
	})
})
