package users

import (
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
	"hanse/node/store/sqlite"
)

func TestUsers(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(2 * time.Minute) // on a loaded machine
	RunSpecs(t, "users")
}

const self = id.ServerName("example.org")

// newUsers makes accounts over a real database; Run is not running.
func newUsers(cost Passwords) (*Users, *store.Store) {
	GinkgoHelper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := store.Open(ctx, sqlite.Open(filepath.Join(GinkgoT().TempDir(), "hanse.db")), store.Options{ServerName: self})
	Expect(err).NotTo(HaveOccurred())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	DeferCleanup(func() {
		cancel()
		<-done
		Expect(s.Close()).To(Succeed())
	})
	u, err := New(Config{Self: self, Store: s, Passwords: cost})
	Expect(err).NotTo(HaveOccurred())
	return u, s
}

func register(u *Users, name string) id.UserID {
	GinkgoHelper()
	user, err := u.Register(context.Background(), Registration{Username: name, Password: "secret"})
	Expect(err).NotTo(HaveOccurred())
	return user.User
}

var _ = Describe("guests", func() {
	It("are no more than so many, and make room when they are deactivated or become users", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		u.maxGuests = 2
		guest := func() id.UserID {
			GinkgoHelper()
			guest, err := u.Register(ctx, Registration{Guest: true})
			Expect(err).NotTo(HaveOccurred())
			return guest.User
		}
		full := func() {
			GinkgoHelper()
			_, err := u.Register(ctx, Registration{Guest: true})
			Expect(err).To(MatchError(ContainSubstring("M_FORBIDDEN")))
			Expect(u.CrowdedByGuests()).To(BeTrue())
		}
		first, second := guest(), guest()
		full()
		alice := register(u, "alice")
		_, err := u.Upgrade(ctx, first, Registration{Password: "secret"})
		Expect(err).NotTo(HaveOccurred())
		third := guest()
		full()
		for user, want := range map[id.UserID]bool{second: true, first: false, alice: false, "@nobody:example.org": false} {
			Expect(u.DeactivateGuest(ctx, user)).To(Equal(want), "%s", user)
		}
		Expect(u.CrowdedByGuests()).To(BeFalse())
		Expect(u.UnusedGuests(ctx, time.Now().Add(time.Hour))).To(Equal([]id.UserID{third}))
		guest()
		full()
	})
})

var _ = Describe("passwords", func() {
	It("are hashed anew when the costs have changed", func(ctx context.Context) {
		u, s := newUsers(Passwords{Scheme: "bcrypt", BcryptCost: 4})
		alice := register(u, "alice")
		before, _, err := s.User(ctx, alice)
		Expect(err).NotTo(HaveOccurred())
		Expect(before.PasswordHash).To(HavePrefix("$2a$04$"))
		Expect(before.PasswordHash).NotTo(ContainSubstring("secret"))
		later, err := New(Config{Self: self, Store: s, Passwords: cheap()})
		Expect(err).NotTo(HaveOccurred())
		Expect(later.CheckPassword(ctx, alice, "wrong", always, uncounted)).To(BeFalse())
		same, _, _ := s.User(ctx, alice)
		Expect(same.PasswordHash).To(Equal(before.PasswordHash), "a wrong password changed the hash")
		Expect(later.CheckPassword(ctx, alice, "secret", always, uncounted)).To(BeTrue())
		after, _, _ := s.User(ctx, alice)
		Expect(after.PasswordHash).To(HavePrefix("$argon2id$v=19$m=64,t=1,p=1$"))
		Expect(later.CheckPassword(ctx, alice, "secret", always, uncounted)).To(BeTrue())
	})

	It("are right for nobody without an account, and for no account without one", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		silent, err := u.Register(ctx, Registration{Username: "silent"})
		Expect(err).NotTo(HaveOccurred())
		for _, user := range []id.UserID{silent.User, "@nobody:example.org", "@alice:elsewhere.org", ""} {
			for _, password := range []string{"", "secret", strings.Repeat("x", 10_000)} {
				Expect(u.CheckPassword(ctx, user, password, always, uncounted)).To(BeFalse())
			}
		}
	})

	It("are refused where the scheme would cut them", func(ctx context.Context) {
		u, _ := newUsers(Passwords{Scheme: "bcrypt", BcryptCost: 4})
		_, err := u.Register(ctx, Registration{Username: "alice", Password: strings.Repeat("x", 73)})
		Expect(err).To(MatchError(ContainSubstring("M_WEAK_PASSWORD")))
		_, err = u.Register(ctx, Registration{Username: "alice", Password: strings.Repeat("x", 72)})
		Expect(err).NotTo(HaveOccurred())
	})
})

