package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// loggedIn makes devices of a user of ours.
func (f *fixture) loggedIn(ctx context.Context, user id.UserID, devices ...string) {
	GinkgoHelper()
	for _, device := range devices {
		Expect(f.Login(ctx, store.Device{User: user, ID: device, Created: time.Now()}, store.HashToken(string(user)+device))).To(Succeed())
	}
}

// withBob makes a room of alice and bob, who is of another server.
func (f *fixture) withBob() *actor {
	GinkgoHelper()
	a := must(create(f.Store, "10"))
	a.receive(a.foreign(member(bob, "join", bob)))
	return a
}

// changes are who changed in the eyes of a user since a position.
func (f *fixture) changes(ctx context.Context, user id.UserID, since store.Position) []id.UserID {
	GinkgoHelper()
	return must(f.DeviceChanges(ctx, user, since, f.Position()))
}

func never() bool  { return false }
func always() bool { return true }

var _ = onEach("Device lists of other servers", func(db *fixture) {
	device := json.RawMessage(`{"device_id":"A","keys":{"a":1}}`)
	other := json.RawMessage(`{"device_id":"A","keys":{"a":2}}`)
	update := func(ctx context.Context, content json.RawMessage, stream int64, prev ...int64) bool {
		GinkgoHelper()
		return must(db.RemoteDeviceUpdated(ctx, store.RemoteDeviceUpdate{User: bob, Device: "A", Content: content, Stream: stream, Prev: prev}))
	}
	list := func(ctx context.Context) *store.RemoteDevices {
		GinkgoHelper()
		return must(db.RemoteDevices(ctx, []id.UserID{bob}))[bob]
	}
	save := func(ctx context.Context, content json.RawMessage, stream int64, outdated func() bool, keys ...store.CrossSigningKey) bool {
		GinkgoHelper()
		return must(db.SaveRemoteDevices(ctx, store.RemoteDevices{
			User: bob, Stream: stream, Devices: map[string]json.RawMessage{"A": content},
		}, keys, db.Position(), outdated))
	}

	It("aren't kept of who shares no room", func(ctx SpecContext) {
		before := db.Position()
		Expect(update(ctx, device, 1)).To(BeFalse())
		Expect(save(ctx, device, 1, never)).To(BeFalse())
		Expect(db.RemoteSigningKeysUpdated(ctx, bob, []store.CrossSigningKey{{User: bob, Usage: "master", Keys: device}})).To(BeFalse())
		Expect(db.TrackDevices(ctx, []id.UserID{bob}, false)).To(Succeed())
		Expect(db.CrossSigningKeys(ctx, []id.UserID{bob})).To(BeEmpty())
		Expect(db.StaleDevices(ctx, time.Now(), "", 10)).To(BeEmpty())
		db.withBob()
		Expect(db.changes(ctx, alice, before)).To(BeEmpty())
		Expect(list(ctx)).To(BeNil())
	})

	It("are changed by what follows, and fetched again after a gap", func(ctx SpecContext) {
		db.withBob()
		start := db.Position()
		Expect(update(ctx, device, 4, 3)).To(BeFalse(), "no list is kept")
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(bob), "clients that asked once ask again")
		Expect(db.StaleDevices(ctx, time.Now(), "", 10)).To(BeEmpty())
		start = db.Position()
		Expect(update(ctx, device, 3)).To(BeTrue(), "the first that there is: the list is fetched")
		Expect(db.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(bob))
		Expect(db.changes(ctx, alice, start)).To(BeEmpty(), "clients were told when he came")
		save(ctx, device, 5, never)
		Expect(list(ctx).Stream).To(Equal(int64(5)))

		start = db.Position()
		Expect(update(ctx, device, 3, 2)).To(BeFalse(), "old and known")
		Expect(update(ctx, device, 6, 5)).To(BeFalse(), "known")
		Expect(db.changes(ctx, alice, start)).To(BeEmpty())
		Expect(update(ctx, other, 7, 6)).To(BeFalse())
		Expect(list(ctx).Devices).To(HaveKeyWithValue("A", other))
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(bob))
		Expect(db.changes(ctx, dora, start)).To(BeEmpty(), "she shares no room")

		Expect(update(ctx, nil, 9, 8)).To(BeTrue(), "8 is missing")
		Expect(list(ctx)).To(BeNil())
		Expect(db.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(bob))
		Expect(save(ctx, device, 9, always)).To(BeTrue(), "an update came while it was asked for")
		Expect(list(ctx)).To(BeNil())
		Expect(save(ctx, device, 10, never)).To(BeFalse())
		Expect(list(ctx).Devices).To(HaveKeyWithValue("A", device))

		start = db.Position()
		save(ctx, device, 11, never)
		Expect(db.changes(ctx, alice, start)).To(BeEmpty(), "the same as before")
		db.restart()
		Expect(list(ctx).Stream).To(Equal(int64(11)))
	})

	It("are fetched again ever later if their server refuses them", func(ctx SpecContext) {
		now := time.Now()
		stale := func(after time.Duration) []id.UserID {
			GinkgoHelper()
			return must(db.StaleDevices(ctx, now.Add(after), "", 10))
		}
		Expect(db.DevicesRefused(ctx, bob, now)).To(Succeed())
		Expect(stale(time.Hour)).To(BeEmpty(), "he shares no room")
		db.withBob()
		Expect(db.TrackDevices(ctx, []id.UserID{bob}, true)).To(Succeed())
		Expect(stale(0)).To(ConsistOf(bob))
		for range 30 {
			Expect(db.DevicesRefused(ctx, bob, now)).To(Succeed())
		}
		Expect(db.TrackDevices(ctx, []id.UserID{bob}, false)).To(Succeed())
		Expect(stale(23 * time.Hour)).To(BeEmpty())
		Expect(stale(24 * time.Hour)).To(ConsistOf(bob))
		start := db.Position()
		save(ctx, device, 5, never)
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(bob), "who asked in vain is told")
		Expect(db.TrackDevices(ctx, []id.UserID{bob}, false)).To(Succeed())
		Expect(stale(0)).To(ConsistOf(bob), "what was refused once is forgotten")
	})

	DescribeTable("are fetched again after an update", func(ctx SpecContext, u store.RemoteDeviceUpdate) {
		db.withBob()
		save(ctx, device, 5, never)
		u.User = bob
		Expect(db.RemoteDeviceUpdated(ctx, u)).To(BeTrue())
		Expect(db.StaleDevices(ctx, time.Now(), "", 10)).To(ConsistOf(bob))
	},
		Entry("that is old but says something else", store.RemoteDeviceUpdate{Device: "A", Content: other, Stream: 2, Prev: []int64{1}}),
		Entry("that has nothing before it", store.RemoteDeviceUpdate{Device: "A", Content: other, Stream: 8}),
		Entry("one of whose predecessors is missing", store.RemoteDeviceUpdate{Device: "A", Content: other, Stream: 8, Prev: []int64{5, 7}}),
		Entry("that can't be read", store.RemoteDeviceUpdate{Unreadable: true}),
	)

	It("outlive another name of a member", func(ctx SpecContext) {
		a := db.withBob()
		save(ctx, device, 5, never)
		start := db.Position()
		a.receive(a.foreign(state("m.room.member", string(bob), `{"membership":"join","displayname":"Bob"}`, bob)))
		must(a.propose(store.CommitOptions{}, state("m.room.member", string(alice), `{"membership":"join","displayname":"Al"}`, alice)))
		Expect(list(ctx)).NotTo(BeNil())
		moved := func() []store.Membership {
			GinkgoHelper()
			return must(db.MembersMoved(ctx, []id.RoomID{a.id()}, start, db.Position()))
		}
		Expect(moved()).To(BeEmpty())
		a.receive(a.foreign(member(bob, "leave", bob)))
		a.receive(a.foreign(member(bob, "join", bob)))
		Expect(moved()).To(HaveLen(1))
		Expect(list(ctx)).To(BeNil(), "its server may have told nobody meanwhile")
	})

	It("end when the last shared room is left", func(ctx SpecContext) {
		a := db.withBob()
		keys := store.CrossSigningKey{User: bob, Usage: "master", Keys: json.RawMessage(`{"keys":{"ed25519:M":"M"}}`)}
		save(ctx, device, 5, never, keys)
		Expect(db.CrossSigningKeys(ctx, []id.UserID{bob})).To(HaveLen(1))
		save(ctx, device, 6, never)
		Expect(db.CrossSigningKeys(ctx, []id.UserID{bob})).To(BeEmpty(), "the server has them no more")
		save(ctx, device, 7, never, keys)
		a.receive(a.foreign(member(bob, "leave", bob)))
		Expect(list(ctx)).To(BeNil())
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		Expect(db.CrossSigningKeys(ctx, []id.UserID{bob})).To(BeEmpty())
		a.receive(a.foreign(member(bob, "join", bob)))
		Expect(list(ctx)).To(BeNil(), "it is fetched anew")
	})
})

