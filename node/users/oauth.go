package users

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"hanse/federation/id"
	"hanse/node/store"
)

// What OAuth 2.0 clients are refused with.
var (
	// ErrFull says that as many clients are logged in as there may be.
	ErrFull = errors.New("users: there are too many clients of the OAuth 2.0 API")
	// ErrUndecided says that nobody has said yet whether a client may log in.
	ErrUndecided = errors.New("users: nobody has decided on the code yet")
	// ErrRefused says that the user doesn't want the client to log in.
	ErrRefused = errors.New("users: the user has refused")
	// ErrExpiredCode says that a code is too old.
	ErrExpiredCode = errors.New("users: the code has expired")
	// ErrUserCodeTaken says that another user code is to be tried.
	ErrUserCodeTaken = errors.New("users: the user code is in use")
)

// SetOAuthClient keeps what an OAuth 2.0 client says of itself under that ID, for 90 days, or for as long as it is logged in somewhere. ErrFull if
// there are too many that are.
func (u *Users) SetOAuthClient(ctx context.Context, clientID string, metadata []byte) error {
	now := time.Now()
	err := u.store.SetOAuthClient(ctx, clientID, metadata, now, now.Add(-oauthClientKept), maxOAuthClients)
	if errors.Is(err, store.ErrFull) {
		return ErrFull
	}
	return err
}

// OAuthClient is what a client said of itself; false if it isn't known (any more).
func (u *Users) OAuthClient(ctx context.Context, clientID string) (metadata []byte, known bool, err error) {
	return u.store.OAuthClient(ctx, clientID)
}

// OAuthRequest is what a client asks a user for.
type OAuthRequest struct {
	Client    string // its ID
	Device    string
	Scope     string
	Redirect  string // where the user is sent with the code; "" for a device
	Challenge string // what proves that it is the client that asked; "" for a device
}

// AccountState is a mark of an account that becomes another with its password: what was allowed before doesn't hold then. false if the user
// has no account here, or can't use it now: a guest, one who is locked or deactivated.
func (u *Users) AccountState(ctx context.Context, user id.UserID) (state [sha256.Size]byte, usable bool, err error) {
	account, there, err := u.store.User(ctx, user)
	if err != nil || !there || account.Deactivated || account.Guest || u.Restrictions(user).Locked {
		return state, false, err
	}
	return store.HashToken(account.PasswordHash), true, nil
}

// Allow makes the code with which a client gets what a user allows it: good for a minute, and once.
func (u *Users) Allow(ctx context.Context, user id.UserID, r OAuthRequest) (code string, err error) {
	state, ok, err := u.AccountState(ctx, user)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", ErrRefused
	}
	code = randomToken("hansec_")
	now := time.Now()
	return code, u.store.AddOAuthCode(ctx, store.OAuthCode{
		Hash: store.HashToken(code), Client: r.Client, Device: r.Device, Scope: r.Scope, Redirect: r.Redirect, Challenge: r.Challenge,
		User: user, Account: state, Decision: store.OAuthAllowed, Expires: now.Add(oauthCodeLife),
	}, now.Add(-oauthCodeKept), maxOAuthCodes)
}

// AskForDevice makes a code for a client that has no browser, and with it the one that a person types elsewhere. ErrUserCodeTaken: another is to be tried.
func (u *Users) AskForDevice(ctx context.Context, r OAuthRequest, userCode string) (code string, life time.Duration, err error) {
	code = randomToken("hansed_")
	now := time.Now()
	err = u.store.AddOAuthCode(ctx, store.OAuthCode{
		Hash: store.HashToken(code), UserCode: userCode, Client: r.Client, Device: r.Device, Scope: r.Scope, Expires: now.Add(oauthDeviceCodeLife),
	}, now.Add(-oauthCodeKept), maxOAuthCodes)
	if errors.Is(err, store.ErrExists) {
		err = ErrUserCodeTaken
	}
	return code, oauthDeviceCodeLife, err
}

// AskedForDevice is what the client asks for that has shown a person that code; false if there is none, or it can't be decided any more.
func (u *Users) AskedForDevice(ctx context.Context, userCode string) (OAuthRequest, bool, error) {
	c, found, err := u.store.OAuthCodeTyped(ctx, userCode)
	if err != nil || !found || c.Decision != store.OAuthUndecided || time.Now().After(c.Expires) {
		return OAuthRequest{}, false, err
	}
	return OAuthRequest{Client: c.Client, Device: c.Device, Scope: c.Scope}, true, nil
}

