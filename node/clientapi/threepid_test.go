package clientapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/email"
)

// postbox takes the mails of a world.
type postbox struct {
	mu    sync.Mutex
	mails []email.Mail
	err   error
}

func (p *postbox) send(_ context.Context, m email.Mail) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.mails = append(p.mails, m)
	}
	return p.err
}

// last is the newest mail, the number-th of all.
func (p *postbox) last(number int) email.Mail {
	GinkgoHelper()
	p.mu.Lock()
	defer p.mu.Unlock()
	Expect(p.mails).To(HaveLen(number))
	return p.mails[number-1]
}

// mailingWorld is a world that sends mails.
func mailingWorld(change func(*Config)) (*world, *postbox) {
	GinkgoHelper()
	box := &postbox{}
	return newWorld(func(c *Config) {
		c.BaseURL = "https://matrix.hanse.test/"
		c.Email = &Email{Send: box.send, Site: email.Site{Name: "Hanse", Server: string(self)}, NextLinks: []string{"app.example.org"}}
		if change != nil {
			change(c)
		}
	}), box
}

// ask asks for a mail, below a path, and gives the credentials that are good once it is confirmed.
func (p *person) askMail(path, address string, attempt int) obj {
	GinkgoHelper()
	answer := fine(p.post(path+"/email/requestToken", obj{"client_secret": "secret", "email": address, "send_attempt": attempt}))
	return obj{"sid": answer.text("sid"), "client_secret": "secret"}
}

var linkForm = regexp.MustCompile(`https://matrix\.hanse\.test(/_matrix/email/confirm\?sid=\w+&token=\w+)\n`)

// linkIn is the path of a mail's link.
func linkIn(m email.Mail) string {
	GinkgoHelper()
	found := linkForm.FindStringSubmatch(m.Text)
	Expect(found).To(HaveLen(2), m.Text)
	return found[1]
}

// visit asks for a page as a browser does.
func (w *world) visit(method, path string) (status int, body string, header http.Header) {
	GinkgoHelper()
	r, err := http.NewRequest(method, w.server.URL+path, nil)
	Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultTransport.RoundTrip(r)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, string(raw), response.Header
}

// confirm follows a mail's link and presses the button.
func (w *world) confirm(m email.Mail) {
	GinkgoHelper()
	status, body, _ := w.visit("POST", linkIn(m))
	Expect(status).To(Equal(200), body)
	Expect(body).To(ContainSubstring("is confirmed"))
}

// addEmail gives a person's account an address, as a client does.
func (p *person) addEmail(box *postbox, address string) {
	GinkgoHelper()
	credentials := p.w.nobody().askMail("/account/3pid", address, 1)
	box.mu.Lock()
	m := box.mails[len(box.mails)-1]
	box.mu.Unlock()
	p.w.confirm(m)
	fine(p.withPassword("/account/3pid/add", credentials))
}

// withPassword posts with the password given in the second step.
func (p *person) withPassword(path string, body obj) answered {
	GinkgoHelper()
	body = maps.Clone(body)
	ask := p.post(path, body)
	Expect(ask.status).To(Equal(401), ask.raw)
	body["auth"] = obj{"type": "m.login.password", "session": ask.text("session"), "password": "secret of " + p.name(), "identifier": obj{"type": "m.id.user", "user": p.id}}
	return p.post(path, body)
}

func (p *person) name() string {
	return strings.TrimPrefix(strings.TrimSuffix(p.id, ":"+string(self)), "@")
}

// byMail is the stage of a confirmed address, with the misspelt twin that clients send beside it.
func byMail(session any, credentials obj) obj {
	auth := obj{"type": "m.login.email.identity", "threepid_creds": credentials, "threepidCreds": credentials}
	if session != nil {
		auth["session"] = session
	}
	return auth
}

