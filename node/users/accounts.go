package users

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Registration is a new account.
type Registration struct {
	Username    string // a local part, or a whole user ID of ours; "" = one is made up
	Password    string // "" = none: nobody can log in by password
	Admin       bool
	DisplayName string // "" = the local part
	Guest       bool   // it may do what guests may
	// EmailSession gives the account the address that EmailProven has found good for EmailRegisters, and is spent by it; "": none.
	EmailSession string
	// Login is the account's first device, with which it is made or not at all; nil: nobody is logged in.
	Login *LoginDevice
}

// Available says which user ID a wished-for name would give, or why it can't be had: M_INVALID_USERNAME,
// M_USER_IN_USE.
func (u *Users) Available(ctx context.Context, username string) (id.UserID, error) {
	user, err := u.newUserID(username)
	if err != nil {
		return "", err
	}
	if u.services != nil && u.services.Reserved(user) {
		return "", federation.NewError(http.StatusBadRequest, "M_EXCLUSIVE", "this user name is reserved for an application service")
	}
	_, taken, err := u.store.User(ctx, user)
	switch {
	case err != nil:
		return "", err
	case taken:
		return "", inUse()
	}
	return user, nil
}

func inUse() *federation.Error {
	return federation.NewError(http.StatusBadRequest, "M_USER_IN_USE", "this user name is taken")
}

// newUserID makes a user ID of ours from a name; upper case is folded, as user names are not told apart by it.
//
// spec:appendices#mapping-from-other-character-sets
func (u *Users) newUserID(username string) (id.UserID, error) {
	invalid := federation.NewError(http.StatusBadRequest, "M_INVALID_USERNAME",
		"a user name has the letters a to z, digits and the characters . _ = - / + only, doesn't begin with _, and with the server's name has at most 255 characters")
	localpart := username
	if strings.HasPrefix(username, "@") {
		whole, err := id.ParseUserID(username)
		if err != nil || whole.Server() != u.self {
			return "", invalid
		}
		localpart = whole.Localpart()
	}
	user, err := id.NewUserID(strings.ToLower(localpart), u.self)
	if err != nil || strings.HasPrefix(localpart, "_") { // by custom these are users of application services
		return "", invalid
	}
	return user, nil
}

// Register makes an account. Besides what Available refuses: M_WEAK_PASSWORD for a password that can't be hashed, M_FORBIDDEN for a guest
// when there are maxGuests, M_THREEPID_AUTH_FAILED or M_THREEPID_IN_USE for an EmailSession that is no good any more.
func (u *Users) Register(ctx context.Context, r Registration) (Login, error) {
	if r.Guest && len(u.store.Guests()) >= u.maxGuests { // those who come at once may be a few more
		u.log.Warn("a guest was refused: there are as many as there may be; who isn't used makes room, the sooner the more there are", "guests", u.maxGuests)
		return Login{}, federation.Forbidden("this server has as many guests as it takes; register an account, or come back another day")
	}
	made := r.Username == ""
	if made {
		r.Username = strings.ToLower(rand.Text()[:madeUpLength])
	}
	// The name is looked up before the password is hashed, which costs far more; CreateUser looks again.
	user, err := u.Available(ctx, r.Username)
	if err != nil {
		return Login{}, err
	}
	hash := ""
	if r.Password != "" {
		if hash, err = u.newHash(ctx, r.Password); err != nil {
			return Login{}, err
		}
	}
	if err := u.findable(ctx, user, r.DisplayName); err != nil {
		return Login{}, err
	}
	account := store.User{ID: user, PasswordHash: hash, Admin: r.Admin, Guest: r.Guest, Created: time.Now()}
	login, err := u.create(ctx, account, r.EmailSession, r.Login)
	switch {
	case errors.Is(err, store.ErrExists):
		return Login{}, inUse()
	case err != nil:
		return Login{}, emailError(err)
	}
	name := r.DisplayName
	if name == "" && !made {
		name = user.Localpart()
	}
	if name != "" {
		value, err := json.Marshal(name)
		if err == nil {
			err = u.store.SetProfileField(ctx, user, "displayname", value)
		}
		if err != nil {
			u.log.Error("a new user's display name could not be stored", "user", user, "error", err)
		}
	}
	return login, nil
}

// create stores an account, with the address of an e-mail session unless that is "", and with its first device unless that is nil. The errors
// are the store's.
func (u *Users) create(ctx context.Context, account store.User, emailSession string, d *LoginDevice) (Login, error) {
	if d == nil {
		return Login{User: account.ID}, u.store.CreateUserBySession(ctx, account, emailSession, account.Created)
	}
	return u.logIn(ctx, account.ID, *d, tokensFor(*d), store.ByNewAccount(account, emailSession))
}

