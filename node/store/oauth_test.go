package store_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
)

var _ = onEach("the OAuth 2.0 API", func(db *fixture) {
	start := time.UnixMilli(1_700_000_000_000)
	BeforeEach(func(ctx SpecContext) {
		Expect(db.CreateUser(ctx, store.User{ID: alice, Created: start})).To(Succeed())
	})
	hash := func(text string) store.TokenHash { return store.HashToken(text) }
	// grant logs a device in by a code.
	grant := func(ctx SpecContext, client, device, code string) store.OAuthGrant {
		GinkgoHelper()
		Expect(db.AddOAuthCode(ctx, store.OAuthCode{Hash: hash(code), Client: client, Device: device, User: alice, Decision: store.OAuthAllowed,
			Expires: start.Add(time.Minute)}, start, 100)).To(Succeed())
		g := store.OAuthGrant{User: alice, Device: device, Client: client, Scope: "all", Family: hash("family of " + device), Code: hash(code)}
		Expect(db.Login(ctx, store.Device{User: alice, ID: device}, hash("access of "+device), store.ByOAuthCode(g), store.Refreshing(
			store.Refreshable{Access: hash("access of " + device), Refresh: hash("refresh of " + device), Expires: start}))).To(Succeed())
		return g
	}

	It("keeps clients that are logged in, and no others for good", func(ctx SpecContext) {
		add := func(clientID string, at time.Time) error {
			return db.SetOAuthClient(ctx, clientID, []byte("I am "+clientID), at, at.Add(-time.Hour), 10)
		}
		known := func(clientID string) bool {
			GinkgoHelper()
			metadata, known, err := db.OAuthClient(ctx, clientID)
			Expect(err).NotTo(HaveOccurred())
			if known {
				Expect(string(metadata)).To(Equal("I am " + clientID))
			}
			return known
		}
		Expect(add("used", start)).To(Succeed())
		Expect(add("unused", start)).To(Succeed())
		grant(ctx, "used", "D", "code")
		Expect(add("again", start)).To(Succeed())
		Expect(add("again", start.Add(time.Hour))).To(Succeed(), "it begins anew")
		Expect(add("other", start.Add(time.Hour+time.Second))).To(Succeed())
		Expect(known("used")).To(BeTrue())
		Expect(known("unused")).To(BeFalse())
		Expect(known("again")).To(BeTrue())

		for i := range 20 {
			Expect(add(fmt.Sprint("flood", i), start.Add(time.Hour+time.Duration(i+2)*time.Second))).To(Succeed())
		}
		Expect(known("used")).To(BeTrue())
		Expect(known("other")).To(BeFalse())
		Expect(known("flood19")).To(BeTrue())
	})

	It("refuses clients when all that there may be are logged in", func(ctx SpecContext) {
		Expect(db.SetOAuthClient(ctx, "one", []byte("{}"), start, start, 1)).To(Succeed())
		grant(ctx, "one", "D", "code")
		Expect(db.SetOAuthClient(ctx, "two", []byte("{}"), start, start, 1)).To(MatchError(store.ErrFull))
		Expect(db.SetOAuthClient(ctx, "one", []byte("{}"), start, start, 1)).To(Succeed())
	})

	It("gives a code's first use to one alone, and bounds codes", func(ctx SpecContext) {
		code := store.OAuthCode{Hash: hash("code"), Client: "c", Device: "D", Scope: "all", Redirect: "https://x", Challenge: "chall", User: alice,
			Account: hash("password"), Decision: store.OAuthAllowed, Expires: start.Add(time.Minute)}
		Expect(db.AddOAuthCode(ctx, code, start, 1)).To(Succeed())
		for i := range 5 { // anybody asks for those of devices
			Expect(db.AddOAuthCode(ctx, store.OAuthCode{Hash: hash(fmt.Sprint("flood", i)), UserCode: fmt.Sprint("FLOOD", i), Expires: start.Add(time.Duration(i) * time.Second)}, start, 3)).To(Succeed())
		}
		for i, there := range []bool{false, false, true, true, true} {
			_, found, err := db.OAuthCodeTyped(ctx, fmt.Sprint("FLOOD", i))
			Expect(found, err).To(Equal(there), "the newest stay")
		}
		login := func(device string) error {
			return db.Login(ctx, store.Device{User: alice, ID: device}, hash(device), store.ByOAuthCode(store.OAuthGrant{User: alice, Device: device, Code: hash("code")}))
		}
		Expect(login("D")).To(Succeed())
		Expect(login("E")).To(MatchError(store.ErrNotFound), "somebody else has it too")
		_, there, err := db.Device(ctx, alice, "E")
		Expect(there, err).To(BeFalse())
		for _, code.Uses = range []int64{1, 2} {
			got, found, err := db.OAuthCode(ctx, hash("code"))
			Expect(found, err).To(BeTrue())
			Expect(got).To(Equal(code))
			Expect(db.SpendOAuthCode(ctx, hash("code"))).To(Succeed())
		}
		Expect(db.AddOAuthCode(ctx, store.OAuthCode{Hash: hash("more"), Expires: start.Add(time.Hour)}, start.Add(2*time.Minute), 1)).To(Succeed())
		_, found, err := db.OAuthCode(ctx, hash("code"))
		Expect(found, err).To(BeFalse())
	})

	It("has a code of a device decided once, before it expires", func(ctx SpecContext) {
		Expect(db.AddOAuthCode(ctx, store.OAuthCode{Hash: hash("device"), UserCode: "BCDF", Client: "c", Device: "D", Expires: start}, start, 10)).To(Succeed())
		Expect(db.AddOAuthCode(ctx, store.OAuthCode{Hash: hash("other"), UserCode: "BCDF", Expires: start}, start, 10)).To(MatchError(store.ErrExists))
		Expect(db.SpendOAuthCode(ctx, hash("device"))).To(Succeed())
		asked, _, err := db.OAuthCode(ctx, hash("device"))
		Expect(asked.Uses, err).To(BeZero(), "nobody has allowed it yet")
		decide := func(user id.UserID, d store.OAuthDecision, at time.Time) error {
			return db.DecideOAuthCode(ctx, "BCDF", user, hash("password"), d, at)
		}
		Expect(decide(alice, store.OAuthAllowed, start)).To(MatchError(store.ErrNotFound), "it is too late")
		Expect(decide(alice, store.OAuthAllowed, start.Add(-time.Second))).To(Succeed())
		Expect(decide(dora, store.OAuthRefused, start.Add(-time.Second))).To(MatchError(store.ErrNotFound), "it is decided")
		c, found, err := db.OAuthCodeTyped(ctx, "BCDF")
		Expect(found, err).To(BeTrue())
		Expect(c.User).To(Equal(alice))
		Expect(c.Account).To(Equal(hash("password")))
	})

	It("has devices of its own, until they end or log in otherwise", func(ctx SpecContext) {
		g := grant(ctx, "client", "D", "code")
		byDevice, _, err := db.OAuthGrant(ctx, alice, "D")
		Expect(byDevice, err).To(Equal(g))
		byFamily, _, err := db.OAuthFamily(ctx, g.Family)
		Expect(byFamily, err).To(Equal(g))
		Expect(db.OAuthGrants(ctx, alice)).To(ConsistOf(g))
		access, found, err := db.Access(ctx, hash("access of D"))
		Expect(found, err).To(BeTrue())
		Expect(access.OAuth).To(BeTrue())
		Expect(access.Expires).To(BeTemporally("==", start))
		next := store.Refreshable{Access: hash("next access"), Refresh: hash("next"), Expires: start}
		_, _, good, err := db.Refresh(ctx, hash("refresh of D"), false, next)
		Expect(good, err).To(BeFalse(), "by /refresh")
		_, device, good, err := db.Refresh(ctx, hash("refresh of D"), true, next)
		Expect(good, err).To(BeTrue())
		Expect(device).To(Equal("D"))

		Expect(db.Login(ctx, store.Device{User: alice, ID: "D"}, hash("by password"))).To(Succeed())
		access, found, err = db.Access(ctx, hash("by password"))
		Expect(found, err).To(BeTrue())
		Expect(access.OAuth).To(BeFalse())

		grant(ctx, "client", "E", "another")
		Expect(db.DeleteDevices(ctx, alice, "E")).To(Succeed())
		Expect(db.OAuthGrants(ctx, alice)).To(BeEmpty())
	})
})