var _ = onEach("Changes of our users' devices", func(db *fixture) {
	// told are the device list updates that wait for bob's server.
	told := func(ctx context.Context) []federation.DeviceListUpdate {
		GinkgoHelper()
		var updates []federation.DeviceListUpdate
		for _, edu := range must(db.Next(ctx, bob.Server(), 50, 100)).EDUs {
			if edu.Type == federation.EDUDeviceListUpdate {
				var u federation.DeviceListUpdate
				Expect(json.Unmarshal(edu.Content, &u)).To(Succeed())
				updates = append(updates, u)
			}
		}
		return updates
	}
	keys := json.RawMessage(`{"device_id":"ONE","signatures":{"@alice:here.example":{"ed25519:ONE":"mine"}}}`)

	It("are told to other servers one after the other, as they are then", func(ctx SpecContext) {
		db.withBob()
		db.loggedIn(ctx, alice, "ONE", "TWO")
		start := db.Position()
		Expect(must(db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "ONE", DeviceKeys: keys}))).To(BeEmpty())
		Expect(db.SaveKeySignatures(ctx, alice, []store.KeySignature{{User: alice, Target: "ONE", KeyID: "ed25519:S", Signature: "sig"}})).To(Succeed())
		Expect(db.RenameDevice(ctx, alice, "ONE", "phone")).To(Succeed())
		Expect(db.RenameDevice(ctx, alice, "ONE", "phone")).To(Succeed(), "which is no change")
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(alice))
		start = db.Position()
		Expect(db.RenameDevice(ctx, alice, "TWO", "without keys")).To(Succeed())
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(alice))
		start = db.Position()
		Expect(db.DeleteDevices(ctx, alice, "TWO")).To(Succeed())
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(alice))
		start = db.Position()
		Expect(db.DeleteDevices(ctx, alice, "ONE")).To(Succeed())
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(alice))

		updates := told(ctx)
		Expect(updates).To(HaveLen(8))
		Expect(updates[0].PrevID).To(BeEmpty())
		for i, u := range updates[1:] {
			Expect(u.PrevID).To(Equal([]int64{updates[i].StreamID}))
		}
		Expect(updates[2].Keys).To(MatchJSON(keys))
		for _, u := range updates[3:5] {
			Expect(string(u.Keys)).To(ContainSubstring(`"ed25519:S":"sig"`))
			Expect(string(u.Keys)).To(ContainSubstring(`"ed25519:ONE":"mine"`))
		}
		Expect(updates[4].DisplayName).To(Equal("phone"))
		Expect(updates[5].Keys).To(BeNil())
		Expect([]bool{updates[5].Deleted, updates[6].Deleted, updates[7].Deleted}).To(Equal([]bool{false, true, true}))
		Expect(db.DeviceStream(ctx, alice)).To(Equal(updates[7].StreamID))
		_, err := db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "ONE", DeviceKeys: keys})
		Expect(err).To(MatchError(store.ErrNotFound))
	})

	It("are told to servers that are met by a join, without keys too", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		Expect(db.AnnounceJoin(ctx, alice, db.withBob().id())).To(Succeed())
		updates := told(ctx)
		Expect(updates).To(HaveLen(1))
		Expect(updates[0]).To(Equal(federation.DeviceListUpdate{UserID: alice, DeviceID: "ONE", StreamID: must(db.DeviceStream(ctx, alice)), PrevID: []int64{}}))
	})

	It("are told to servers that are met by a join", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		must(db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "ONE", DeviceKeys: keys}))
		stream := must(db.DeviceStream(ctx, alice))
		first := db.withBob()
		Expect(db.AnnounceJoin(ctx, alice, first.id())).To(Succeed())
		Expect(told(ctx)).To(HaveLen(1))
		Expect(told(ctx)[0]).To(Equal(federation.DeviceListUpdate{UserID: alice, DeviceID: "ONE", StreamID: stream, PrevID: []int64{}, Keys: keys}))
		second := db.withBob()
		Expect(db.AnnounceJoin(ctx, alice, second.id())).To(Succeed())
		Expect(told(ctx)).To(HaveLen(1), "they have met before")
		m, _, err := db.Membership(ctx, second.id(), alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(db.JoinedAt(ctx, alice, second.id(), m.Position)).To(BeTrue())
		must(second.propose(store.CommitOptions{}, state("m.room.member", string(alice), `{"membership":"join","displayname":"Al"}`, alice)))
		renamed, _, err := db.Membership(ctx, second.id(), alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(db.JoinedAt(ctx, alice, second.id(), renamed.Position)).To(BeFalse())
	})

	It("take signatures with them that are good no more", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE")
		signed := func() []store.KeySignature { return must(db.KeySignatures(ctx, []id.UserID{alice})) }
		upload := func(keys string) {
			GinkgoHelper()
			must(db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "ONE", DeviceKeys: json.RawMessage(keys)}))
		}
		sign := func() {
			GinkgoHelper()
			Expect(db.SaveKeySignatures(ctx, alice, []store.KeySignature{{User: alice, Target: "ONE", KeyID: "ed25519:S", Signature: "sig"}})).To(Succeed())
		}
		cross := func(key string) {
			GinkgoHelper()
			Expect(db.SaveCrossSigningKeys(ctx, alice, []store.CrossSigningKey{{User: alice, Usage: "self_signing", Keys: json.RawMessage(key)}})).To(Succeed())
		}
		upload(string(keys))
		cross(`{"keys":{"ed25519:S":"S"}}`)
		sign()
		upload(`{"device_id":"ONE","signatures":{}}`)
		Expect(signed()).To(HaveLen(1), "the same key")
		upload(`{"device_id":"ONE","keys":{"ed25519:ONE":"another"},"signatures":{}}`)
		Expect(signed()).To(BeEmpty())
		sign()
		cross(`{"keys":{"ed25519:S2":"S2"}}`)
		Expect(signed()).To(BeEmpty())
	})

	It("that nobody else gets are told to the own devices alone", func(ctx SpecContext) {
		db.withBob()
		db.loggedIn(ctx, alice, "ONE")
		key := func(usage string) []store.CrossSigningKey {
			return []store.CrossSigningKey{{User: alice, Usage: usage, Keys: json.RawMessage(`{"keys":{"ed25519:` + usage + `":"` + usage + `"}}`)}}
		}
		start := db.Position()
		Expect(db.SaveCrossSigningKeys(ctx, alice, key("user_signing"))).To(Succeed())
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(alice))
		Expect(db.changes(ctx, bob, start)).To(BeEmpty())
		start = db.Position()
		Expect(db.SaveCrossSigningKeys(ctx, alice, key("user_signing"))).To(Succeed(), "which is no change")
		Expect(db.changes(ctx, alice, start)).To(BeEmpty())
		Expect(db.SaveCrossSigningKeys(ctx, alice, key("master"))).To(Succeed())
		Expect(db.changes(ctx, bob, start)).To(ConsistOf(alice))
	})

	// spec:client-server-api/modules/end_to_end_encryption#key-and-signature-security
	It("never have the name of a device", func(ctx SpecContext) {
		db.withBob()
		db.loggedIn(ctx, alice, "ONE", "TWO")
		key := func(name string) []store.CrossSigningKey {
			return []store.CrossSigningKey{{User: alice, Usage: "master", Keys: json.RawMessage(`{"keys":{"ed25519:` + name + `":"` + name + `"}}`)}}
		}
		Expect(db.SaveCrossSigningKeys(ctx, alice, key("TWO"))).To(MatchError(store.ErrExists))
		Expect(db.SaveCrossSigningKeys(ctx, alice, key("THREE"))).To(Succeed())
		Expect(db.AddDevice(ctx, store.Device{User: alice, ID: "THREE"})).To(MatchError(store.ErrExists))
		Expect(db.Login(ctx, store.Device{User: alice, ID: "THREE"}, store.HashToken("t"))).To(MatchError(store.ErrExists))
		db.loggedIn(ctx, alice, "ONE", "FOUR")
		db.loggedIn(ctx, bob, "THREE")
	})

	It("of trust in others are for the own devices", func(ctx SpecContext) {
		db.withBob()
		db.loggedIn(ctx, alice, "ONE")
		start := db.Position()
		waiting := len(told(ctx))
		Expect(db.SaveKeySignatures(ctx, alice, []store.KeySignature{{User: bob, Target: "M", KeyID: "ed25519:U", Signature: "sig"}})).To(Succeed())
		Expect(db.changes(ctx, alice, start)).To(ConsistOf(bob))
		Expect(db.changes(ctx, dora, start)).To(BeEmpty())
		Expect(told(ctx)).To(HaveLen(waiting))
	})
})