var _ = Describe("E-mail addresses", func() {
	It("are added once they are confirmed, listed, logged in with, and deleted", func() {
		w, box := mailingWorld(nil)
		alice := w.register("alice")
		Expect(fine(alice.get("/capabilities")).raw).To(ContainSubstring(`"m.3pid_changes":{"enabled":true}`))
		credentials := w.nobody().askMail("/account/3pid", "Alice@Example.ORG", 1)
		m := box.last(1)
		Expect(m.To).To(Equal("alice@example.org"))
		Expect(m.Text).To(ContainSubstring("belong to their account"))
		Expect(m.Text).To(ContainSubstring("asked for from 127.0.0.1"))
		refused(alice.withPassword("/account/3pid/add", credentials), 400, "M_THREEPID_AUTH_FAILED")

		status, body, header := w.visit("GET", linkIn(m)) // as a program that looks for bad mails does
		Expect(status).To(Equal(200))
		Expect(body).To(ContainSubstring("alice@example.org"))
		Expect(body).To(ContainSubstring("<button"))
		Expect(header.Get("Content-Security-Policy")).To(ContainSubstring("frame-ancestors 'none'"))
		Expect(header.Get("Referrer-Policy")).To(Equal("no-referrer"))
		Expect(header.Get("Access-Control-Allow-Origin")).To(BeEmpty())
		Expect(header.Get("Set-Cookie")).To(BeEmpty())
		refused(alice.withPassword("/account/3pid/add", credentials), 400, "M_THREEPID_AUTH_FAILED")

		w.confirm(m)
		w.confirm(m) // pressed twice
		refused(alice.withPassword("/account/3pid/add", obj{"sid": credentials["sid"], "client_secret": "another"}), 400, "M_THREEPID_AUTH_FAILED")
		refused(alice.post("/account/3pid/add", obj{"sid": "x"}), 400, "M_MISSING_PARAM")
		refused(alice.post("/account/3pid/add", obj{"client_secret": "x"}), 400, "M_MISSING_PARAM")
		fine(alice.withPassword("/account/3pid/add", credentials))
		refused(alice.withPassword("/account/3pid/add", credentials), 400, "M_THREEPID_AUTH_FAILED") // it is spent
		status, body, _ = w.visit("POST", linkIn(m))
		Expect(status).To(Equal(404), body)

		list := fine(alice.get("/account/3pid")).body["threepids"].([]any)
		Expect(list).To(HaveLen(1))
		Expect(list[0]).To(SatisfyAll(HaveKeyWithValue("medium", "email"), HaveKeyWithValue("address", "alice@example.org"), HaveKeyWithValue("validated_at", BeNumerically(">", 0))))
		by := func(identifier obj) answered {
			return w.nobody().post("/login", obj{"type": "m.login.password", "identifier": identifier, "password": "secret of alice"})
		}
		Expect(fine(by(obj{"type": "m.id.thirdparty", "medium": "email", "address": "ALICE@example.org"})).text("user_id")).To(Equal(alice.id))
		fine(by(obj{"medium": "email", "address": "alice@example.org"})) // the specification's example
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "medium": "email", "address": "alice@example.org", "password": "secret of alice"}))
		for _, identifier := range []obj{{"medium": "email", "address": "bob@example.org"}, {"medium": "email", "address": "no address"}, {"medium": "msisdn", "address": "alice@example.org"}} {
			identifier["type"] = "m.id.thirdparty"
			refused(by(identifier), 403, "M_FORBIDDEN")
		}
		refused(w.nobody().post("/login", obj{"type": "m.login.password", "password": "x", "identifier": obj{"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"}}), 403, "M_FORBIDDEN")

		ask := alice.post("/delete_devices", obj{"devices": []string{}})
		again := obj{"devices": []string{}, "auth": obj{"type": "m.login.password", "session": ask.text("session"), "password": "secret of alice", "identifier": obj{"type": "m.id.thirdparty", "medium": "email", "address": "bob@example.org"}}}
		refused(alice.post("/delete_devices", again), 403, "M_FORBIDDEN")
		again["auth"].(obj)["identifier"] = obj{"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"}
		fine(alice.post("/delete_devices", again))

		Expect(fine(alice.post("/account/3pid/delete", obj{"medium": "email", "address": "Alice@example.org"})).text("id_server_unbind_result")).To(Equal("no-support"))
		fine(alice.post("/account/3pid/delete", obj{"medium": "email", "address": "alice@example.org"})) // it is gone already
		fine(alice.post("/account/3pid/delete", obj{"medium": "msisdn", "address": "123"}))
		refused(alice.post("/account/3pid/delete", obj{"medium": "email"}), 400, "M_MISSING_PARAM")
		Expect(fine(alice.get("/account/3pid")).body["threepids"]).To(BeEmpty())
		refused(by(obj{"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"}), 403, "M_FORBIDDEN")
	})

	It("get one mail for an attempt, unless it could not be sent", func() {
		w, box := mailingWorld(nil)
		first := w.nobody().askMail("/account/3pid", "alice@example.org", 1)
		Expect(w.nobody().askMail("/account/3pid", "ALICE@example.org", 1)).To(Equal(first))
		link := linkIn(box.last(1))
		Expect(w.nobody().askMail("/account/3pid", "alice@example.org", 2)).To(Equal(first))
		Expect(linkIn(box.last(2))).To(Equal(link))
		for err, want := range map[error]struct {
			status int
			code   string
		}{
			errors.New("hanging"): {502, "M_UNKNOWN"}, fmt.Errorf("%w: 550", email.ErrRefusedAddress): {400, "M_INVALID_PARAM"}, email.ErrBusy: {429, "M_LIMIT_EXCEEDED"},
		} {
			box.err = err
			refused(w.nobody().post("/account/3pid/email/requestToken", obj{"client_secret": "secret", "email": "alice@example.org", "send_attempt": 3}), want.status, want.code)
		}
		box.err = nil
		Expect(w.nobody().askMail("/account/3pid", "alice@example.org", 3)).To(Equal(first))
		box.last(3)
		w.confirm(box.last(3))
		w.nobody().askMail("/account/3pid", "alice@example.org", 4)
		box.last(3) // it is confirmed
	})

	It("are asked for in the right form", func() {
		w, box := mailingWorld(nil)
		for _, c := range []struct {
			name  string
			value any
			code  string
		}{
			{"client_secret", nil, "M_MISSING_PARAM"}, {"client_secret", "", "M_INVALID_PARAM"}, {"client_secret", "a b", "M_INVALID_PARAM"},
			{"client_secret", strings.Repeat("a", 256), "M_INVALID_PARAM"}, {"email", nil, "M_MISSING_PARAM"}, {"email", "alice", "M_INVALID_PARAM"},
			{"email", "alice@example.org\r\nBcc: bob@example.org", "M_INVALID_PARAM"}, {"email", "alice@example.org, bob@example.org", "M_INVALID_PARAM"},
			{"send_attempt", nil, "M_MISSING_PARAM"}, {"send_attempt", 0, "M_INVALID_PARAM"}, {"send_attempt", "1", "M_BAD_JSON"},
		} {
			body := obj{"client_secret": "secret", "email": "alice@example.org", "send_attempt": 1}
			if body[c.name] = c.value; c.value == nil {
				delete(body, c.name)
			}
			for _, path := range []string{"/register", "/account/password", "/account/3pid"} {
				refused(w.nobody().post(path+"/email/requestToken", body), 400, c.code)
			}
		}
		Expect(box.mails).To(BeEmpty())
	})

	It("are linked on from the page only to where the operator wants", func() {
		w, box := mailingWorld(nil)
		for i, c := range []struct {
			link string
			led  bool
		}{
			{"https://app.example.org/#/register?a=1&b=2", true}, {"https://APP.example.org/", true}, {"https://app.example.org.evil.example/", false},
			{"http://app.example.org/", false}, {"https://app.example.org@evil.example/", false}, {"https://a@app.example.org/", false}, {"//app.example.org/", false},
			{"javascript:alert(1)//app.example.org", false}, {"https://app.example.org:444/", false}, {"https://app.example.org/" + strings.Repeat("a", 2048), false}, {"", false},
		} {
			fine(w.nobody().post("/register/email/requestToken", obj{"client_secret": "secret", "email": fmt.Sprintf("a%d@example.org", i), "send_attempt": 1, "next_link": c.link}))
			status, body, header := w.visit("POST", linkIn(box.last(i+1)))
			Expect(status).To(Equal(200), body)
			Expect(header.Get("Location")).To(BeEmpty())
			Expect(strings.Contains(body, "<a href")).To(Equal(c.led), c.link+body)
		}
	})

	It("don't tell by the answer who has an account, but by the mail", func() {
		w, box := mailingWorld(nil)
		w.register("alice").addEmail(box, "alice@example.org")
		for i, c := range []struct{ path, address, says string }{
			{"/register", "alice@example.org", "your account there already: @alice:hanse.test"},
			{"/account/3pid", "alice@example.org", "your account there already: @alice:hanse.test"},
			{"/account/password", "bob@example.org", "no account there has it"},
		} {
			credentials := w.nobody().askMail(c.path, c.address, 1)
			m := box.last(i + 2)
			Expect(m.To).To(Equal(c.address))
			Expect(m.Text).To(ContainSubstring(c.says))
			Expect(m.Text).NotTo(ContainSubstring("https://"))
			Expect(credentials["sid"]).NotTo(BeEmpty())
		}
	})

	It("are not another account's", func() {
		w, box := mailingWorld(nil)
		alice, bob := w.register("alice"), w.register("bob")
		one := w.nobody().askMail("/account/3pid", "a@example.org", 1)
		w.confirm(box.last(1))
		two := fine(w.nobody().post("/account/3pid/email/requestToken", obj{"client_secret": "two", "email": "a@example.org", "send_attempt": 1}))
		w.confirm(box.last(2))
		fine(alice.withPassword("/account/3pid/add", one))
		refused(bob.withPassword("/account/3pid/add", obj{"sid": two.text("sid"), "client_secret": "two"}), 400, "M_THREEPID_IN_USE")
	})

	It("give back a forgotten password, once", func() {
		w, box := mailingWorld(nil)
		alice := w.register("alice")
		alice.addEmail(box, "alice@example.org")
		ask := w.nobody().post("/account/password", obj{"new_password": "new"})
		Expect(ask.status).To(Equal(401))
		Expect(ask.raw).To(ContainSubstring(`"flows":[{"stages":["m.login.email.identity"]}]`))
		Expect(fine(alice.get("/account/whoami")).text("user_id")).To(Equal(alice.id))

		credentials := w.nobody().askMail("/account/password", "alice@example.org", 1)
		m := box.last(2)
		Expect(m.Subject).To(Equal("[Hanse] A new password for @alice:hanse.test"))
		refused(w.nobody().post("/account/password", obj{"new_password": "new", "auth": byMail(nil, credentials)}), 401, "M_UNAUTHORIZED")
		_, body, _ := w.visit("GET", linkIn(m))
		Expect(body).To(ContainSubstring("@alice:hanse.test"))
		Expect(body).To(ContainSubstring("whoever asked can choose your password"))
		w.confirm(m)
		refused(w.nobody().post("/account/password", obj{"new_password": "", "auth": byMail(nil, credentials)}), 400, "M_MISSING_PARAM")
		refused(w.nobody().post("/account/password", obj{"new_password": strings.Repeat("a", 600), "auth": byMail(nil, credentials)}), 400, "M_WEAK_PASSWORD")
		refused(w.nobody().post("/account/password", obj{"new_password": "new", "auth": byMail(nil, obj{"sid": credentials["sid"], "client_secret": "x"})}), 401, "M_UNAUTHORIZED")
		// As Element does it: without a session.
		fine(w.nobody().post("/account/password", obj{"new_password": "new", "auth": byMail(nil, credentials)}))
		refused(alice.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
		refused(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice"}), 403, "M_FORBIDDEN")
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "new"}))
		refused(w.nobody().post("/account/password", obj{"new_password": "newer", "auth": byMail(nil, credentials)}), 401, "M_UNAUTHORIZED")
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "new"}))
	})

	It("leave devices logged in where that is wished, and locked accounts as they are", func() {
		w, box := mailingWorld(nil)
		alice := w.register("alice")
		alice.addEmail(box, "alice@example.org")
		credentials := w.nobody().askMail("/account/password", "alice@example.org", 1)
		w.confirm(box.last(2))
		ask := w.nobody().post("/account/password", obj{})
		body := obj{"new_password": "new", "logout_devices": false, "auth": byMail(ask.text("session"), credentials)}
		Expect(w.users.Lock(context.Background(), "@alice:hanse.test", true)).To(Succeed())
		refused(w.nobody().post("/account/password", body), 401, "M_USER_LOCKED")
		Expect(w.users.Lock(context.Background(), "@alice:hanse.test", false)).To(Succeed())
		fine(w.nobody().post("/account/password", body))
		fine(alice.get("/account/whoami"))
	})

	It("are confirmed for one purpose alone", func() {
		w, box := mailingWorld(nil)
		alice := w.register("alice")
		registers := w.nobody().askMail("/register", "alice@example.org", 1)
		w.confirm(box.last(1))
		adds := w.nobody().askMail("/account/3pid", "alice@example.org", 1)
		w.confirm(box.last(2))
		refused(alice.withPassword("/account/3pid/add", registers), 400, "M_THREEPID_AUTH_FAILED")
		fine(alice.withPassword("/account/3pid/add", adds))
		for _, credentials := range []obj{registers, adds} {
			refused(w.nobody().post("/account/password", obj{"new_password": "new", "auth": byMail(nil, credentials)}), 401, "M_UNAUTHORIZED")
		}
		resets := w.nobody().askMail("/account/password", "alice@example.org", 1)
		w.confirm(box.last(3))
		refused(w.nobody().post("/register", obj{"username": "eve", "password": "x", "auth": byMail(nil, resets)}), 401, "M_UNAUTHORIZED")
		// Who knows the password is asked for it all the same, and a session for somebody else's password is none for one's own.
		session := w.nobody().post("/account/password", obj{}).text("session")
		refused(alice.post("/account/password", obj{"new_password": "new", "auth": byMail(session, resets)}), 403, "M_FORBIDDEN")
		refused(alice.post("/account/password", obj{"new_password": "new", "auth": byMail(nil, resets)}), 401, "M_FORBIDDEN")
		refused((&person{w: w, token: "wrong"}).post("/account/password", obj{"new_password": "new", "auth": byMail(nil, resets)}), 401, "M_UNKNOWN_TOKEN")
	})

	It("may come with a new account", func() {
		w, box := mailingWorld(nil)
		ask := w.nobody().post("/register", obj{"username": "alice", "password": "secret of alice"})
		Expect(ask.raw).To(ContainSubstring(`"flows":[{"stages":["m.login.dummy"]},{"stages":["m.login.email.identity"]}]`))
		credentials := w.nobody().askMail("/register", "alice@example.org", 1)
		body := obj{"username": "alice", "password": "secret of alice", "auth": byMail(ask.text("session"), credentials)}
		refused(w.nobody().post("/register", body), 401, "M_UNAUTHORIZED")
		w.confirm(box.last(1))
		done := fine(w.nobody().post("/register", body))
		alice := &person{w: w, id: done.text("user_id"), token: done.text("access_token")}
		Expect(fine(alice.get("/account/3pid")).raw).To(ContainSubstring(`"address":"alice@example.org"`))
		w.register("bob") // without one
		fine(alice.withPassword("/account/deactivate", obj{}))
		w.nobody().askMail("/register", "alice@example.org", 2)
		Expect(box.last(2).Text).To(ContainSubstring("is making an account")) // it is free again
	})

	It("must come with a new account where the operator says so", func() {
		w, box := mailingWorld(func(c *Config) {
			c.Registration.Email, c.Registration.Open, c.Registration.Tokens = true, false, []string{"token"}
		})
		ask := w.nobody().post("/register", obj{})
		Expect(ask.raw).To(ContainSubstring(`"flows":[{"stages":["m.login.registration_token","m.login.email.identity"]}]`))
		session := ask.text("session")
		credentials := w.nobody().askMail("/register", "alice@example.org", 1)
		w.confirm(box.last(1))
		body := obj{"username": "alice", "password": "secret of alice", "auth": byMail(session, credentials)}
		refused(w.nobody().post("/register", body), 401, "M_FORBIDDEN") // first the token
		body["auth"] = obj{"type": "m.login.registration_token", "token": "token", "session": session}
		Expect(w.nobody().post("/register", body).status).To(Equal(401))
		body["auth"] = byMail(session, credentials)
		fine(w.nobody().post("/register", body), "access_token")

		w, _ = mailingWorld(func(c *Config) { c.Registration.Open, c.Registration.Tokens = false, []string{"token"} })
		Expect(w.nobody().post("/register", obj{}).raw).To(ContainSubstring(
			`"flows":[{"stages":["m.login.registration_token","m.login.dummy"]},{"stages":["m.login.registration_token","m.login.email.identity"]}]`))

		w, box = mailingWorld(func(c *Config) { c.Registration.Open = false })
		refused(w.nobody().post("/register/email/requestToken", obj{"client_secret": "s", "email": "a@example.org", "send_attempt": 1}), 403, "M_FORBIDDEN")
		Expect(box.mails).To(BeEmpty())
	})

	It("come to a guest who becomes a user", func() {
		w, box := mailingWorld(func(c *Config) { c.Registration.Guests, c.Registration.Email = true, true })
		guest := fine(w.nobody().post("/register?kind=guest", obj{}))
		credentials := w.nobody().askMail("/register", "alice@example.org", 1)
		w.confirm(box.last(1))
		done := fine(w.nobody().post("/register", obj{"username": guest.text("user_id"), "guest_access_token": guest.text("access_token"), "password": "x", "auth": byMail(nil, credentials)}))
		Expect(fine((&person{w: w, token: done.text("access_token")}).get("/account/3pid")).raw).To(ContainSubstring("alice@example.org"))
	})

	It("leave a guest as it is where the address has become another's meanwhile", func() {
		w, box := mailingWorld(func(c *Config) { c.Registration.Guests, c.Registration.Email = true, true })
		guest := fine(w.nobody().post("/register?kind=guest", obj{}))
		credentials := w.nobody().askMail("/register", "alice@example.org", 1)
		w.confirm(box.last(1))
		alice, err := w.users.Register(context.Background(), registrationOf("alice"))
		Expect(err).NotTo(HaveOccurred())
		Expect(w.users.AddEmail(context.Background(), alice.User, "alice@example.org")).To(Succeed())
		body := obj{"username": guest.text("user_id"), "guest_access_token": guest.text("access_token"), "password": "x", "auth": byMail(nil, credentials)}
		refused(w.nobody().post("/register", body), 400, "M_THREEPID_IN_USE")
		Expect(fine((&person{w: w, token: guest.text("access_token")}).get("/account/whoami")).body).To(HaveKeyWithValue("is_guest", true))
	})

	It("give back no password that was confirmed for before the password was changed", func() {
		w, box := mailingWorld(nil)
		alice := w.register("alice")
		alice.addEmail(box, "alice@example.org")
		credentials := w.nobody().askMail("/account/password", "alice@example.org", 1)
		w.confirm(box.last(2)) // and only then does she see that she hasn't asked for it
		Expect(w.users.SetPassword(context.Background(), id.UserID(alice.id), "changed")).To(Succeed())
		refused(w.nobody().post("/account/password", obj{"new_password": "theirs", "auth": byMail(nil, credentials)}), 401, "M_UNAUTHORIZED")
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "changed"}))
	})

	It("have links that can't be guessed or bent", func() {
		w, box := mailingWorld(nil)
		w.nobody().askMail("/account/3pid", "alice@example.org", 1)
		link, err := url.Parse(linkIn(box.last(1)))
		Expect(err).NotTo(HaveOccurred())
		sid, token := link.Query().Get("sid"), link.Query().Get("token")
		Expect(len(token)).To(BeNumerically(">=", 26)) // 128 bits
		for _, query := range []string{"", "sid=" + sid, "token=" + token, "sid=" + sid + "&token=", "sid=" + sid + "&token=" + token[1:], "sid=" + sid + "&token=" + sid, "sid=<script>&token=" + token} {
			for _, method := range []string{"GET", "POST"} {
				status, body, _ := w.visit(method, emailPath+"?"+query)
				Expect(status).To(Equal(404), query)
				Expect(body).To(ContainSubstring("no good any more"))
				Expect(body).NotTo(ContainSubstring("<script>"))
			}
		}
	})

	It("are sent few mails", func() {
		w, box := mailingWorld(func(c *Config) {
			c.RateLimits = RateLimits{Mails: Limit{PerSecond: 1e-6, Burst: 2}, AllMails: Limit{PerSecond: 1e-6, Burst: 3}}
		})
		from := func(address, to string, attempt int) int {
			r, err := http.NewRequest("POST", w.server.URL+"/_matrix/client/v3/account/3pid/email/requestToken",
				strings.NewReader(fmt.Sprintf(`{"client_secret":"s","email":%q,"send_attempt":%d}`, to, attempt)))
			Expect(err).NotTo(HaveOccurred())
			r.Header.Set("X-Forwarded-For", address)
			response, err := http.DefaultTransport.RoundTrip(r)
			Expect(err).NotTo(HaveOccurred())
			Expect(response.Body.Close()).To(Succeed())
			return response.StatusCode
		}
		Expect(from("192.0.2.1", "a@example.org", 1)).To(Equal(200))
		Expect(from("192.0.2.1", "a@example.org", 2)).To(Equal(200))
		Expect(from("192.0.2.1", "b@example.org", 1)).To(Equal(429)) // too many of that client
		Expect(from("192.0.2.2", "a@example.org", 3)).To(Equal(429)) // to that address
		Expect(from("192.0.2.3", "c@example.org", 1)).To(Equal(200))
		Expect(from("192.0.2.4", "d@example.org", 1)).To(Equal(429)) // of all
		box.last(3)
	})

	It("know no identity server", func() {
		w, _ := mailingWorld(nil)
		alice := w.register("alice")
		refused(alice.post("/account/3pid/bind", obj{}), 400, "M_SERVER_NOT_TRUSTED")
		refused(alice.post("/account/3pid", obj{}), 400, "M_SERVER_NOT_TRUSTED")
		Expect(fine(alice.post("/account/3pid/unbind", obj{"medium": "email", "address": "a@b.c"})).text("id_server_unbind_result")).To(Equal("no-support"))
		refused(w.nobody().post("/account/3pid/msisdn/requestToken", obj{}), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
	})

	It("are the operator's alone where no mails are sent", func() {
		w := newWorld(nil)
		alice := w.register("alice")
		Expect(fine(alice.get("/capabilities")).raw).To(ContainSubstring(`"m.3pid_changes":{"enabled":false}`))
		for _, path := range []string{"/register", "/account/password", "/account/3pid"} {
			refused(w.nobody().post(path+"/email/requestToken", obj{}), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
		}
		refused(alice.post("/account/3pid/add", obj{"sid": "x", "client_secret": "x"}), 403, "M_FORBIDDEN")
		refused(alice.post("/account/3pid/delete", obj{"medium": "email", "address": "a@b.c"}), 403, "M_FORBIDDEN")
		refused(w.nobody().post("/account/password", obj{"new_password": "x"}), 401, "M_MISSING_TOKEN")
		Expect(w.users.AddEmail(context.Background(), "@alice:hanse.test", "alice@example.org")).To(Succeed())
		Expect(fine(alice.get("/account/3pid")).raw).To(ContainSubstring("alice@example.org"))
		fine(w.nobody().post("/login", obj{"type": "m.login.password", "identifier": obj{"type": "m.id.thirdparty", "medium": "email", "address": "alice@example.org"}, "password": "secret of alice"}))
	})
})
