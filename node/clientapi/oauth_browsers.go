package clientapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"hanse/federation/id"
)

// browser is who sits before a browser with the pages of the OAuth 2.0 API: somebody who has logged in there, or nobody yet. Its secret is in
// a cookie.
type browser struct {
	secret string
	user   id.UserID // "" for nobody
}

// browserSession is what is kept of a login in a browser.
type browserSession struct {
	user    id.UserID
	account [sha256.Size]byte // the account as it was then: see users.AccountState
	expires time.Time
	order   uint64 // greater: made later
}

// browserSessions are the logins in browsers. They are in memory: after a restart a person is asked for the password again. Safe for
// concurrent use.
type browserSessions struct {
	mu       sync.Mutex
	sessions map[[sha256.Size]byte]browserSession // guarded by mu; by the hash of the secret
	next     uint64                               // guarded by mu
}

func newBrowserSessions() *browserSessions {
	return &browserSessions{sessions: map[[sha256.Size]byte]browserSession{}}
}

// open makes a session under a new secret: one that somebody could have put into the browser before is worth nothing. When there are too many,
// those that have ended go, or a tenth of all, the oldest.
func (s *browserSessions) open(user id.UserID, account [sha256.Size]byte) (secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, oldest := range []uint64{0, s.next - maxBrowserSessions*9/10} {
		if len(s.sessions) < maxBrowserSessions {
			break
		}
		for key, session := range s.sessions {
			if now.After(session.expires) || session.order < oldest {
				delete(s.sessions, key)
			}
		}
	}
	s.next++
	secret = newBrowserSecret()
	s.sessions[sha256.Sum256([]byte(secret))] = browserSession{user: user, account: account, expires: now.Add(browserSessionLife), order: s.next}
	return secret
}

func (s *browserSessions) find(secret string) (browserSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[sha256.Sum256([]byte(secret))]
	return session, ok && time.Now().Before(session.expires)
}

func (s *browserSessions) close(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sha256.Sum256([]byte(secret)))
}

// closeAllOf ends all sessions of a user.
func (s *browserSessions) closeAllOf(user id.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.sessions, func(_ [sha256.Size]byte, session browserSession) bool { return session.user == user })
}

// newBrowserSecret is the secret of a browser in which nobody has logged in: forms from it are known by it.
func newBrowserSecret() string { return rand.Text() }

// formToken is what forms must have beside the cookie: another site can't know it.
func (b browser) formToken() string { return b.derived("form") }

// derived is a secret of the browser's for something, from which the cookie can't be found.
func (b browser) derived(purpose string) string {
	mac := hmac.New(sha256.New, []byte(b.secret))
	_, _ = mac.Write([]byte(purpose)) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sentByUs tells whether a form comes from a page of ours in this browser.
func (b browser) sentByUs(r *http.Request, token string) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return b.secret != "" && (site == "" || site == "same-origin") && hmac.Equal([]byte(b.formToken()), []byte(token))
}

// cookieName is the name of the cookie. Where pages come by HTTPS, no other host, and no page without, can set one of that name.
func (a *API) cookieName() string {
	if strings.HasPrefix(a.config.BaseURL, "https:") {
		return "__Host-hanse"
	}
	return "hanse"
}

func (a *API) setCookie(w http.ResponseWriter, secret string) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookieName(), Value: secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(a.config.BaseURL, "https:"),
	})
}

// browser finds out who sits before a browser. Who is locked, or changed the password since, is nobody.
func (a *API) browser(r *request) (browser, error) {
	cookie, err := r.Cookie(a.cookieName())
	if err != nil || len(cookie.Value) > maxTokenBytes {
		return browser{}, nil //nolint:nilerr // there is no such cookie
	}
	b := browser{secret: cookie.Value}
	session, ok := a.browsers.find(b.secret)
	if !ok {
		return b, nil
	}
	state, usable, err := a.config.Users.AccountState(r.Context(), session.user)
	switch {
	case err != nil:
		return b, err
	case !usable || state != session.account:
		a.browsers.close(b.secret)
		return browser{}, nil
	}
	b.user = session.user
	return b, nil
}

// logInBrowser makes the browser the user's, who has said that it is them; false if the account can't be used.
func (a *API) logInBrowser(r *request, user id.UserID) (bool, error) {
	state, usable, err := a.config.Users.AccountState(r.Context(), user)
	if err != nil || !usable {
		return false, err
	}
	a.setCookie(r.writer, a.browsers.open(user, state))
	return true, nil
}
