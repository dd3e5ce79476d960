package clientapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the tools that make accounts this way use it; as an HMAC it is sound
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"

	"hanse/federation"
	"hanse/node/users"
)

// Accounts by a shared secret, in the form that existing tools speak (register_new_matrix_user): GET a nonce, then
// POST the account with an HMAC over it. It is no part of the specification.
func (a *API) sharedSecretRoutes() []route {
	return []route{
		{http.MethodGet, "/_synapse/admin/v1/register", unversioned, withoutUser, ordinary, a.registrationNonce},
		{http.MethodPost, "/_synapse/admin/v1/register", unversioned, withoutUser, ordinary, a.registerBySecret},
	}
}

// nonces are handed out once and taken back once. Safe for concurrent use.
type nonces struct {
	mu      sync.Mutex
	expires map[string]time.Time // guarded by mu
}

func newNonces() *nonces { return &nonces{expires: make(map[string]time.Time)} }

func (n *nonces) issue() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if len(n.expires) >= maxNonces {
		for nonce, expires := range n.expires {
			if now.After(expires) {
				delete(n.expires, nonce)
			}
		}
	}
	if len(n.expires) >= maxNonces {
		return "", &limitedError{after: nonceLife}
	}
	nonce := rand.Text()
	n.expires[nonce] = now.Add(nonceLife)
	return nonce, nil
}

func (n *nonces) take(nonce string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	expires, ok := n.expires[nonce]
	delete(n.expires, nonce)
	return ok && time.Now().Before(expires)
}

func (a *API) registrationNonce(*request) (any, error) {
	if a.config.Registration.SharedSecret == "" {
		return nil, badRequest("M_UNKNOWN", "Shared secret registration is not enabled; the operator sets registration.shared_secret to open it")
	}
	nonce, err := a.nonces.issue()
	if err != nil {
		return nil, err
	}
	return map[string]string{"nonce": nonce}, nil
}

func (a *API) registerBySecret(r *request) (any, error) {
	if a.config.Registration.SharedSecret == "" {
		return nil, badRequest("M_UNKNOWN", "Shared secret registration is not enabled; the operator sets registration.shared_secret to open it")
	}
	var req struct {
		Nonce        string `json:"nonce"`
		Username     string `json:"username"`
		Password     string `json:"password"`
		DisplayName  string `json:"displayname"`
		Admin        bool   `json:"admin"`
		UserType     string `json:"user_type"`
		MAC          string `json:"mac"`
		InhibitLogin bool   `json:"inhibit_login"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Nonce == "":
		return nil, missingParam("nonce")
	case req.Username == "" || strings.ContainsRune(req.Username, 0):
		return nil, invalidParam("username is missing or has a NUL")
	case req.Password == "" || strings.ContainsRune(req.Password, 0):
		return nil, invalidParam("password is missing or has a NUL")
	case !a.nonces.take(req.Nonce):
		return nil, badRequest("M_UNKNOWN", "unrecognised nonce")
	}
	role := "notadmin"
	if req.Admin {
		role = "admin"
	}
	parts := []string{req.Nonce, req.Username, req.Password, role}
	if req.UserType != "" {
		parts = append(parts, req.UserType)
	}
	mac := hmac.New(sha1.New, []byte(a.config.Registration.SharedSecret))
	mac.Write([]byte(strings.Join(parts, "\x00")))
	given, err := hex.DecodeString(req.MAC)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return nil, &federation.Error{Status: http.StatusForbidden, Code: "M_UNKNOWN", Message: "HMAC incorrect"}
	}
	account := users.Registration{Username: strings.ToLower(req.Username), Password: req.Password, Admin: req.Admin, DisplayName: req.DisplayName}
	if !req.InhibitLogin {
		device := a.loginDevice(r, "", "", false)
		account.Login = &device
	}
	login, err := a.config.Users.Register(r.Context(), account)
	if err != nil {
		return nil, err
	}
	return a.loginAnswer(login), nil
}