var _ = onEach("Messages to devices", func(db *fixture) {
	request := func(name, device, text string) store.ToDeviceRequest {
		return store.ToDeviceRequest{Seen: store.SeenHash(name), Messages: []store.ToDevice{{User: alice, Device: device, Message: json.RawMessage(text)}}}
	}
	has := func(ctx context.Context, device string) []string {
		GinkgoHelper()
		var texts []string
		for _, m := range must(db.ToDevice(ctx, alice, device, 0, db.Position(), 1000)) {
			texts = append(texts, string(m.Message))
		}
		return texts
	}

	It("are taken once, in order, by the devices there are", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE", "TWO")
		refused, err := db.SaveToDevice(ctx, request("a", "*", "1"), request("b", "ONE", "2"), request("a", "*", "1"), request("c", "THREE", "3"))
		Expect(err).NotTo(HaveOccurred())
		Expect(refused).To(BeEmpty())
		Expect(must(db.SaveToDevice(ctx, request("b", "ONE", "2"), request("d", "TWO", "4")))).To(BeEmpty())
		Expect(has(ctx, "ONE")).To(Equal([]string{"1", "2"}))
		Expect(has(ctx, "TWO")).To(Equal([]string{"1", "4"}))
		Expect(has(ctx, "THREE")).To(BeEmpty())
		Expect(db.ToDeviceTaken(ctx, alice, "ONE", db.Position())).To(Succeed())
		Expect(has(ctx, "ONE")).To(BeEmpty())
		Expect(db.DeleteDevices(ctx, alice, "TWO")).To(Succeed())
		db.loggedIn(ctx, alice, "TWO")
		Expect(has(ctx, "TWO")).To(BeEmpty())
		// What was taken is known for two weeks.
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		must(db.SaveToDevice(ctx, request("b", "ONE", "2")))
		Expect(has(ctx, "ONE")).To(BeEmpty())
		Expect(db.Clean(ctx, time.Now().AddDate(0, 0, 15))).To(Succeed())
		must(db.SaveToDevice(ctx, request("b", "ONE", "2")))
		Expect(has(ctx, "ONE")).To(HaveLen(1))
	})

	It("are refused where one would become too many, and take nothing from the others", func(ctx SpecContext) {
		db.loggedIn(ctx, alice, "ONE", "TWO")
		large := request("large", "*", fmt.Sprintf("%q", make([]byte, 17<<20)))
		Expect(db.SaveToDevice(ctx, request("a", "*", "1"), large, request("b", "TWO", "2"))).To(Equal([]int{1}))
		Expect(has(ctx, "TWO")).To(Equal([]string{"1", "2"}))
		ours, theirs := request("ours", "*", fmt.Sprintf("%q", make([]byte, 3<<20/4))), request("theirs", "*", fmt.Sprintf("%q", make([]byte, 3<<20/4)))
		theirs.Messages[0].Sender = bob
		Expect(db.SaveToDevice(ctx, ours, theirs, request("c", "TWO", "3"))).To(Equal([]int{1}), "a transaction has a hundred of another server")
	})

	It("wait for a device up to a bound: a flood takes the place of its own, neither that of other servers nor that of users of ours", func(ctx SpecContext) {
		const weight = 63<<10 + 512 // as the bound counts it
		db.loggedIn(ctx, alice, "ONE", "TWO")
		sent := 0
		send := func(sender id.UserID, stranger bool, device string, count, bytes int) {
			GinkgoHelper()
			var requests []store.ToDeviceRequest
			for range count {
				sent++
				text := fmt.Sprintf("%s %d", sender, sent)
				request := request(text, device, text+strings.Repeat(" ", bytes-len(text)))
				request.Messages[0].Sender, request.Messages[0].Stranger = sender, stranger
				requests = append(requests, request)
			}
			Expect(must(db.SaveToDevice(ctx, requests...))).To(BeEmpty())
		}
		waits := func(device string) (numbers map[string][]int) {
			GinkgoHelper()
			numbers = map[string][]int{}
			for _, m := range must(db.ToDevice(ctx, alice, device, 0, db.Position(), 10_000)) {
				sender, number, _ := strings.Cut(strings.TrimRight(string(m.Message), " "), " ")
				numbers[sender] = append(numbers[sender], must(strconv.Atoi(number)))
			}
			return numbers
		}
		count := func(device string) map[string]int {
			GinkgoHelper()
			counts := map[string]int{}
			for sender, numbers := range waits(device) {
				counts[sender] = len(numbers)
			}
			return counts
		}
		const bound, strangers = 32 << 20 / weight, 1 << 20 / weight
		// Those of strangers: who floods has the place that others leave, and no more.
		send("@honest:one.test", true, "ONE", 2, 63<<10)
		for range 10 {
			send("@flood:two.test", true, "ONE", 5, 63<<10)
		}
		Expect(waits("ONE")["@honest:one.test"]).To(Equal([]int{1, 2}))
		Expect(count("ONE")["@flood:two.test"]).To(And(BeNumerically(">", strangers/2), BeNumerically("<=", strangers-2)))
		Expect(waits("ONE")["@flood:two.test"][:5]).To(Equal([]int{3, 4, 5, 6, 7}), "the newest go")
		send("@late:three.test", true, "ONE", 3, 63<<10)
		Expect(count("ONE")).To(HaveKeyWithValue("@late:three.test", 3))

		// They take nothing from others, nor do those of two users of a server from each other and from another server.
		const large = 63 << 10
		send("@bob:other.test", false, "*", 20, large)
		send("", false, "ONE", 3, large)
		before := db.Position()
		send("@neighbour:flood.test", false, "ONE", 10, large)
		for range 3 {
			send("@flood:flood.test", false, "ONE", bound/2, large)
			db.stop()
			db.start()
		}
		got := count("ONE")
		Expect(got).To(And(HaveKeyWithValue("@bob:other.test", 20), HaveKeyWithValue("@neighbour:flood.test", 10), HaveKeyWithValue("", 3),
			HaveKeyWithValue("@honest:one.test", 2), HaveKeyWithValue("@late:three.test", 3)))
		Expect(got["@flood:flood.test"]).To(And(BeNumerically(">", bound/2), BeNumerically("<=", bound-30)))
		Expect(count("TWO")).To(Equal(map[string]int{"@bob:other.test": 20}))

		// What is taken makes room.
		Expect(db.ToDeviceTaken(ctx, alice, "ONE", before)).To(Succeed())
		left := count("ONE")["@flood:flood.test"]
		send("@bob:other.test", false, "ONE", 5, large)
		Expect(db.ToDeviceTaken(ctx, alice, "ONE", db.Position())).To(Succeed())
		send("@flood:flood.test", false, "ONE", left, large)
		Expect(count("ONE")).To(Equal(map[string]int{"@flood:flood.test": left}))
	})

	It("of a server that shares no room are no megabytes at once, however many devices there are", func(ctx SpecContext) {
		for i := range 40 {
			db.loggedIn(ctx, alice, fmt.Sprint("D", i))
		}
		all := request("all", "*", strings.Repeat(" ", 60<<10))
		all.Messages = append(all.Messages, store.ToDevice{User: alice, Device: "D1", Message: json.RawMessage("1"), Sender: "@honest:one.test"})
		all.Messages[0].Sender, all.Messages[0].Stranger = "@flood:two.test", true
		Expect(db.SaveToDevice(ctx, all)).To(BeEmpty())
		Expect(has(ctx, "D0")).To(BeEmpty())
		Expect(has(ctx, "D1")).To(Equal([]string{"1"}))
	})

	It("are of strangers where the server is in no room to which the user is joined or invited", func(ctx SpecContext) {
		strangers := func() map[id.UserID]bool {
			GinkgoHelper()
			return must(db.Strangers(ctx, bob.Server(), []id.UserID{alice, dora}))
		}
		Expect(strangers()).To(Equal(map[id.UserID]bool{alice: true, dora: true}))
		a := db.withBob()
		Expect(strangers()).To(Equal(map[id.UserID]bool{dora: true}))
		a.receive(a.foreign(member(bob, "leave", bob)))
		Expect(strangers()).To(Equal(map[id.UserID]bool{alice: true, dora: true}))
	})

	It("are several on a page of the database", func(ctx SpecContext) {
		if db.dialect.Name != "SQLite" {
			Skip("PostgreSQL has no keyed tables")
		}
		db.loggedIn(ctx, alice, "PHONE")
		pages := func() (count int) {
			Expect(beside(ctx, db.dialect).QueryRowContext(ctx, "PRAGMA page_count").Scan(&count)).To(Succeed())
			return count
		}
		before := pages()
		request := store.ToDeviceRequest{Seen: store.SeenHash("1")}
		for range 300 {
			request.Messages = append(request.Messages, store.ToDevice{User: alice, Device: "PHONE", Message: json.RawMessage(`{"content":"` + strings.Repeat("x", 1200) + `"}`)})
		}
		Expect(must(db.SaveToDevice(ctx, request))).To(BeEmpty())
		Expect(pages() - before).To(BeNumerically("<", 150))
	})
})

