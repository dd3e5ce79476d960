package interop

import (
	"context"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
)

// takes has the client's user be who an answer says.
func (c *encrypting) takes(r reply) {
	GinkgoHelper()
	Expect([]string{r.User, r.Device, r.Token}).NotTo(ContainElement(""))
	c.user.ID, c.user.DeviceID, c.user.Token = r.User, r.Device, r.Token
}

// stranger is a client at Hanse in which nobody is logged in.
func stranger() *encrypting {
	GinkgoHelper()
	u := user.New(hanse.orders.ClientURL())
	DeferCleanup(u.Close)
	return launch(u)
}

func whoami(ctx context.Context, u *user.User) error {
	return u.Call(ctx, "GET", clientV3("/account/whoami"), nil, nil, nil)
}

// loggedOut is what a device is told whose token is not good any more.
func loggedOut() OmegaMatcher { return MatchError(ContainSubstring(": 401 M_UNKNOWN_TOKEN:")) }

var _ = Describe("a user of Hanse who logs in by OAuth 2.0", func() {
	It("talks encrypted with a user of "+peerTitle+", by a device of a code too, and logs out", func(ctx SpecContext) {
		const secretWord = "a word of the user's own"
		person, first := newBrowser(), stranger()
		person.open(ctx, first.order(ctx, map[string]string{"do": "authorize"}).Go)
		person.press(ctx, "Create the account", map[string]string{"user": "oauth", "password": secretWord, "again": secretWord})
		person.press(ctx, "Allow", nil)
		first.takes(first.order(ctx, map[string]string{"do": "arrive", "at": person.at.String()}))
		Expect(first.user.ID).To(Equal("@oauth:" + hanse.orders.ServerName))
		Expect(whoami(ctx, first.user)).To(loggedOut(), "what came of the refresh was used")
		first.begin(ctx, secretWord, "") // with a token that has ended, which the library refreshes
		Expect(whoami(ctx, first.user)).To(Succeed())

		other := peer.newUser(ctx)
		room := create(ctx, other, sealed())
		_, err := first.user.Join(ctx, room, peer.orders.ServerName)
		Expect(err).NotTo(HaveOccurred())
		bob := newEncrypting(ctx, other, password)
		first.reach(ctx, room, bob)
		bob.say(ctx, room, "who are you?", first)
		first.compare(ctx, bob)

		second := stranger()
		person.open(ctx, second.order(ctx, map[string]string{"do": "link"}).Go)
		person.press(ctx, "Allow", nil)
		second.takes(second.order(ctx, map[string]string{"do": "linked"}))
		Expect(second.user.ID).To(Equal(first.user.ID))
		second.begin(ctx, "", "")
		bob.reach(ctx, room, second)
		second.say(ctx, room, "I am here too", bob)

		master := func() any {
			answer := post(ctx, other, "keys/query", map[string]any{"device_keys": map[string]any{first.user.ID: []string{}}})
			return deep(answer, "master_keys", first.user.ID, "keys")
		}
		before := master()
		Expect(before).NotTo(BeNil())
		person.open(ctx, second.order(ctx, map[string]string{"do": "reset"}).Go)
		Expect(person.text()).To(ContainSubstring(second.user.DeviceID))
		person.press(ctx, "Let it replace the keys", map[string]string{"password": secretWord})
		second.order(ctx, map[string]string{"do": "replace"})
		Eventually(master).WithTimeout(patience).ShouldNot(Or(BeNil(), Equal(before)))

		first.order(ctx, map[string]string{"do": "leave"})
		Expect(whoami(ctx, first.user)).To(loggedOut())
		Expect(whoami(ctx, second.user)).To(Succeed())
		person.open(ctx, hanse.orders.ClientURL()+"/_matrix/oauth/account?action=org.matrix.devices_list")
		Expect(person.text()).To(And(ContainSubstring(second.user.DeviceID), Not(ContainSubstring(first.user.DeviceID))))
		second.say(ctx, room, "I am still here", bob)
	}, SpecTimeout(5*time.Minute))
})

