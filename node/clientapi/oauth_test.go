package clientapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/users"
)

// oauthBase is where clients reach the server of these tests by name.
const oauthBase = "https://matrix.hanse.test"

const oauthRedirect = "https://app.example.com/callback"

// surfer is a person with a browser.
type surfer struct {
	w      *world
	cookie string
	site   string // what the browser says of where a form came from; "": nothing
}

// seen is a page, or where a browser is sent.
type seen struct {
	status int
	header http.Header
	text   string
}

// at asks for a page; a form is sent if there is one.
func (s *surfer) at(address string, form url.Values) seen {
	GinkgoHelper()
	address = strings.TrimPrefix(address, oauthBase)
	method, body := "GET", ""
	if form != nil {
		method, body = "POST", form.Encode()
	}
	r, err := http.NewRequest(method, s.w.server.URL+address, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if s.site != "" {
		r.Header.Set("Sec-Fetch-Site", s.site)
	}
	if s.cookie != "" {
		r.Header.Set("Cookie", s.cookie)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	for _, c := range response.Cookies() {
		s.cookie = c.Name + "=" + c.Value
		Expect(c.HttpOnly && c.Secure && c.SameSite == http.SameSiteLaxMode && c.Path == "/" && c.Domain == "").To(BeTrue(), c.String())
		Expect(c.Name).To(HavePrefix("__Host-"))
	}
	if response.StatusCode != http.StatusSeeOther {
		Expect(response.Header.Get("Content-Type")).To(Equal("text/html; charset=utf-8"), string(raw))
	}
	Expect(response.Header).NotTo(HaveKey("Access-Control-Allow-Origin"))
	Expect(response.Header.Get("Referrer-Policy")).To(Equal("no-referrer"))
	Expect(response.Header.Get("Cache-Control")).To(Equal("no-store"))
	Expect(response.Header.Get("Content-Security-Policy")).To(HavePrefix("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"))
	return seen{response.StatusCode, response.Header, string(raw)}
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]+)"`)

// press looks at a page and sends its form by a button, with fields.
func (s *surfer) press(address, button string, fields ...string) seen {
	GinkgoHelper()
	page := s.at(address, nil)
	Expect(page.status).To(BeNumerically("<", 300), page.text)
	return s.send(page, address, button, fields...)
}

func (s *surfer) send(page seen, address, button string, fields ...string) seen {
	GinkgoHelper()
	found := tokenField.FindStringSubmatch(page.text)
	Expect(found).NotTo(BeNil(), page.text)
	form := url.Values{"token": {html.UnescapeString(found[1])}, "do": {button}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return s.at(address, form)
}

// to is where a browser is sent.
func (p seen) to() *url.URL {
	GinkgoHelper()
	Expect(p.status).To(Equal(http.StatusSeeOther), p.text)
	to, err := url.Parse(p.header.Get("Location"))
	Expect(err).NotTo(HaveOccurred())
	return to
}

// answer is what a client finds in the address to which the user was sent back.
func (p seen) answer() url.Values {
	GinkgoHelper()
	to := p.to()
	Expect(to.Scheme+"://"+to.Host+to.Path).To(Equal(oauthRedirect), to.String())
	values, err := url.ParseQuery(to.RawQuery + to.Fragment)
	Expect(err).NotTo(HaveOccurred())
	return values
}

// logIn logs the browser in on the page, and goes to where that leads.
func (s *surfer) logIn(address, name string) seen {
	GinkgoHelper()
	return s.at(s.press(address, "login", "user", name, "password", "secret of "+name).to().String(), nil)
}

// ask asks an endpoint that takes a form.
func (w *world) ask(path string, form url.Values) answered {
	GinkgoHelper()
	response, err := http.PostForm(w.server.URL+path, form)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	a := answered{status: response.StatusCode, header: response.Header, raw: path + ": " + response.Status + " " + string(raw)}
	Expect(json.Unmarshal(raw, &a.body)).To(Succeed(), a.raw)
	Expect(response.Header.Get("Cache-Control")).To(Equal("no-store"))
	Expect(response.Header.Get("Access-Control-Allow-Origin")).To(Equal("*"))
	return a
}

// failed expects an error as OAuth 2.0 has them.
func failed(a answered, status int, code string) {
	GinkgoHelper()
	Expect(a.status).To(Equal(status), a.raw)
	Expect(a.body).To(HaveKeyWithValue("error", code), a.raw)
	Expect(a.body).To(HaveKey("error_description"), a.raw)
	Expect(a.body).NotTo(HaveKey("errcode"), a.raw)
}

func oauthClientForm(more obj) obj {
	form := obj{
		"client_name": "My App", "client_uri": "https://example.com/", "redirect_uris": []string{oauthRedirect}, "token_endpoint_auth_method": "none",
		"response_types": []string{"code"}, "application_type": "web",
		"grant_types": []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
	}
	for name, value := range more {
		form[name] = value
	}
	return form
}

func (w *world) oauthClient(more obj) string {
	GinkgoHelper()
	a := w.nobody().post("/_matrix/oauth/register", oauthClientForm(more))
	Expect(a.status).To(Equal(http.StatusCreated), a.raw)
	return a.text("client_id")
}

const codeVerifier = "a-code-verifier-of-forty-three-characters-or-more"

func authorization(client, device string, more ...string) string {
	hash := sha256.Sum256([]byte(codeVerifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {oauthRedirect}, "state": {"the state"}, "response_mode": {"fragment"},
		"scope": {"urn:matrix:client:api:* urn:matrix:client:device:" + device}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(hash[:])},
	}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return "/_matrix/oauth/authorize?" + query.Encode()
}

func (w *world) exchange(client, code string, more ...string) answered {
	GinkgoHelper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {oauthRedirect}, "client_id": {client}, "code_verifier": {codeVerifier}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return w.ask("/_matrix/oauth/token", form)
}

func (w *world) refreshOAuth(client, token string) answered {
	GinkgoHelper()
	return w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {client}})
}