// DecideForDevice notes whether a user lets the client in that has shown that code; false if it can't be decided any more.
func (u *Users) DecideForDevice(ctx context.Context, user id.UserID, userCode string, allow bool) (bool, error) {
	state, ok, err := u.AccountState(ctx, user)
	if err != nil || !ok {
		return false, err
	}
	decision := store.OAuthRefused
	if allow {
		decision = store.OAuthAllowed
	}
	err = u.store.DecideOAuthCode(ctx, userCode, user, state, decision, time.Now())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// OAuthLogin is a login by the OAuth 2.0 API.
type OAuthLogin struct {
	Login
	Scope string
}

// LogInByCode logs a client in with a code. proven is told what was asked for and tells whether it is that client that asks now; the code is
// spent if it isn't, and with the login. ErrUnknownToken if the code isn't good (any more); the others above; ErrLocked. When a code that went through a
// browser is used again, what it was used for ends: somebody has it who shouldn't. A device's code may come again as its answer was lost.
func (u *Users) LogInByCode(ctx context.Context, code string, proven func(OAuthRequest) bool, d LoginDevice) (OAuthLogin, error) {
	hash := store.HashToken(code)
	c, found, err := u.store.OAuthCode(ctx, hash)
	switch {
	case err != nil:
		return OAuthLogin{}, err
	case !found:
		return OAuthLogin{}, ErrUnknownToken
	case c.Uses > 0:
		return OAuthLogin{}, u.codeUsedAgain(ctx, c)
	case !proven(OAuthRequest{Client: c.Client, Device: c.Device, Scope: c.Scope, Redirect: c.Redirect, Challenge: c.Challenge}):
		return OAuthLogin{}, cmp.Or(u.store.SpendOAuthCode(ctx, hash), ErrUnknownToken)
	case time.Now().After(c.Expires):
		return OAuthLogin{}, ErrExpiredCode
	case c.Decision == store.OAuthUndecided:
		return OAuthLogin{}, ErrUndecided
	case c.Decision == store.OAuthRefused:
		return OAuthLogin{}, ErrRefused
	}
	state, ok, err := u.AccountState(ctx, c.User)
	switch {
	case err != nil:
		return OAuthLogin{}, err
	case u.Restrictions(c.User).Locked:
		return OAuthLogin{}, ErrLocked
	case !ok || state != c.Account:
		return OAuthLogin{}, ErrUnknownToken
	}
	d.ID = c.Device
	family := rand.Text()
	tokens := Login{AccessToken: newToken(), RefreshToken: newRefreshToken(family), Life: oauthTokenLife}
	login, err := u.logIn(ctx, c.User, d, tokens, store.ByOAuthCode(store.OAuthGrant{
		User: c.User, Device: c.Device, Client: c.Client, Scope: c.Scope, Family: store.HashToken(family), Code: hash,
	}))
	if errors.Is(err, store.ErrNotFound) { // the code came a second time meanwhile, or the account is gone
		return OAuthLogin{}, u.codeUsedAgain(ctx, c)
	}
	return OAuthLogin{Login: login, Scope: c.Scope}, notAKey(err)
}

func (u *Users) codeUsedAgain(ctx context.Context, c store.OAuthCode) error {
	grant, there, err := u.store.OAuthGrant(ctx, c.User, c.Device)
	if err != nil {
		return err
	}
	if there && grant.Code == c.Hash && c.UserCode == "" {
		u.log.Warn("a code of the OAuth 2.0 API was used twice: the device that was logged in with it is logged out", "user", c.User, "device", c.Device)
		if err := u.Logout(ctx, c.User, c.Device); err != nil {
			return err
		}
	}
	return ErrUnknownToken
}

// newRefreshToken makes a refresh token of a grant. All of a grant begin with the same secret, its family, so that one that has been
// replaced is known for what it is, however long ago that was.
func newRefreshToken(family string) string { return randomToken("hanser_" + family + ".") }

func familyOf(token string) (string, bool) {
	rest, ok := strings.CutPrefix(token, "hanser_")
	family, _, found := strings.Cut(rest, ".")
	return family, ok && found
}

// RefreshGrant gives a client new tokens for a refresh token. ErrUnknownToken if it isn't good (any more), or another client's, ErrLocked if it
// is of a user who is locked. With one that was replaced by one that has been used since, the device is logged out: somebody has it who
// shouldn't. But within half a minute it gives the same again, while that is good: a client whose parts don't know of each other refreshes twice.
//
// spec:client-server-api#refresh-token-grant
func (u *Users) RefreshGrant(ctx context.Context, client, token string) (OAuthLogin, error) {
	family, ok := familyOf(token)
	if !ok {
		return OAuthLogin{}, ErrUnknownToken
	}
	grant, known, err := u.store.OAuthFamily(ctx, store.HashToken(family))
	if err != nil {
		return OAuthLogin{}, err
	}
	if !known || grant.Client != client {
		return OAuthLogin{}, ErrUnknownToken
	}
	if u.Restrictions(grant.User).Locked {
		return OAuthLogin{}, ErrLocked
	}
	login, err := u.repeats.do(store.HashToken(token), u.stillGood(ctx), func() (Login, error) {
		return u.refresh(ctx, token, true, Login{AccessToken: newToken(), RefreshToken: newRefreshToken(family), Life: oauthTokenLife})
	})
	if errors.Is(err, ErrUnknownToken) {
		u.log.Warn("a refresh token came that had been replaced: the device is logged out", "user", grant.User, "device", grant.Device)
		err = errors.Join(err, u.Logout(ctx, grant.User, grant.Device))
	}
	return OAuthLogin{Login: login, Scope: grant.Scope}, err
}

// Revoke logs the device out whose access or refresh token of the OAuth 2.0 API that is; false if there is none.
//
// spec:client-server-api#token-revocation
func (u *Users) Revoke(ctx context.Context, token string) (user id.UserID, device string, done bool, err error) {
	if family, ok := familyOf(token); ok {
		grant, known, err := u.store.OAuthFamily(ctx, store.HashToken(family))
		if err != nil || !known {
			return "", "", false, err
		}
		return grant.User, grant.Device, true, u.Logout(ctx, grant.User, grant.Device)
	}
	access, known, err := u.store.Access(ctx, store.HashToken(token))
	if err != nil || !known || !access.OAuth {
		return "", "", false, err
	}
	return access.User, access.Device, true, u.Logout(ctx, access.User, access.Device)
}

// OAuthDevices are the IDs of the clients that log in by the OAuth 2.0 API, by the user's devices that are theirs.
func (u *Users) OAuthDevices(ctx context.Context, user id.UserID) (map[string]string, error) {
	grants, err := u.store.OAuthGrants(ctx, user)
	clients := make(map[string]string, len(grants))
	for _, g := range grants {
		clients[g.Device] = g.Client
	}
	return clients, err
}