var _ = Describe("a new device of a user of Hanse", func() {
	It("is logged in by a QR code that it or an old one shows, and is signed by the user", func(ctx SpecContext) {
		const secretWord = "a word of the user's own"
		person, old := newBrowser(), stranger()
		person.open(ctx, old.order(ctx, map[string]string{"do": "authorize"}).Go)
		person.press(ctx, "Create the account", map[string]string{"user": "qr", "password": secretWord, "again": secretWord})
		person.press(ctx, "Allow", nil)
		old.takes(old.order(ctx, map[string]string{"do": "arrive", "at": person.at.String()}))
		old.begin(ctx, secretWord, "")
		for _, oldShows := range []bool{true, false} {
			fresh := stranger()
			shows, scans := fresh, old
			if oldShows {
				shows, scans = old, fresh
			}
			scans.order(ctx, map[string]string{"do": "scan", "code": shows.order(ctx, map[string]string{"do": "show"}).Code})
			person.open(ctx, old.order(ctx, map[string]string{"do": "seen"}).Go)
			person.press(ctx, "Allow", nil)
			fresh.takes(fresh.order(ctx, map[string]string{"do": "met"}))
			old.order(ctx, map[string]string{"do": "shared"})
			Expect(fresh.user.ID).To(Equal(old.user.ID))
			fresh.begin(ctx, "", "")
			Eventually(func() any { // by itself and by the user
				answer := post(ctx, old.user, "keys/query", map[string]any{"device_keys": map[string]any{old.user.ID: []string{}}})
				return deep(answer, "device_keys", old.user.ID, fresh.user.DeviceID, "signatures", old.user.ID)
			}).WithTimeout(patience).Should(HaveLen(2))
		}
	}, SpecTimeout(5*time.Minute))
})

var _ = Describe("a user of Hanse with an e-mail address", func() {
	It("registers with it, gets a new password by it, and logs in with it", func(ctx SpecContext) {
		const address = "somebody@mail.test"
		person, c := newBrowser(), stranger()
		mailed := 0
		follow := func() {
			GinkgoHelper()
			var link string
			Eventually(func() string {
				var to []string
				for _, m := range mails.Mails() {
					if m.To == address {
						to = append(to, m.Text)
					}
				}
				if len(to) > mailed {
					link = linkIn(to[mailed])
				}
				return link
			}).WithTimeout(patience).ShouldNot(BeEmpty())
			mailed++
			person.open(ctx, link)
		}
		c.order(ctx, map[string]string{"do": "register", "name": "mailed", "password": password, "address": address})
		follow()
		Expect(person.text()).To(ContainSubstring(address))
		person.press(ctx, "Confirm", nil)
		c.takes(c.order(ctx, map[string]string{"do": "registered"}))
		Expect(c.user.ID).To(Equal("@mailed:" + hanse.orders.ServerName))
		Expect(whoami(ctx, c.user)).To(Succeed())

		c.order(ctx, map[string]string{"do": "forgot", "address": address})
		follow()
		Expect(person.text()).To(ContainSubstring(c.user.ID))
		person.press(ctx, "Confirm", nil)
		c.order(ctx, map[string]string{"do": "choose", "password": "another password"})
		Expect(whoami(ctx, c.user)).To(loggedOut(), "the devices were logged out with the old password")

		c.takes(c.order(ctx, map[string]string{"do": "login", "address": address, "password": "another password"}))
		Expect(c.user.ID).To(Equal("@mailed:" + hanse.orders.ServerName))
		Expect(whoami(ctx, c.user)).To(Succeed())
	}, SpecTimeout(3*time.Minute))
})

var link = regexp.MustCompile(`http://[^"\s<>]+/_matrix/email/confirm[^"\s<>]*`)

// linkIn is the address that a mail leads to.
func linkIn(mail string) string {
	return link.FindString(strings.ReplaceAll(strings.ReplaceAll(mail, "=\n", ""), "=3D", "="))
}