func withOAuth(c *Config) { c.OAuth, c.BaseURL = true, oauthBase }

var _ = Describe("the OAuth 2.0 API", func() {
	var w *world
	var client string
	var alice *surfer
	BeforeEach(func() {
		w = newWorld(withOAuth)
		w.register("alice")
		client = w.oauthClient(nil)
		alice = &surfer{w: w}
	})
	// code has alice let a client in.
	code := func(device string) string {
		GinkgoHelper()
		address := authorization(client, device)
		if page := alice.at(address, nil); strings.Contains(page.text, `name="password"`) {
			alice.logIn(address, "alice")
		}
		return alice.press(address, "allow").answer().Get("code")
	}
	login := func(device string) answered { GinkgoHelper(); return fine(w.exchange(client, code(device))) }
	as := func(a answered) *person {
		GinkgoHelper()
		return &person{w: w, id: "@alice:hanse.test", token: a.text("access_token")}
	}
	works := func(a answered) int { GinkgoHelper(); return as(a).get("/account/whoami").status }

	It("says where it is", func() {
		for _, path := range []string{"/_matrix/client/v1/auth_metadata", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata"} {
			a := fine(w.nobody().get(path))
			Expect(a.body).To(HaveKeyWithValue("issuer", oauthBase+"/"))
			Expect(a.body).To(HaveKeyWithValue("token_endpoint", oauthBase+"/_matrix/oauth/token"))
			Expect(a.body).To(HaveKeyWithValue("prompt_values_supported", ConsistOf("create")))
		}
		closed := newWorld(func(c *Config) { withOAuth(c); c.Registration.Open = false })
		Expect(fine(closed.nobody().get("/_matrix/client/v1/auth_metadata")).body).NotTo(HaveKey("prompt_values_supported"))
		off := newWorld(nil)
		refused(off.nobody().get("/_matrix/client/v1/auth_metadata"), 404, "M_UNRECOGNIZED")
		refused(off.nobody().post("/_matrix/oauth/register", obj{}), 404, "M_UNRECOGNIZED")
	})

	It("logs a client in by a code, refreshes its token and revokes it", func() {
		address := authorization(client, "DEVICE")
		page := alice.at(address, nil)
		Expect(page.text).To(ContainSubstring("My App"))
		Expect(page.text).To(ContainSubstring("example.com"))
		consent := alice.logIn(address, "alice")
		Expect(consent.text).To(ContainSubstring("@alice:hanse.test"))
		Expect(consent.text).To(ContainSubstring("DEVICE"))
		Expect(consent.text).To(ContainSubstring("app.example.com"))
		Expect(consent.header.Get("Content-Security-Policy")).To(HaveSuffix("form-action 'self' https://app.example.com"))
		done := alice.send(consent, address, "allow")
		Expect(done.to().RawQuery).To(BeEmpty(), "the web server needn't know")
		got := done.answer()
		Expect(got.Get("state")).To(Equal("the state"))
		Expect(got.Get("iss")).To(Equal(oauthBase + "/"))

		first := fine(w.exchange(client, got.Get("code")))
		Expect(first.body).To(HaveKeyWithValue("token_type", "Bearer"))
		Expect(first.body).To(HaveKeyWithValue("expires_in", BeNumerically("==", 900)))
		Expect(first.body).To(HaveKeyWithValue("scope", "urn:matrix:client:api:* urn:matrix:client:device:DEVICE"))
		whoami := fine(as(first).get("/account/whoami"))
		Expect(whoami.body).To(HaveKeyWithValue("user_id", "@alice:hanse.test"))
		Expect(whoami.body).To(HaveKeyWithValue("device_id", "DEVICE"))
		device := fine(as(first).get("/devices/DEVICE"))
		Expect(device.body).To(HaveKeyWithValue("display_name", "My App"))

		second := fine(w.refreshOAuth(client, first.text("refresh_token")))
		Expect(works(second)).To(Equal(200))
		Expect(second.body["scope"]).To(Equal(first.body["scope"]))
		Expect(works(first)).To(Equal(401))

		Expect(w.ask("/_matrix/oauth/revoke", url.Values{"token": {second.text("access_token")}, "client_id": {client}}).status).To(Equal(200))
		Expect(works(second)).To(Equal(401))
		failed(w.refreshOAuth(client, second.text("refresh_token")), 400, "invalid_grant")
		Expect(w.ask("/_matrix/oauth/revoke", url.Values{"token": {second.text("access_token")}}).status).To(Equal(200), "again")
		third := login("DEVICE")
		Expect(w.ask("/_matrix/oauth/revoke", url.Values{"token": {third.text("refresh_token")}, "token_type_hint": {"access_token"}, "client_id": {"another"}}).status).To(Equal(200))
		Expect(works(third)).To(Equal(401))
	})

	It("answers in the query where that is asked for, and takes the scopes of deployed clients", func() {
		address := authorization(client, "", "response_mode", "query",
			"scope", "openid urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:OLD")
		alice.logIn(address, "alice")
		done := alice.press(address, "allow")
		Expect(done.to().Fragment).To(BeEmpty())
		a := fine(w.exchange(client, done.answer().Get("code")))
		Expect(a.body).To(HaveKeyWithValue("scope", "urn:matrix:org.matrix.msc2967.client:api:* urn:matrix:org.matrix.msc2967.client:device:OLD"))
		Expect(works(a)).To(Equal(200))
	})

	It("gives nothing for a code by another client, to another place, or without the proof, and then nothing more", func() {
		other := w.oauthClient(obj{"client_name": "Evil"})
		for name, more := range map[string][]string{
			"another client's":         {"client_id", other},
			"another redirect URI":     {"redirect_uri", oauthRedirect + "?x"},
			"no redirect URI":          {"redirect_uri", ""},
			"no verifier":              {"code_verifier", ""},
			"another verifier":         {"code_verifier", codeVerifier + "x"},
			"the challenge for proof":  {"code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
			"by the grant for devices": {"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
		} {
			c := code("DEVICE")
			more = append(more, "device_code", c)
			failed(w.exchange(client, c, more...), 400, "invalid_grant")
			failed(w.exchange(client, c), 400, "invalid_grant") // it may have been stolen
			_ = name
		}
		for grant, want := range map[string]string{"password": "unsupported_grant_type", "client_credentials": "unsupported_grant_type", "": "invalid_request"} {
			failed(w.exchange(client, "x", "grant_type", grant), 400, want)
		}
		failed(w.exchange("nobody", "x"), 401, "invalid_client")
		failed(w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"authorization_code", "refresh_token"}, "client_id": {client}}), 400, "invalid_request")
		failed(w.exchange(client, strings.Repeat("x", 2000)), 400, "invalid_request")
	})

	It("ends the login of a code that is used twice", func() {
		c := code("DEVICE")
		a := fine(w.exchange(client, c))
		Expect(works(a)).To(Equal(200))
		failed(w.exchange(client, c), 400, "invalid_grant")
		Expect(works(a)).To(Equal(401))
		failed(w.refreshOAuth(client, a.text("refresh_token")), 400, "invalid_grant")
		again := login("DEVICE")
		failed(w.exchange(client, c), 400, "invalid_grant")
		Expect(works(again)).To(Equal(200), "another login of the same device")
	})

	It("lets a refresh be repeated until its tokens are used, and ends the login when an old token comes", func() {
		first := login("DEVICE")
		old := first.text("refresh_token")
		fine(w.refreshOAuth(client, old)) // it is lost
		second := fine(w.refreshOAuth(client, old))
		Expect(works(second)).To(Equal(200))
		third := fine(w.refreshOAuth(client, second.text("refresh_token")))
		Expect(works(third)).To(Equal(200))

		failed(w.refreshOAuth(w.oauthClient(obj{"client_name": "Evil"}), third.text("refresh_token")), 400, "invalid_grant")
		Expect(works(third)).To(Equal(200), "another client's try does no harm")
		failed(w.refreshOAuth(client, old), 400, "invalid_grant")
		Expect(works(third)).To(Equal(401), "somebody had the old one")
		failed(w.refreshOAuth(client, third.text("refresh_token")), 400, "invalid_grant")
	})

	It("gives a client that refreshes twice the same tokens, as parts of one that don't know of each other do", func() {
		first := login("DEVICE")
		second := fine(w.refreshOAuth(client, first.text("refresh_token")))
		Expect(works(second)).To(Equal(200))
		again := fine(w.refreshOAuth(client, first.text("refresh_token")))
		Expect(again.body["refresh_token"]).To(Equal(second.body["refresh_token"]))
		Expect(works(again)).To(Equal(200))
		Expect(works(second)).To(Equal(200))
		other := login("OTHER")
		answers := make([]answered, 8)
		var wait sync.WaitGroup
		for i := range answers {
			wait.Go(func() { defer GinkgoRecover(); answers[i] = fine(w.refreshOAuth(client, other.text("refresh_token"))) })
		}
		wait.Wait()
		for _, a := range answers {
			Expect(works(a)).To(Equal(200))
		}
		fine(as(second).post("/logout", obj{}))
		failed(w.refreshOAuth(client, first.text("refresh_token")), 400, "invalid_grant")
	})

	It("ends the logins of browsers where a user logs out everywhere", func() {
		a := login("DEVICE")
		fine(as(a).post("/logout/all", obj{}))
		Expect(alice.at("/_matrix/oauth/account", nil).text).To(ContainSubstring(`name="password"`))
	})

	It("keeps its tokens apart from those of /login", func() {
		a := login("DEVICE")
		refused(w.nobody().post("/refresh", obj{"refresh_token": a.text("refresh_token")}), 401, "M_UNKNOWN_TOKEN")
		legacy := fine(w.nobody().post("/login", obj{"type": "m.login.password", "refresh_token": true, "device_id": "LEGACY",
			"identifier": obj{"type": "m.id.user", "user": "alice"}, "password": "secret of alice"}))
		failed(w.refreshOAuth(client, legacy.text("refresh_token")), 400, "invalid_grant")
		w.ask("/_matrix/oauth/revoke", url.Values{"token": {legacy.text("access_token")}})
		Expect(works(legacy)).To(Equal(200))

		byPassword := fine(w.nobody().post("/login", obj{"type": "m.login.password", "device_id": "DEVICE",
			"identifier": obj{"type": "m.id.user", "user": "alice"}, "password": "secret of alice"}))
		Expect(works(a)).To(Equal(401), "its device is logged in anew")
		failed(w.refreshOAuth(client, a.text("refresh_token")), 400, "invalid_grant")
		Expect(works(byPassword)).To(Equal(200))
		fine(as(byPassword).get("/capabilities"))
		page := alice.at(authorization(client, "LEGACY"), nil)
		Expect(page.text).To(ContainSubstring("You have a device of that name already"))
	})

	It("has what needs the password done on the account page", func() {
		a := as(login("DEVICE"))
		refused(a.post("/account/password", obj{"new_password": "x"}), 403, "M_FORBIDDEN")
		refused(a.post("/account/deactivate", obj{}), 403, "M_FORBIDDEN")
		refused(a.del("/devices/OTHER", obj{}), 403, "M_FORBIDDEN")
		refused(a.post("/delete_devices", obj{"devices": []string{"OTHER"}}), 403, "M_FORBIDDEN")
		refused(a.post("/_matrix/client/v1/login/get_token", obj{}), 403, "M_FORBIDDEN")
		capabilities := fine(a.get("/capabilities")).body["capabilities"].(obj)
		Expect(capabilities["m.change_password"]).To(Equal(obj{"enabled": false}))
		fine(a.post("/logout", obj{}))
		refused(a.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
	})

	It("lets a client replace cross-signing keys once the user has said so on the account page", func() {
		a := as(login("DEVICE"))
		other := as(login("OTHER"))
		a.anyForm, other.anyForm = true, true // the specification's data lacks the 401 that its text has
		keys := func(name string) obj {
			return obj{"master_key": obj{"user_id": "@alice:hanse.test", "usage": []string{"master"}, "keys": obj{"ed25519:" + name: name}}}
		}
		first, second, third := strings.Repeat("A", 43), strings.Repeat("B", 42)+"A", strings.Repeat("C", 42)+"A"
		fine(a.post("/keys/device_signing/upload", keys(first)))
		ask := a.post("/keys/device_signing/upload", keys(second))
		Expect(ask.status).To(Equal(401), ask.raw)
		Expect(ask.body["flows"]).To(ContainElement(obj{"stages": []any{"m.oauth"}}))
		page := ask.body["params"].(obj)["m.oauth"].(obj)["url"].(string)
		Expect(page).To(HavePrefix(oauthBase + "/_matrix/oauth/account?action=org.matrix.cross_signing_reset"))
		withSession := keys(second)
		withSession["auth"] = obj{"session": ask.text("session")}
		Expect(a.post("/keys/device_signing/upload", withSession).status).To(Equal(401), "not yet")

		Expect(alice.press(page, "reset", "password", "wrong").status).To(Equal(403))
		Expect(a.post("/keys/device_signing/upload", withSession).status).To(Equal(401), "still not")
		Expect(alice.press(page, "reset", "password", "secret of alice").text).To(ContainSubstring("Go back to your client"))
		Expect(other.post("/keys/device_signing/upload", keys(third)).status).To(Equal(401), "another device may not")
		fine(a.post("/keys/device_signing/upload", withSession))
		Expect(a.post("/keys/device_signing/upload", keys(third)).status).To(Equal(401), "it was for once")
	})

	It("takes no form from elsewhere, and gives a session that others know to nobody", func() {
		address := authorization(client, "DEVICE")
		// An attacker has put a cookie into the browser.
		alice.cookie = "__Host-hanse=FIXED"
		page := alice.at(address, nil)
		done := alice.send(page, address, "login", "user", "alice", "password", "secret of alice")
		Expect(done.status).To(Equal(303))
		Expect(alice.cookie).NotTo(ContainSubstring("FIXED"))
		mallory := &surfer{w: w, cookie: "__Host-hanse=FIXED"}
		Expect(mallory.at(address, nil).text).To(ContainSubstring(`name="password"`))

		consent := alice.at(address, nil)
		token := tokenField.FindStringSubmatch(consent.text)[1]
		theirs := tokenField.FindStringSubmatch(mallory.at(address, nil).text)[1]
		for name, form := range map[string]url.Values{
			"none": {"do": {"allow"}}, "empty": {"do": {"allow"}, "token": {""}}, "another's": {"do": {"allow"}, "token": {theirs}},
		} {
			refusal := alice.at(address, form)
			Expect(refusal.status).To(Equal(403), name)
			Expect(refusal.text).To(ContainSubstring("too old"))
			// Who was merely slow goes on from there: the client, which began all this, needn't be asked again.
			again := alice.at(html.UnescapeString(regexp.MustCompile(`href="([^"]*)">Try again`).FindStringSubmatch(refusal.text)[1]), nil)
			Expect(again.text).To(ContainSubstring("Let this client in?"))
		}
		for _, site := range []string{"cross-site", "same-site", "none"} {
			alice.site = site
			Expect(alice.at(address, url.Values{"do": {"allow"}, "token": {token}}).status).To(Equal(403), site)
		}
		alice.site = "same-origin"
		Expect(alice.at(address, url.Values{"do": {"allow"}, "token": {token}}).answer().Get("code")).NotTo(BeEmpty())
		// Without a cookie nothing is taken either.
		Expect((&surfer{w: w}).at(address, url.Values{"do": {"allow"}, "token": {token}}).status).To(Equal(403))
	})

	It("sends nobody anywhere that the client didn't register", func() {
		for _, redirect := range []string{
			"https://evil.com/", oauthRedirect + "/../x", oauthRedirect + "@evil.com", "javascript:alert(1)", "//evil.com", "https://app.example.com/", "",
		} {
			page := alice.at(authorization(client, "DEVICE", "redirect_uri", redirect), nil)
			Expect(page.status).To(Equal(400), redirect)
			Expect(page.header).NotTo(HaveKey("Location"))
		}
		unknown := alice.at(authorization("nobody", "DEVICE"), nil)
		Expect(unknown.status).To(Equal(400))
		Expect(unknown.text).To(ContainSubstring("know the client"))
		// Nor are they sent to where a client did, as anybody can be one, before they have pressed a button: RFC 9700, section 4.11.2.
		for code, change := range map[string][]string{
			"invalid_request": {"code_challenge_method", "plain"}, "invalid_scope": {"scope", "openid"}, "interaction_required": {"prompt", "none"},
		} {
			page := alice.at(authorization(client, "DEVICE", change...), nil)
			Expect(page.status).To(Equal(400), page.text)
			Expect(page.text).To(ContainSubstring(`href="` + oauthRedirect + "#error=" + code))
			Expect(page.text).To(ContainSubstring("state=the+state"))
			Expect(page.text).To(ContainSubstring("app.example.com"))
		}
		native := w.oauthClient(obj{"application_type": "native", "redirect_uris": []string{"com.example:/cb"}})
		Expect(alice.at(authorization(native, "DEVICE", "redirect_uri", "com.example:/cb", "code_challenge", ""), nil).text).To(
			ContainSubstring(`href="com.example:/cb#error=invalid_request`))
		// After the login it goes on here, whatever the address says.
		to := alice.press(authorization(client, "DEVICE", "next", "https://evil.com/", "prompt", "login"), "login", "user", "alice", "password", "secret of alice").to()
		Expect(to.Host).To(BeEmpty())
		Expect(to.Path).To(Equal("/_matrix/oauth/authorize"))
		Expect(alice.press(authorization(client, "DEVICE"), "refuse").answer().Get("error")).To(Equal("access_denied"))
	})

	It("shows what clients and users say as text", func() {
		evil := w.oauthClient(obj{"client_name": `<script>alert("x")</script>`})
		address := authorization(evil, "<b>bold</b>")
		page := alice.press(address, "login", "user", `"><script>`, "password", "x")
		Expect(page.status).To(Equal(403))
		Expect(page.text).To(ContainSubstring("Wrong user name or password"))
		Expect(page.text).NotTo(ContainSubstring("<script"))
		Expect(alice.logIn(address, "alice").text).NotTo(SatisfyAny(ContainSubstring("<script"), ContainSubstring("<b>")))
	})

	It("lets in who /login would, and nobody else", func(ctx context.Context) {
		address := authorization(client, "DEVICE")
		try := func(name, password string) string {
			GinkgoHelper()
			page := (&surfer{w: w}).press(address, "login", "user", name, "password", password)
			Expect(page.status).To(Equal(403), page.text)
			return page.text
		}
		Expect(try("nobody", "x")).To(ContainSubstring("Wrong user name or password"))
		Expect(try("alice", "")).To(ContainSubstring("Wrong user name or password"))
		a := login("DEVICE")
		Expect(w.users.Lock(ctx, "@alice:hanse.test", true)).To(Succeed())
		Expect(try("alice", "secret of alice")).To(ContainSubstring("locked"))
		Expect(alice.at(address, nil).text).To(ContainSubstring(`name="password"`), "the browser was logged in")
		failed(w.refreshOAuth(client, a.text("refresh_token")), 503, "temporarily_unavailable")
		Expect(w.users.Lock(ctx, "@alice:hanse.test", false)).To(Succeed())
		a = fine(w.refreshOAuth(client, a.text("refresh_token")))
		Expect(works(a)).To(Equal(200), "nobody has to log in again")

		Expect(w.users.Suspend(ctx, "@alice:hanse.test", true)).To(Succeed())
		suspended := login("ANOTHER")
		Expect(works(suspended)).To(Equal(200))
		Expect(w.users.Suspend(ctx, "@alice:hanse.test", false)).To(Succeed())

		pending := code("DEVICE")
		Expect(w.users.Deactivate(ctx, "@alice:hanse.test", false)).To(Succeed())
		failed(w.exchange(client, pending), 400, "invalid_grant")
		failed(w.refreshOAuth(client, suspended.text("refresh_token")), 400, "invalid_grant")
		Expect(try("alice", "secret of alice")).To(ContainSubstring("Wrong user name or password"))
	})

	It("forgets codes and browsers when the password is changed", func(ctx context.Context) {
		pending := code("DEVICE")
		Expect(w.users.SetPassword(ctx, "@alice:hanse.test", "another")).To(Succeed())
		failed(w.exchange(client, pending), 400, "invalid_grant")
		Expect(alice.at(authorization(client, "DEVICE"), nil).text).To(ContainSubstring(`name="password"`))
	})

	It("keeps who is logged in over a restart", func() {
		a, pending := login("DEVICE"), code("ANOTHER")
		asked := fine(w.ask("/_matrix/oauth/device", url.Values{"client_id": {client}, "scope": {"urn:matrix:client:api:* urn:matrix:client:device:TV"}}))
		restarted, err := New(w.config)
		Expect(err).NotTo(HaveOccurred())
		w.server.Config.Handler = restarted
		Expect(works(fine(w.refreshOAuth(client, a.text("refresh_token"))))).To(Equal(200))
		Expect(works(fine(w.exchange(client, pending)))).To(Equal(200))
		Expect(alice.at(authorization(client, "DEVICE"), nil).text).To(ContainSubstring(`name="password"`), "browsers log in again")
		alice.logIn("/_matrix/oauth/link", "alice")
		alice.press(asked.text("verification_uri_complete"), "allow", "user_code", asked.text("user_code"))
		Expect(works(fine(w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
			"device_code": {asked.text("device_code")}, "client_id": {client}})))).To(Equal(200))
	})

	Describe("for devices without a browser", func() {
		ask := func() answered {
			GinkgoHelper()
			return fine(w.ask("/_matrix/oauth/device", url.Values{"client_id": {client}, "scope": {"urn:matrix:client:api:* urn:matrix:client:device:TV"}}))
		}
		poll := func(a answered) answered {
			GinkgoHelper()
			return w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {a.text("device_code")}, "client_id": {client}})
		}

		It("has a person type the code, who is warned, and lets the device in once", func() {
			asked := ask()
			Expect(asked.text("user_code")).To(MatchRegexp("^[B-Z]{4}-[B-Z]{4}$"))
			Expect(asked.text("verification_uri_complete")).To(Equal(oauthBase + "/_matrix/oauth/link?user_code=" + asked.text("user_code")))
			Expect(asked.body).To(HaveKeyWithValue("interval", BeNumerically("==", 5)))
			failed(poll(asked), 400, "authorization_pending")
			failed(poll(asked), 400, "slow_down")

			alice.logIn(asked.text("verification_uri"), "alice")
			typed := strings.ToLower(strings.ReplaceAll(asked.text("user_code"), "-", " "))
			consent := alice.press(asked.text("verification_uri"), "look", "user_code", typed)
			Expect(consent.text).To(SatisfyAll(ContainSubstring(asked.text("user_code")), ContainSubstring("My App"), ContainSubstring("TV"),
				ContainSubstring("Go on only if you started it yourself")))
			failed(poll(asked), 400, "slow_down")
			Expect(alice.send(consent, asked.text("verification_uri"), "allow", "user_code", asked.text("user_code")).text).To(ContainSubstring("is being logged in"))
			Expect(alice.press(asked.text("verification_uri"), "allow", "user_code", asked.text("user_code")).status).To(Equal(403), "again")

			other := w.oauthClient(obj{"client_name": "Evil"})
			login := fine(poll(asked))
			Expect(works(login)).To(Equal(200))
			failed(poll(asked), 400, "invalid_grant")
			failed(w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {asked.text("device_code")}, "client_id": {other}}), 400, "invalid_grant")
			Expect(works(login)).To(Equal(200), "a poll may come twice")
		})

		It("takes no for an answer", func() {
			asked := ask()
			alice.logIn("/_matrix/oauth/link", "alice")
			Expect(alice.press(asked.text("verification_uri_complete"), "refuse", "user_code", asked.text("user_code")).text).To(ContainSubstring("was not let in"))
			failed(poll(asked), 400, "access_denied")
		})

		It("is for clients that said so, with a good scope", func() {
			web := w.oauthClient(obj{"grant_types": []string{"authorization_code"}})
			scope := "urn:matrix:client:api:* urn:matrix:client:device:TV"
			failed(w.ask("/_matrix/oauth/device", url.Values{"client_id": {web}, "scope": {scope}}), 400, "unauthorized_client")
			failed(w.ask("/_matrix/oauth/device", url.Values{"client_id": {client}, "scope": {"openid"}}), 400, "invalid_scope")
			failed(w.ask("/_matrix/oauth/device", url.Values{"client_id": {"nobody"}, "scope": {scope}}), 401, "invalid_client")
			failed(w.ask("/_matrix/oauth/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {"x"}, "client_id": {web}}), 400, "unauthorized_client")
		})
	})

	It("has an account made where it may be, with a token where one is needed", func() {
		address := authorization(client, "DEVICE", "prompt", "create")
		bob := &surfer{w: w}
		Expect(bob.press(address, "create", "user", "bob", "password", "secret of bob", "again", "x").text).To(ContainSubstring("differ"))
		Expect(bob.press(address, "create", "user", "alice", "password", "secret of bob", "again", "secret of bob").text).To(ContainSubstring("This user name is taken."))
		Expect(bob.press(address, "create", "user", "bob", "password", "", "again", "").text).To(ContainSubstring("A password is needed"))
		consent := bob.at(bob.press(address, "create", "user", "Bob", "password", "secret of bob", "again", "secret of bob").to().String(), nil)
		Expect(consent.text).To(ContainSubstring("@bob:hanse.test"))
		a := fine(w.exchange(client, bob.send(consent, authorization(client, "DEVICE"), "allow").answer().Get("code")))
		Expect(fine((&person{w: w, token: a.text("access_token")}).get("/account/whoami")).body).To(HaveKeyWithValue("user_id", "@bob:hanse.test"))

		closed := newWorld(func(c *Config) { withOAuth(c); c.Registration.Open = false })
		eve := &surfer{w: closed}
		address = authorization(closed.oauthClient(nil), "DEVICE", "prompt", "create")
		Expect(eve.at(address, nil).text).NotTo(ContainSubstring("Create"))
		Expect(eve.press(address, "create", "user", "eve", "password", "x", "again", "x").text).To(ContainSubstring(`value="login"`))

		byToken := newWorld(func(c *Config) { withOAuth(c); c.Registration = Registration{Tokens: []string{"sesame"}} })
		address = authorization(byToken.oauthClient(nil), "DEVICE", "prompt", "create")
		dora := &surfer{w: byToken}
		Expect(dora.press(address, "create", "user", "dora", "password", "x", "again", "x", "registration", "wrong").text).To(ContainSubstring("token is not valid"))
		Expect(dora.press(address, "create", "user", "dora", "password", "x", "again", "x", "registration", "sesame").status).To(Equal(303))
	})

	It("has a page on which users see and end devices, and change name and password", func() {
		a, other := login("DEVICE"), login("OTHER")
		account := "/_matrix/oauth/account"
		list := alice.at(account+"?action=org.matrix.devices_list", nil)
		Expect(list.text).To(SatisfyAll(ContainSubstring("OTHER"), ContainSubstring("My App from example.com")))
		view := alice.at(account+"?action=org.matrix.device_view&device_id=OTHER", nil)
		Expect(view.text).To(ContainSubstring("Go-http-client"))
		Expect(alice.at(account+"?action=org.matrix.session_view&device_id=NONE", nil).status).To(Equal(404))
		Expect(works(other)).To(Equal(200), "looking ends nothing")
		Expect(alice.press(account+"?action=org.matrix.device_delete&device_id=OTHER", "end", "device_id", "OTHER").text).To(ContainSubstring("is logged out"))
		Expect(works(other)).To(Equal(401))

		Expect(alice.press(account+"?action=org.matrix.profile", "profile", "name", "Alice <3").text).To(ContainSubstring("Saved"))
		Expect(fine(as(a).get("/profile/@alice:hanse.test/displayname")).body).To(HaveKeyWithValue("displayname", "Alice <3"))

		change := func(old, again string) seen {
			GinkgoHelper()
			return alice.press(account+"?action=password", "password", "password", old, "new", "new secret", "again", again, "others", "yes")
		}
		Expect(change("wrong", "new secret").text).To(ContainSubstring("Wrong password"))
		Expect(change("secret of alice", "other").text).To(ContainSubstring("differ"))
		Expect(works(a)).To(Equal(200))
		Expect(change("secret of alice", "new secret").status).To(Equal(303))
		Expect(works(a)).To(Equal(401))
		Expect(alice.at(account, nil).text).To(ContainSubstring("Your devices"), "this browser stays logged in")
		Expect(alice.press(account, "leave").status).To(Equal(303))
		Expect(alice.at(account, nil).text).To(ContainSubstring(`name="password"`))
	})

	It("has a page on which an account ends", func() {
		a := login("DEVICE")
		address := "/_matrix/oauth/account?action=org.matrix.account_deactivate"
		Expect(alice.press(address, "deactivate", "password", "wrong", "sure", "yes").text).To(ContainSubstring("Wrong password"))
		Expect(alice.press(address, "deactivate", "password", "secret of alice").text).NotTo(ContainSubstring("has ended"))
		Expect(works(a)).To(Equal(200))
		Expect(alice.press(address, "deactivate", "password", "secret of alice", "sure", "yes").text).To(ContainSubstring("has ended"))
		Expect(works(a)).To(Equal(401))
		refused(w.nobody().post("/login", obj{"type": "m.login.password", "user": "alice", "password": "secret of alice"}), 403, "M_FORBIDDEN")
	})

	Context("where mails are sent", func() {
		var box *postbox
		var person *person
		sid := func(p seen) string {
			GinkgoHelper()
			found := regexp.MustCompile(`name="sid" value="(\w+)"`).FindStringSubmatch(p.text)
			Expect(found).NotTo(BeNil(), p.text)
			return found[1]
		}
		BeforeEach(func() {
			w, box = mailingWorld(withOAuth)
			person = w.register("alice")
			person.addEmail(box, "alice@example.org")
			client = w.oauthClient(nil)
			alice = &surfer{w: w}
		})

		It("gives a new password to who forgot it, in the browser that asked", func() {
			address := authorization(client, "DEVICE")
			Expect(alice.at(address, nil).text).To(ContainSubstring(`forgotten=yes`))
			address = authorization(client, "DEVICE", "forgotten", "yes")
			Expect(alice.press(address, "mail", "email", "nonsense").text).To(ContainSubstring("This is not an e-mail address"))
			Expect(alice.press(address, "mail", "email", "nobody@example.org").text).To(ContainSubstring("A mail is on its way"))
			waits := alice.press(address, "mail", "email", "Alice@example.org")
			Expect(waits.text).To(ContainSubstring("A mail is on its way"))
			Expect(alice.send(waits, address, "mailed", "sid", sid(waits)).text).To(ContainSubstring("not confirmed yet"))
			Expect(alice.send(waits, address, "renew", "sid", sid(waits), "new", "fresh", "again", "fresh").text).To(ContainSubstring("not confirmed yet"))
			w.confirm(box.last(3))
			mallory := &surfer{w: w}
			Expect(mallory.press(address, "renew", "sid", sid(waits), "new", "fresh", "again", "fresh").text).To(ContainSubstring("not confirmed yet"))
			form := alice.send(waits, address, "mailed", "sid", sid(waits))
			Expect(alice.send(form, address, "renew", "sid", sid(form), "new", "fresh", "again", "other").text).To(ContainSubstring("differ"))
			done := alice.send(form, address, "renew", "sid", sid(form), "new", "fresh", "again", "fresh", "others", "yes")
			Expect(alice.at(done.to().String(), nil).text).To(ContainSubstring("wants to use your account <strong>@alice:hanse.test"))
			refused(person.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
			Expect((&surfer{w: w}).press(address, "login", "user", "alice@example.org", "password", "fresh").status).To(Equal(303))
			Expect(mallory.press(address, "mailed", "sid", sid(form)).text).To(ContainSubstring("not confirmed yet"), "it is spent")
		})

		It("has addresses added to an account, with the password, and removed", func() {
			address := "/_matrix/oauth/account?action=emails"
			Expect(alice.logIn(address, "alice").text).To(ContainSubstring("alice@example.org"))
			waits := alice.press(address, "mail", "email", "second@example.org")
			w.confirm(box.last(2))
			form := alice.send(waits, address, "mailed", "sid", sid(waits))
			Expect(alice.send(form, address, "add", "sid", sid(form), "password", "wrong").text).To(ContainSubstring("Wrong password"))
			Expect(fine(person.get("/account/3pid")).raw).NotTo(ContainSubstring("second@example.org"))
			Expect(alice.send(form, address, "add", "sid", sid(form), "password", "secret of alice").text).To(ContainSubstring("is yours now"))
			Expect(fine(person.get("/account/3pid")).raw).To(ContainSubstring("second@example.org"))
			Expect(alice.press(address, "remove", "email", "second@example.org").text).To(ContainSubstring("is removed"))
			Expect(fine(person.get("/account/3pid")).raw).NotTo(ContainSubstring("second@example.org"))
			refused(as(login("DEVICE")).post("/account/3pid/delete", obj{"medium": "email", "address": "alice@example.org"}), 403, "M_FORBIDDEN")
		})

		It("has an account made with an address where one is needed", func() {
			w, box = mailingWorld(func(c *Config) { withOAuth(c); c.Registration.Email = true })
			Expect(fine(w.nobody().get("/_matrix/client/v1/auth_metadata")).body).To(HaveKeyWithValue("prompt_values_supported", ConsistOf("create")))
			address := authorization(w.oauthClient(nil), "DEVICE", "prompt", "create")
			bob := &surfer{w: w}
			Expect(bob.press(address, "create", "user", "bob", "password", "x", "again", "x").text).To(ContainSubstring("needs an e-mail address"))
			waits := bob.press(address, "mail", "email", "bob@example.org")
			w.confirm(box.last(1))
			form := bob.send(waits, address, "mailed", "sid", sid(waits))
			Expect(form.text).To(ContainSubstring("Create the account"))
			done := bob.send(form, address, "create", "sid", sid(form), "user", "bob", "password", "x", "again", "x")
			Expect(bob.at(done.to().String(), nil).text).To(ContainSubstring("@bob:hanse.test"))
			user, found, err := w.users.EmailUser(context.Background(), "bob@example.org")
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeTrue())
			Expect(user).To(Equal(id.UserID("@bob:hanse.test")))
		})
	})

	It("has passwords and user codes guessed slowly", func() {
		limited := newWorld(func(c *Config) { withOAuth(c); c.RateLimits = RateLimits{Logins: Limit{PerSecond: 0.0001, Burst: 4}} })
		_, err := limited.users.Register(context.Background(), registrationOf("alice"))
		Expect(err).NotTo(HaveOccurred())
		limited.server.Config.Handler = fromAnywhere(limited.api)
		address := authorization(limited.oauthClient(nil), "DEVICE")
		for range 4 {
			Expect((&surfer{w: limited}).press(address, "login", "user", "alice", "password", "wrong").status).To(Equal(403))
		}
		slow := (&surfer{w: limited}).press(address, "login", "user", "alice", "password", "secret of alice")
		Expect(slow.status).To(Equal(429), "from other addresses, too")
		Expect(slow.text).To(ContainSubstring("too many tries"))

		_, err = limited.users.Register(context.Background(), registrationOf("bob"))
		Expect(err).NotTo(HaveOccurred())
		bob := &surfer{w: limited}
		bob.logIn("/_matrix/oauth/link", "bob")
		for range 4 {
			Expect(bob.press("/_matrix/oauth/link", "look", "user_code", "BCDF-GHJK").text).To(ContainSubstring("not good"))
		}
		Expect(bob.press("/_matrix/oauth/link", "look", "user_code", "BCDF-GHJK").status).To(Equal(429))
	})

	It("refuses clients that say what they may not", func() {
		for _, more := range []obj{{"redirect_uris": []string{"http://localhost/"}}, {"redirect_uris": []string{"https://evil.com/"}}, {"client_uri": "http://example.com/"}} {
			a := w.nobody().post("/_matrix/oauth/register", oauthClientForm(more))
			Expect(a.status).To(Equal(400), a.raw)
			Expect(a.body["error"]).To(BeElementOf("invalid_redirect_uri", "invalid_client_metadata"))
		}
		Expect(w.oauthClient(nil)).To(Equal(client), "the same client again")
		Expect(w.nobody().post("/_matrix/oauth/register", oauthClientForm(obj{"client_name": strings.Repeat("x", 40_000)})).status).To(Equal(400))
	})
})

func TestBrowserSessionsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := newBrowserSessions()
		first := sessions.open("@a:b", [sha256.Size]byte{1})
		if session, ok := sessions.find(first); !ok || session.user != id.UserID("@a:b") {
			t.Error("a session is not found")
		}
		time.Sleep(browserSessionLife)
		if _, ok := sessions.find(first); ok {
			t.Error("a session doesn't end")
		}
		last := ""
		for range 2*maxBrowserSessions + 1 {
			last = sessions.open("@a:b", [sha256.Size]byte{})
		}
		if n := len(sessions.sessions); n > maxBrowserSessions {
			t.Errorf("%d sessions", n)
		}
		if _, ok := sessions.find(last); !ok {
			t.Error("the newest session is gone")
		}
		if _, ok := sessions.find(""); ok {
			t.Error("there is a session without a secret")
		}
	})
}

func registrationOf(name string) users.Registration {
	return users.Registration{Username: name, Password: "secret of " + name}
}

// fromAnywhere has each request come from another address.
func fromAnywhere(next http.Handler) http.Handler {
	var n atomic.Uint32
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = fmt.Sprintf("198.51.%d.1:1", n.Add(1))
		next.ServeHTTP(w, r)
	})
}
