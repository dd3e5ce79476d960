package store_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/store"
)

// strange is a text that clients may choose: databases differ about such.
const strange = "a\x00b'\"\\ ü 🜚"

var _ = onEach("Accounts", func(db *fixture) {
	now := time.Now().Truncate(time.Millisecond)

	It("are made once", func(ctx SpecContext) {
		user := store.User{ID: alice, PasswordHash: "hash", Admin: true, Created: now}
		Expect(db.CreateUser(ctx, user)).To(Succeed())
		Expect(db.CreateUser(ctx, user)).To(MatchError(store.ErrExists))
		got, found, err := db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(got).To(Equal(user))
		Expect(db.SetPassword(ctx, alice, "other")).To(Succeed())
		got, _, err = db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(got.PasswordHash).To(Equal("other"))
		Expect(db.SetPassword(ctx, dora, "x")).To(MatchError(store.ErrNotFound))
		Expect(must(db.Users(ctx, "", 10))).To(HaveLen(1))
		Expect(must(db.Users(ctx, alice, 10))).To(BeEmpty())
	})

	It("have devices with a token each", func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Admin: true, Created: now})).To(Succeed())
		one, two := store.HashToken("one"), store.HashToken("two")
		device := store.Device{User: alice, ID: strange, DisplayName: "phone", Created: now}
		Expect(db.Login(ctx, device, one)).To(Succeed())
		access, found, err := db.Access(ctx, one)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(access).To(Equal(store.Access{User: alice, Device: strange, Admin: true}))
		Expect(db.Login(ctx, store.Device{User: alice, ID: strange, Created: now}, two)).To(Succeed())
		_, found, err = db.Access(ctx, one)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		device.LastSeen, device.LastSeenIP, device.UserAgent = now, "::1", "test"
		Expect(db.SeenDevices(ctx, []store.Device{device, {User: dora, ID: "none"}})).To(Succeed())
		got, found, err := db.Device(ctx, alice, strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(got).To(Equal(device))
		Expect(db.CreateUser(ctx, store.User{ID: dora, Created: now})).To(Succeed())
		earlier := store.Device{User: dora, ID: "E", Created: now, LastSeen: now.Add(-time.Minute)}
		Expect(db.Login(ctx, earlier, store.HashToken("earlier"))).To(Succeed())
		Expect(db.Login(ctx, store.Device{User: dora, ID: "never", Created: now}, store.HashToken("never"))).To(Succeed())
		Expect(db.SeenLast(ctx, time.Minute-time.Second)).To(Equal([]id.UserID{alice}))
		Expect(db.SeenLast(ctx, time.Minute)).To(ConsistOf(alice, dora))
		Expect(db.RenameDevice(ctx, alice, strange, strange)).To(Succeed())
		Expect(db.RenameDevice(ctx, alice, "none", "x")).To(MatchError(store.ErrNotFound))
		for _, d := range []string{"A", "B", "C"} {
			Expect(db.Login(ctx, store.Device{User: alice, ID: d, Created: now}, store.HashToken(d))).To(Succeed())
		}
		Expect(db.DeleteDevices(ctx, alice, "A", "none")).To(Succeed())
		Expect(must(db.Devices(ctx, alice))).To(HaveLen(3))
		Expect(db.DeleteOtherDevices(ctx, alice, "B")).To(Succeed())
		Expect(must(db.Devices(ctx, alice))).To(HaveLen(1))
		Expect(must(db.DeviceCount(ctx, alice))).To(Equal(1))
		Expect(must(db.DeviceCounts(ctx, alice, bob))).To(Equal(map[id.UserID]int{alice: 1}))
		_, found, err = db.Access(ctx, two)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("are locked and suspended since a time, also after a restart", func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: now})).To(Succeed())
		Expect(db.CreateUser(ctx, store.User{ID: dora, Created: now})).To(Succeed())
		Expect(db.SetLocked(ctx, alice, now)).To(Succeed())
		Expect(db.SetSuspended(ctx, alice, now.Add(time.Second))).To(Succeed())
		Expect(db.SetSuspended(ctx, dora, now)).To(Succeed())
		Expect(db.SetLocked(ctx, "@nobody:x", now)).To(MatchError(store.ErrNotFound))
		for range 2 {
			got, _, err := db.User(ctx, alice)
			Expect(err).NotTo(HaveOccurred())
			Expect([]time.Time{got.Locked, got.Suspended}).To(Equal([]time.Time{now, now.Add(time.Second)}))
			Expect(db.Restrictions(alice)).To(Equal(store.Restrictions{Locked: true, Suspended: true}))
			Expect(db.Restrictions(dora)).To(Equal(store.Restrictions{Suspended: true}))
			Expect(db.Restrictions("@nobody:x")).To(BeZero())
			db.restart()
		}
		Expect(db.SetLocked(ctx, alice, time.Time{})).To(Succeed())
		Expect(db.SetSuspended(ctx, dora, time.Time{})).To(Succeed())
		db.restart()
		Expect(db.Restrictions(alice)).To(Equal(store.Restrictions{Suspended: true}))
		Expect(db.Restrictions(dora)).To(BeZero())
	})

	It("are guests, also after a restart, until they have a password", func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Guest: true, Created: now})).To(Succeed())
		Expect(db.CreateUser(ctx, store.User{ID: dora, Created: now})).To(Succeed())
		Expect(db.CreateUser(ctx, store.User{ID: dora, Guest: true, Created: now})).To(MatchError(store.ErrExists))
		for range 2 {
			Expect(db.Restrictions(alice)).To(Equal(store.Restrictions{Guest: true}))
			Expect(db.Restrictions(dora)).To(BeZero())
			Expect(db.Guests()).To(Equal([]id.UserID{alice}))
			db.restart()
		}
		Expect(db.UpgradeGuest(ctx, dora, "hash", "", time.UnixMilli(1))).To(MatchError(store.ErrNotFound))
		Expect(db.UpgradeGuest(ctx, alice, "hash", "", time.UnixMilli(1))).To(Succeed())
		Expect(db.UpgradeGuest(ctx, alice, "another", "", time.UnixMilli(1))).To(MatchError(store.ErrNotFound))
		got, _, err := db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(got).To(Equal(store.User{ID: alice, PasswordHash: "hash", Created: now}))
		Expect(db.Restrictions(alice)).To(BeZero())
		Expect(db.Guests()).To(BeEmpty())
	})

	It("are guests until they are deactivated, for which those are told who weren't used for long", func(ctx SpecContext) {
		for user, made := range map[id.UserID]time.Time{alice: now, dora: now.Add(time.Hour), "@idle:hanse.test": now} {
			Expect(db.CreateUser(ctx, store.User{ID: user, Guest: true, Created: made})).To(Succeed())
			Expect(db.Login(ctx, store.Device{User: user, ID: "A", Created: made}, store.HashToken(string(user)))).To(Succeed())
		}
		Expect(db.CreateUser(ctx, store.User{ID: "@user:hanse.test", Created: now})).To(Succeed())
		Expect(db.SeenDevices(ctx, []store.Device{{User: alice, ID: "A", LastSeen: now.Add(time.Hour)}})).To(Succeed())
		Expect(must(db.UnusedGuests(ctx, now))).To(BeEmpty())
		Expect(must(db.UnusedGuests(ctx, now.Add(time.Hour)))).To(Equal([]id.UserID{"@idle:hanse.test"}))
		Expect(must(db.UnusedGuests(ctx, now.Add(2*time.Hour)))).To(ConsistOf(alice, dora, id.UserID("@idle:hanse.test")))
		Expect(db.DeactivateGuest(ctx, "@user:hanse.test")).To(MatchError(store.ErrNotFound))
		Expect(db.UpgradeGuest(ctx, dora, "hash", "", time.UnixMilli(1))).To(Succeed())
		Expect(db.DeactivateGuest(ctx, dora)).To(MatchError(store.ErrNotFound))
		Expect(db.DeactivateGuest(ctx, alice)).To(Succeed())
		Expect(db.Deactivate(ctx, "@idle:hanse.test", false)).To(Succeed())
		for range 2 {
			Expect(db.Guests()).To(BeEmpty())
			Expect(must(db.UnusedGuests(ctx, now.Add(2*time.Hour)))).To(BeEmpty())
			db.restart()
		}
		got, _, err := db.User(ctx, dora)
		Expect(err).NotTo(HaveOccurred())
		Expect([]any{got.Deactivated, got.PasswordHash}).To(Equal([]any{false, "hash"}))
	})

	It("lose all but their name when deactivated", func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, PasswordHash: "x", Created: now})).To(Succeed())
		Expect(db.Login(ctx, store.Device{User: alice, ID: "A", Created: now}, store.HashToken("t"))).To(Succeed())
		Expect(db.SetProfileField(ctx, alice, "displayname", []byte(`"A"`))).To(Succeed())
		must(db.UploadKeys(ctx, store.KeyUpload{User: alice, Device: "A", DeviceKeys: []byte(`{"algorithms":[]}`)}))
		must(db.SetPusher(ctx, store.Pusher{User: alice, AppID: "a", PushKey: "k", Device: "A", Data: []byte(`{}`)}, false))
		Expect(db.Deactivate(ctx, alice, false)).To(Succeed())
		Expect(must(db.DeviceKeys(ctx, []id.UserID{alice}))).To(BeEmpty(), "nobody encrypts for it any more")
		Expect(must(db.Pushers(ctx, alice))).To(BeEmpty())
		_, erased := db.Erased(alice)
		Expect(erased).To(BeFalse())
		before := db.Position()
		Expect(db.Deactivate(ctx, alice, true)).To(Succeed())
		at, erased := db.Erased(alice)
		Expect(erased).To(BeTrue())
		Expect(at).To(BeNumerically(">", before))
		Expect(db.Deactivate(ctx, alice, true)).To(Succeed())
		again, _ := db.Erased(alice)
		Expect(again).To(Equal(at), "who came since then still doesn't see what was said before")
		got, found, err := db.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect([]any{found, got.Deactivated, got.PasswordHash}).To(Equal([]any{true, true, ""}))
		_, found, err = db.Access(ctx, store.HashToken("t"))
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(must(db.Profile(ctx, alice))).To(BeEmpty())
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: now})).To(MatchError(store.ErrExists))
	})

	It("have a profile", func(ctx SpecContext) {
		Expect(db.SetProfileField(ctx, alice, "displayname", []byte(`"A"`))).To(Succeed())
		Expect(db.SetProfileField(ctx, alice, strange, []byte(`{}`))).To(Succeed())
		Expect(db.SetProfileField(ctx, alice, "displayname", []byte(`"B"`))).To(Succeed())
		Expect(must(db.Profile(ctx, alice))).To(Equal(map[string]json.RawMessage{"displayname": []byte(`"B"`), strange: []byte(`{}`)}))
		Expect(db.SetProfileField(ctx, alice, strange, nil)).To(Succeed())
		Expect(must(db.Profile(ctx, alice))).To(HaveLen(1))
	})

	It("have account data, changed one after the other", func(ctx SpecContext) {
		first := must(db.SetAccountData(ctx, alice, "", strange, []byte(`{"a":1}`)))
		second := must(db.SetAccountData(ctx, alice, "!r:x", "m.tag", []byte(`{}`)))
		Expect(must(db.AccountDataChanges(ctx, alice, 0, second))).To(Equal([]store.AccountData{
			{Type: strange, Content: []byte(`{"a":1}`), Position: first},
			{Room: "!r:x", Type: "m.tag", Content: []byte(`{}`), Position: second},
		}))
		third := must(db.UpdateAccountData(ctx, alice, "", strange, func(old json.RawMessage) (json.RawMessage, error) {
			Expect(string(old)).To(Equal(`{"a":1}`))
			return nil, nil
		}))
		_, found, err := db.AccountData(ctx, alice, "", strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(must(db.AccountDataChanges(ctx, alice, second, third))).To(Equal([]store.AccountData{{Type: strange, Content: []byte(`{}`), Position: third}}))
		Expect(must(db.AccountDataChanges(ctx, alice, 0, third))).To(HaveLen(1))
		_, err = db.UpdateAccountData(ctx, alice, "", "t", func(old json.RawMessage) (json.RawMessage, error) {
			Expect(old).To(BeNil())
			return nil, store.ErrNotFound
		})
		Expect(err).To(MatchError(store.ErrNotFound))
	})

	It("have filters, the same ones once", func(ctx SpecContext) {
		one := must(db.SaveFilter(ctx, alice, []byte(`{"a":1}`)))
		Expect(must(db.SaveFilter(ctx, alice, []byte(`{"a":1}`)))).To(Equal(one))
		Expect(must(db.SaveFilter(ctx, alice, []byte(`{"a":2}`)))).NotTo(Equal(one))
		got, found, err := db.Filter(ctx, alice, one)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(string(got)).To(Equal(`{"a":1}`))
		for _, other := range []string{"x", "999999"} {
			_, found, err = db.Filter(ctx, alice, other)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeFalse())
		}
		_, found, err = db.Filter(ctx, dora, one)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("have receipts", func(ctx SpecContext) {
		a := must(create(db.Store, roomversion.V10))
		since := db.Position()
		receipt := store.Receipt{Room: a.id(), Type: "m.read", User: alice, Event: "$one", Thread: strange, TS: 5}
		must(db.SaveReceipts(ctx, []store.Receipt{receipt, {Room: a.id(), Type: "m.read.private", User: alice, Event: "$one"}}))
		receipt.Event = "$two"
		at := must(db.SaveReceipts(ctx, []store.Receipt{receipt}))
		receipt.Position = at
		got := must(db.Receipts(ctx, a.id(), since, db.Position()))
		Expect(got).To(HaveLen(2))
		Expect(got[1]).To(Equal(receipt))
		Expect(must(db.UserReceipts(ctx, a.id(), alice))).To(Equal(got))
		Expect(must(db.UserReceipts(ctx, a.id(), dora))).To(BeEmpty())
		must(db.SaveReceipts(ctx, []store.Receipt{{Room: a.id(), Type: "m.read", User: bob, Event: "$one"}}))
		Expect(must(db.OwnReceipts(ctx, "m.read", since, 10))).To(Equal([]store.Receipt{receipt}), "bob is another server's")
		Expect(must(db.OwnReceipts(ctx, "m.read", at, 10))).To(BeEmpty())
		receipt.Room = "!x:y"
		_, err := db.SaveReceipts(ctx, []store.Receipt{receipt})
		Expect(err).To(MatchError(store.ErrNotFound))
	})
})