var _ = onEach("What must not be dropped for a server", func(db *fixture) {
	It("waits, in order, however far behind the server is", func(ctx SpecContext) {
		const edus = 21_000 // more than the log keeps
		var queued []store.QueuedEDU
		for n := range edus {
			queued = append(queued, store.QueuedEDU{
				Type: federation.EDUDirectToDevice, Content: json.RawMessage(fmt.Sprint(n)), Destinations: []id.ServerName{bob.Server()}, Keep: true,
			})
		}
		for len(queued) > 0 {
			Expect(db.QueueEDUs(ctx, queued[:500]...)).To(Succeed())
			queued = queued[500:]
		}
		Expect(db.Stats().Outbox).To(BeNumerically("<", edus))
		db.restart()
		for n := 0; n < edus; {
			batch := must(db.Next(ctx, bob.Server(), 50, 100))
			Expect(batch.EDUs).NotTo(BeEmpty())
			for _, edu := range batch.EDUs {
				Expect(string(edu.Content)).To(Equal(fmt.Sprint(n)))
				n++
			}
			Expect(db.Done(ctx, bob.Server(), batch)).To(Succeed())
		}
		Expect(must(db.Next(ctx, bob.Server(), 50, 100)).Empty()).To(BeTrue())
	})

	It("is the newest of each subject, for one that is gone", func(ctx SpecContext) {
		queue := func(count int, subject string) {
			GinkgoHelper()
			for from := 0; from < count; from += 500 {
				var queued []store.QueuedEDU
				for n := range min(500, count-from) {
					queued = append(queued, store.QueuedEDU{
						Type: "t", Content: json.RawMessage(fmt.Sprintf(`"%s%d"`, subject, from+n)), Destinations: []id.ServerName{bob.Server()}, Keep: true, Subject: subject,
					})
				}
				Expect(db.QueueEDUs(ctx, queued...)).To(Succeed())
			}
		}
		queue(1, "")
		for range 2 {
			queue(10, "a")
			queue(20_000, "b")
		}
		db.restart()
		var waiting []string
		for {
			batch := must(db.Next(ctx, bob.Server(), 50, 100))
			if batch.Empty() {
				break
			}
			for _, edu := range batch.EDUs {
				waiting = append(waiting, string(edu.Content))
			}
			Expect(db.Done(ctx, bob.Server(), batch)).To(Succeed())
		}
		Expect(len(waiting)).To(BeNumerically("<", 20_000))
		Expect(waiting[:2]).To(Equal([]string{`"0"`, `"a9"`}))
		Expect(waiting[len(waiting)-1]).To(Equal(`"b19999"`))
	})
})