// Upgrade makes a guest an ordinary user with a password; of r count Password, EmailSession and Login. The errors are those of Register;
// M_FORBIDDEN also if there is no such guest any more.
//
// spec:client-server-api#guest-access
func (u *Users) Upgrade(ctx context.Context, guest id.UserID, r Registration) (Login, error) {
	hash, err := u.newHash(ctx, r.Password)
	if err != nil {
		return Login{}, err
	}
	login, now := Login{User: guest}, time.Now()
	if r.Login == nil {
		err = u.store.UpgradeGuest(ctx, guest, hash, r.EmailSession, now)
	} else {
		login, err = u.logIn(ctx, guest, *r.Login, tokensFor(*r.Login), store.ByUpgrade(guest, hash, r.EmailSession, now))
	}
	if errors.Is(err, store.ErrNotFound) && !u.Restrictions(guest).Guest {
		err = federation.Forbidden("this is no guest any more")
	}
	return login, emailError(notAKey(err))
}

// newHash hashes a password that is to be stored.
func (u *Users) newHash(ctx context.Context, password string) (string, error) {
	weak := func(reason string) error {
		return federation.NewError(http.StatusBadRequest, "M_WEAK_PASSWORD", reason)
	}
	switch {
	case password == "":
		return "", weak("the password is empty")
	case len(password) > maxPasswordBytes:
		return "", weak("the password is too long")
	case u.hasher.cost.Scheme == "bcrypt" && len(password) > maxBcryptBytes:
		return "", weak("the password is longer than 72 bytes")
	case !utf8.ValidString(password):
		return "", weak("the password is not valid UTF-8")
	}
	hash, err := u.hasher.hash(ctx, password)
	return hash, busy(err)
}

// busy makes the error of a full queue one that is sent to the client.
func busy(err error) error {
	if errors.Is(err, errBusy) {
		return federation.LimitExceeded(time.Second)
	}
	return err
}

// CheckPassword tells whether the password is that of the user. It takes as long for users who don't exist, are
// deactivated or have no password. A right password whose hash has other costs than those configured is hashed anew.
//
// A check may have to wait for its turn. Then may is called, and its error returned: what was allowed before others were
// answered need not be any more. wrong is called when the password is wrong, before the next has its turn. Neither may be nil.
func (u *Users) CheckPassword(ctx context.Context, user id.UserID, password string, may func() error, wrong func()) (bool, error) {
	stored, good, err := u.checkPassword(ctx, user, password, may, wrong)
	if err != nil || !good {
		return false, busy(err)
	}
	if u.hasher.outdated(stored) {
		if hash, err := u.newHash(ctx, password); err == nil {
			err = u.store.ReplaceHash(ctx, user, stored, hash)
			if err != nil {
				u.log.Error("a password could not be hashed anew", "user", user, "error", err)
			}
		}
	}
	return true, nil
}

// checkPassword is CheckPassword without the new hash; stored is the one there is.
func (u *Users) checkPassword(ctx context.Context, user id.UserID, password string, may func() error, wrong func()) (stored string, good bool, err error) {
	if err := u.hasher.turns.take(ctx); err != nil {
		return "", false, err
	}
	defer u.hasher.turns.give()
	if err := may(); err != nil {
		return "", false, err
	}
	if user.Server() == u.self {
		account, ok, err := u.store.User(ctx, user)
		if err != nil {
			return "", false, err
		}
		if ok && !account.Deactivated {
			stored = account.PasswordHash
		}
	}
	if len(password) > maxPasswordBytes {
		password, stored = password[:maxPasswordBytes], "" // no password is that long
	}
	if good = u.hasher.check(stored, password); !good {
		wrong()
	}
	return stored, good, nil
}

// SetPassword gives a user a new password. Devices stay logged in; see LogoutOthers.
func (u *Users) SetPassword(ctx context.Context, user id.UserID, password string) error {
	hash, err := u.newHash(ctx, password)
	if err != nil {
		return err
	}
	return u.store.SetPassword(ctx, user, hash)
}

// Deactivate ends an account: no password, devices, tokens or profile; the name stays taken. The rooms are left by
// the caller. With erase, what the user said is shown only to those who could see it when it was said.
func (u *Users) Deactivate(ctx context.Context, user id.UserID, erase bool) error {
	err := u.store.Deactivate(ctx, user, erase)
	u.tokens.forgetUser(user)
	return err
}

// CrowdedByGuests tells whether there are nearly as many guests as there may be.
func (u *Users) CrowdedByGuests() bool { return len(u.store.Guests()) > u.maxGuests*9/10 }

// UnusedGuests are the guests who were made, and last seen, before a time.
func (u *Users) UnusedGuests(ctx context.Context, since time.Time) ([]id.UserID, error) {
	if len(u.store.Guests()) == 0 {
		return nil, nil // most servers have none, and many accounts
	}
	return u.store.UnusedGuests(ctx, since)
}

// DeactivateGuest is Deactivate for a guest; false if it is none, or not any more.
func (u *Users) DeactivateGuest(ctx context.Context, guest id.UserID) (bool, error) {
	err := u.store.DeactivateGuest(ctx, guest)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	u.tokens.forgetUser(guest)
	return err == nil, err
}