var _ = Describe("accounts", func() {
	It("are made once, whoever comes first", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		errs := make(chan error)
		for range 5 {
			go func() {
				_, err := u.Register(ctx, Registration{Username: "alice", Password: "secret"})
				errs <- err
			}()
		}
		made := 0
		for range 5 {
			if err := <-errs; err == nil {
				made++
			} else {
				Expect(err).To(MatchError(ContainSubstring("M_USER_IN_USE")))
			}
		}
		Expect(made).To(Equal(1))
	})

	It("take invites while they are there", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		alice := register(u, "alice")
		Expect(u.AcceptsInvite(ctx, alice, "@zoe:far.test")).To(Succeed())
		for _, config := range []string{`{"default_action":"block"}`, `{"default_action":["block"]}`, `{"default_action":"allow"}`, `{}`} {
			Expect(u.SetAccountData(ctx, alice, "", "m.invite_permission_config", json.RawMessage(config))).To(Succeed())
			matcher := Succeed()
			if config == `{"default_action":"block"}` {
				matcher = MatchError(ContainSubstring("M_INVITE_BLOCKED"))
			}
			Expect(u.AcceptsInvite(ctx, alice, "@zoe:far.test")).To(matcher, config)
		}
		Expect(u.AcceptsInvite(ctx, "@nobody:example.org", "@zoe:far.test")).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(u.AcceptsInvite(ctx, "@yan:far.test", "@zoe:far.test")).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(u.Deactivate(ctx, alice, false)).To(Succeed())
		Expect(u.AcceptsInvite(ctx, alice, "@zoe:far.test")).To(MatchError(ContainSubstring("M_NOT_FOUND")))
		Expect(u.CheckPassword(ctx, alice, "secret", always, uncounted)).To(BeFalse())
	})
})

var _ = Describe("access tokens", func() {
	It("stand for one device until it is logged out, by whatever way", func(ctx context.Context) {
		u, s := newUsers(cheap())
		alice := register(u, "alice")
		login := func(device string) string {
			l, err := u.Login(ctx, alice, LoginDevice{ID: device, Address: "192.0.2.1"})
			Expect(err).NotTo(HaveOccurred())
			Expect(l.AccessToken).To(HavePrefix("hanse_"))
			session, err := u.Authenticate(ctx, l.AccessToken, netip.MustParseAddr("192.0.2.1"), "a client")
			Expect(err).NotTo(HaveOccurred())
			Expect(session).To(Equal(Session{User: alice, Device: l.Device}))
			return l.AccessToken
		}
		for name, end := range map[string]func(token string) error{
			"logout":     func(string) error { return u.Logout(ctx, alice, "A") },
			"all":        func(string) error { return u.LogoutAll(ctx, alice) },
			"others":     func(string) error { return u.LogoutOthers(ctx, alice, "B") },
			"deleted":    func(string) error { return u.DeleteDevices(ctx, alice, []string{"A", "never was"}) },
			"new login":  func(string) error { login("A"); return nil },
			"deactivate": func(string) error { return u.Deactivate(ctx, alice, false) },
		} {
			if name == "deactivate" {
				continue // last: nobody logs in after it
			}
			token := login("A")
			Expect(end(token)).To(Succeed())
			_, err := u.Authenticate(ctx, token, netip.Addr{}, "")
			Expect(err).To(MatchError(ErrUnknownToken), name)
			_, known, err := s.Access(ctx, store.HashToken(token))
			Expect(err).NotTo(HaveOccurred())
			Expect(known).To(BeFalse(), name)
		}
		token := login("A")
		Expect(u.Deactivate(ctx, alice, false)).To(Succeed())
		_, err := u.Authenticate(ctx, token, netip.Addr{}, "")
		Expect(err).To(MatchError(ErrUnknownToken))
	})

	It("note when and where a device was used", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = u.Run(running) }()
		alice := register(u, "alice")
		l, err := u.Login(ctx, alice, LoginDevice{Name: "phone", Address: "192.0.2.1", Agent: "old"})
		Expect(err).NotTo(HaveOccurred())
		_, err = u.Authenticate(ctx, l.AccessToken, netip.MustParseAddr("192.0.2.9"), strings.Repeat("a", maxAgentBytes-1)+"é\xff")
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() string {
			d, err := u.Device(ctx, alice, l.Device)
			Expect(err).NotTo(HaveOccurred())
			Expect(d.LastSeenTS).To(BeNumerically("~", time.Now().UnixMilli(), 60_000))
			return d.LastSeenIP + " " + d.UserAgent
		}).Should(Equal("192.0.2.9 " + strings.Repeat("a", maxAgentBytes-1)))
		stop()
		<-done
	})
})

var _ = Describe("account data", func() {
	It("is changed in one step", func(ctx context.Context) {
		u, _ := newUsers(cheap())
		alice := register(u, "alice")
		errs := make(chan error)
		for i := range 10 {
			go func() {
				errs <- u.UpdateAccountData(ctx, alice, "!room:example.org", "m.tag", func(old json.RawMessage) (json.RawMessage, error) {
					tags := map[string]int{}
					if err := json.Unmarshal(old, &tags); err != nil {
						return nil, err
					}
					tags[string(rune('a'+i))] = i
					return json.Marshal(tags)
				})
			}()
		}
		for range 10 {
			Expect(<-errs).To(Succeed())
		}
		data, err := u.AccountData(ctx, alice, "!room:example.org", "m.tag")
		Expect(err).NotTo(HaveOccurred())
		tags := map[string]int{}
		Expect(json.Unmarshal(data, &tags)).To(Succeed())
		Expect(tags).To(HaveLen(10))
		err = u.UpdateAccountData(ctx, alice, "!room:example.org", "m.tag", func(json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`[]`), nil
		})
		Expect(err).To(MatchError(ContainSubstring("M_BAD_JSON")))
	})
})