var _ = onEach("backups of room keys", func(s *fixture) {
	keys := func(room string, n int) []store.BackedUp {
		all := make([]store.BackedUp, n)
		for i := range all {
			all[i] = store.BackedUp{Room: room, Session: fmt.Sprintf("s%03d", i), Data: json.RawMessage(`{"is":"a key"}`)}
		}
		return all
	}
	always := func(json.RawMessage, json.RawMessage) bool { return true }

	It("know how many keys they have, and give them in their order", func(ctx context.Context) {
		version := must(s.NewKeyBackup(ctx, alice, "a", json.RawMessage(`{}`)))
		count := func() int {
			backup, _, err := s.KeyBackup(ctx, alice, version)
			Expect(err).NotTo(HaveOccurred())
			return backup.Count
		}
		Expect(s.BackUp(ctx, alice, version, keys("!b", 250), always)).To(Succeed())
		Expect(s.BackUp(ctx, alice, version, keys("!a", 3), always)).To(Succeed())
		Expect(s.BackUp(ctx, alice, version, keys("!a", 5), always)).To(Succeed())
		Expect(count()).To(Equal(255))
		var all, ofRoom []store.BackedUp
		Expect(s.EachBackedUp(ctx, alice, version, "", func(k store.BackedUp) error { all = append(all, k); return nil })).To(Succeed())
		Expect(all).To(Equal(append(keys("!a", 5), keys("!b", 250)...)))
		Expect(s.EachBackedUp(ctx, alice, version, "!b", func(k store.BackedUp) error { ofRoom = append(ofRoom, k); return nil })).To(Succeed())
		Expect(ofRoom).To(Equal(keys("!b", 250)))
		Expect(s.DeleteBackedUp(ctx, alice, version, "!a", "s001")).To(Succeed())
		Expect(s.DeleteBackedUp(ctx, alice, version, "!b", "")).To(Succeed())
		Expect(count()).To(Equal(4))
		Expect(s.DeleteBackedUp(ctx, alice, version, "", "")).To(Succeed())
		Expect(count()).To(BeZero())
	})

	It("are bounded, in number and in bytes", func(ctx context.Context) {
		version := must(s.NewKeyBackup(ctx, alice, "a", json.RawMessage(`{}`)))
		Expect(s.BackUp(ctx, alice, version, keys("!a", 10), always)).To(Succeed())
		Expect(s.HaveKeyBackups(ctx, alice, 0, store.MaxKeyBackupWeight-200)).To(Succeed())
		Expect(s.BackUp(ctx, alice, version, keys("!b", 10), always)).To(MatchError(store.ErrFull))
		Expect(s.BackUp(ctx, alice, version, keys("!a", 10), always)).To(Succeed(), "they are no more")
		Expect(s.BackUp(ctx, bob, must(s.NewKeyBackup(ctx, bob, "a", json.RawMessage(`{}`))), keys("!b", 10), always)).To(Succeed())
		newer := must(s.NewKeyBackup(ctx, alice, "a", json.RawMessage(`{}`)))
		Expect(s.BackUp(ctx, alice, newer, keys("!b", 10), always)).To(MatchError(store.ErrFull), "all versions count")
		Expect(s.DeleteKeyBackup(ctx, alice, version)).To(Succeed())
		Expect(s.BackUp(ctx, alice, newer, keys("!b", 10), always)).To(Succeed())
		Expect(s.HaveKeyBackups(ctx, alice, store.MaxKeyBackups-1, 0)).To(Succeed())
		_, err := s.NewKeyBackup(ctx, alice, "a", json.RawMessage(`{}`))
		Expect(err).To(MatchError(store.ErrFull))
	})

	It("leave nothing behind but their number", func(ctx context.Context) {
		for version := int64(1); version < 5; version++ {
			Expect(s.NewKeyBackup(ctx, alice, "a", json.RawMessage(`{}`))).To(Equal(version))
			Expect(s.DeleteKeyBackup(ctx, alice, version)).To(Succeed())
			Expect(s.DeleteKeyBackup(ctx, alice, 1)).To(Succeed(), "it was deleted before")
			Expect(s.DeleteKeyBackup(ctx, alice, version+1)).To(MatchError(store.ErrNotFound))
			Expect(s.DeleteKeyBackup(ctx, alice, 0)).To(MatchError(store.ErrNotFound))
			Expect(s.KeyBackupRows(ctx, alice)).To(Equal(1))
		}
	})
})