var _ = onEach("The directory", func(db *fixture) {
	It("has aliases", func(ctx SpecContext) {
		alias := store.Alias{Alias: "#a:here.example", RoomID: "!r:x", Creator: alice}
		Expect(db.CreateAlias(ctx, alias)).To(Succeed())
		Expect(db.CreateAlias(ctx, alias)).To(MatchError(store.ErrExists))
		got, found, err := db.Alias(ctx, alias.Alias)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(got).To(Equal(alias))
		Expect(must(db.Aliases(ctx, "!r:x"))).To(Equal([]store.Alias{alias}))
		Expect(db.MoveAliases(ctx, "!r:x", "!new:x")).To(Succeed())
		Expect(must(db.Aliases(ctx, "!r:x"))).To(BeEmpty())
		alias.RoomID = "!new:x"
		Expect(must(db.Aliases(ctx, "!new:x"))).To(Equal([]store.Alias{alias}))
		Expect(db.DeleteAlias(ctx, alias.Alias)).To(Succeed())
		Expect(db.DeleteAlias(ctx, alias.Alias)).To(MatchError(store.ErrNotFound))
		Expect(db.Publish(ctx, "!r:x", true)).To(MatchError(store.ErrNotFound))
	})
})

var _ = onEach("What other servers said", func(db *fixture) {
	It("is answered once", func(ctx SpecContext) {
		_, found, err := db.Transaction(ctx, there, strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(db.SaveTransaction(ctx, there, strange, []byte(`{"pdus":{}}`))).To(Succeed())
		Expect(db.SaveTransaction(ctx, there, strange, []byte(`{"pdus":{}}`))).To(Succeed())
		got, found, err := db.Transaction(ctx, there, strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(string(got)).To(Equal(`{"pdus":{}}`))
		Expect(db.Clean(ctx, time.Now())).To(Succeed())
		_, found, err = db.Transaction(ctx, there, strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(db.Clean(ctx, time.Now().Add(72*time.Hour))).To(Succeed())
		_, found, err = db.Transaction(ctx, there, strange)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})

	It("about their keys is kept, as it was saved last", func(ctx SpecContext) {
		var _ keys.Store = db.Store
		file := must(keys.LoadOrCreate(filepath.Join(GinkgoT().TempDir(), "key")))
		document := func(server id.ServerName, fetched int64) keys.ServerKeys {
			k := must(keys.ParseServerKeys(must(file.ServerKeys(server, time.UnixMilli(fetched+1)))))
			k.FetchedTS = fetched
			return k
		}
		first, second, third, other := document(there, 1), document(there, 2), document(there, 3), document(elsewhere, 2)
		for _, all := range [][]keys.ServerKeys{{first}, {second}, {third, second, first}, {third, first}, {third}} {
			Expect(db.SaveKeys(ctx, append([]keys.ServerKeys{other}, all...))).To(Succeed())
			found := must(db.Keys(ctx, []id.ServerName{elsewhere, there}))
			Expect(found).To(ContainElement(other))
			Expect(slices.DeleteFunc(found, func(k keys.ServerKeys) bool { return k.ServerName == elsewhere })).To(Equal(all))
		}
		Expect(db.SaveKeys(ctx, []keys.ServerKeys{second})).To(Succeed())
		Expect(must(db.Keys(ctx, []id.ServerName{elsewhere, there}))).To(ConsistOf(other, second), "only of the same server")
		release, saved := db.HoldWriter(), make(chan error, 2)
		for i, all := range [][]keys.ServerKeys{{third, first}, {third}} {
			go func() { saved <- db.SaveKeys(ctx, all) }()
			Eventually(ctx, db.Queued).Should(Equal(i + 1))
		}
		release()
		Expect([]error{<-saved, <-saved}).To(HaveEach(BeNil()))
		Expect(must(db.Keys(ctx, []id.ServerName{there}))).To(ConsistOf(third), "of two in one transaction the later counts")
		Expect(db.SaveKeys(ctx, []keys.ServerKeys{{ServerName: there, Raw: []byte("{}")}})).To(Succeed())
		Expect(must(db.Keys(ctx, []id.ServerName{elsewhere, there}))).To(ConsistOf(other), "what can't be read doesn't keep the others from being read")
		_, _, used, err := db.OwnKeyUsed(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(used).To(BeFalse())
		Expect(db.SetOwnKeyUsed(ctx, "ed25519:a", must(keys.Generate()).Public())).To(Succeed())
		Expect(db.SetOwnKeyUsed(ctx, "ed25519:b", file.Current.Public())).To(Succeed())
		key, public, used, err := db.OwnKeyUsed(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(used).To(BeTrue())
		Expect(key).To(Equal(id.KeyID("ed25519:b")))
		Expect(public).To(Equal(file.Current.Public()))
	})
})
