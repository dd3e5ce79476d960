package users

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/store"
)

// Device is a device as its owner sees it. Strict clients want all fields, also where there is nothing to say. The user
// is there as with Synapse.
//
// spec:client-server-api#get_matrixclientv3devices
type Device struct {
	User        id.UserID `json:"user_id"`
	ID          string    `json:"device_id"`
	DisplayName string    `json:"display_name"`
	LastSeenIP  string    `json:"last_seen_ip"`
	LastSeenTS  int64     `json:"last_seen_ts"` // ms since the epoch
	UserAgent   string    `json:"-"`            // as which the client last called itself; "": unknown
}

// LoginDevice is the device of a login.
type LoginDevice struct {
	ID      string // "" = a new one is made
	Name    string // used if the device is new
	Address string // where the client is
	Agent   string // as which it calls itself
	Service string // the application service that logs in, if it is one
	// Refreshes says that the client can refresh its access token, which ends then.
	Refreshes bool
}

// Login is a fresh login, or a fresh account alone.
type Login struct {
	User        id.UserID
	Device      string
	AccessToken string // "": nobody was logged in
	// RefreshToken and Life are set for clients that refresh: the access token ends after Life.
	RefreshToken string
	Life         time.Duration
}

// Session is whom an access token stands for.
type Session struct {
	User   id.UserID
	Device string
	Admin  bool
	OAuth  bool      // the client logged in by the OAuth 2.0 API
	ends   time.Time // zero: never
}

// Login makes or re-uses a device and gives it a new access token, in place of its old ones. The caller has made sure
// that it is the user. ErrLocked for one who is locked.
func (u *Users) Login(ctx context.Context, user id.UserID, d LoginDevice) (Login, error) {
	login, err := u.logIn(ctx, user, d, tokensFor(d))
	if errors.Is(err, store.ErrNotFound) {
		err = federation.NewError(http.StatusForbidden, "M_USER_DEACTIVATED", "this account has been deactivated")
	}
	return login, notAKey(err)
}

// tokensFor makes the tokens of a login.
func tokensFor(d LoginDevice) Login {
	if d.Refreshes {
		return Login{AccessToken: newToken(), RefreshToken: newToken(), Life: accessTokenLife}
	}
	return Login{AccessToken: newToken()}
}

// logIn is Login with given tokens, and with the errors of the store. What the login is by, or for, is stored with it or not at all.
func (u *Users) logIn(ctx context.Context, user id.UserID, d LoginDevice, tokens Login, parts ...store.LoginPart) (Login, error) {
	switch {
	case u.Restrictions(user).Locked:
		return Login{}, ErrLocked
	case len(d.ID) > maxDeviceIDBytes || !utf8.ValidString(d.ID) || strings.ContainsRune(d.ID, 0):
		return Login{}, federation.InvalidParam("the device ID is too long or not valid UTF-8")
	case d.ID == "":
		d.ID = rand.Text()[:deviceIDLength]
	}
	_, known, err := u.store.Device(ctx, user, d.ID)
	if err != nil {
		return Login{}, err
	}
	if !known {
		if err := u.roomForDevice(ctx, user); err != nil {
			return Login{}, err
		}
	}
	name := ""
	if !known {
		name = clip(d.Name, maxDeviceNameBytes)
	}
	if tokens.RefreshToken != "" {
		parts = append(parts, store.Refreshing(refreshable(tokens)))
	}
	now := time.Now()
	device := store.Device{User: user, ID: d.ID, DisplayName: name, Created: now, LastSeen: now, LastSeenIP: d.Address, Service: d.Service,
		UserAgent: clip(strings.ToValidUTF8(d.Agent, ""), maxAgentBytes)}
	if err := u.store.Login(ctx, device, store.HashToken(tokens.AccessToken), parts...); err != nil {
		return Login{}, err
	}
	u.tokens.forgetDevice(user, d.ID)
	tokens.User, tokens.Device = user, d.ID
	return tokens, nil
}

// roomForDevice is nil if an account may have one more device.
func (u *Users) roomForDevice(ctx context.Context, user id.UserID) error {
	devices, err := u.store.DeviceCount(ctx, user)
	if err == nil && devices >= maxDevices {
		err = federation.Forbidden("this account has too many devices; log some of them out")
	}
	return err
}

// notAKey tells of a new device whose name a cross-signing key of its user has.
func notAKey(err error) error {
	if errors.Is(err, store.ErrExists) {
		return federation.Forbidden("a cross-signing key of yours has the name of this device; choose another device ID")
	}
	return err
}

// newToken makes an access token: random, with a prefix by which people and scanners of leaked secrets know it.
func newToken() string { return randomToken("hanse_") }

func randomToken(prefix string) string {
	random := make([]byte, accessTokenBytes)
	_, _ = rand.Read(random) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random)
}

// Authenticate finds whom an access token stands for; ErrUnknownToken if nobody, ErrExpiredToken if nobody any more. The address,
// and as which the client calls itself, are noted as the device's last ones.
func (u *Users) Authenticate(ctx context.Context, token string, address netip.Addr, agent string) (Session, error) {
	hash := store.HashToken(token)
	session, fresh, known := u.tokens.find(hash)
	if !known {
		generation := u.tokens.generation()
		access, ok, err := u.store.Access(ctx, hash)
		switch {
		case err != nil:
			return Session{}, err
		case !ok || access.Deactivated:
			return Session{}, ErrUnknownToken
		}
		session = Session{User: access.User, Device: access.Device, Admin: access.Admin, OAuth: access.OAuth, ends: access.Expires}
		if !session.ends.IsZero() {
			if err := u.store.UseAccess(ctx, hash); err != nil {
				return Session{}, err
			}
		}
		fresh = u.tokens.add(hash, session, generation)
	}
	if !session.ends.IsZero() && time.Now().After(session.ends) {
		return Session{}, ErrExpiredToken
	}
	if fresh {
		select {
		case u.seen <- store.Device{User: session.User, ID: session.Device, LastSeen: time.Now(), LastSeenIP: address.String(),
			UserAgent: clip(strings.ToValidUTF8(agent, ""), maxAgentBytes)}:
		default: // the next use will do
		}
	}
	return session, nil
}

// Logout ends the device whose token it is.
func (u *Users) Logout(ctx context.Context, user id.UserID, device string) error {
	err := u.store.DeleteDevices(ctx, user, device)
	u.tokens.forgetDevice(user, device)
	return missingIsFine(err)
}

// LogoutAll ends all devices of the user.
func (u *Users) LogoutAll(ctx context.Context, user id.UserID) error {
	err := u.store.DeleteOtherDevices(ctx, user, "")
	u.tokens.forgetUser(user)
	return err
}

// LogoutOthers ends all devices of the user but one.
func (u *Users) LogoutOthers(ctx context.Context, user id.UserID, keep string) error {
	err := u.store.DeleteOtherDevices(ctx, user, keep)
	u.tokens.forgetUser(user)
	return err
}

// DeleteDevices ends the devices named; those that don't exist are as good as ended.
func (u *Users) DeleteDevices(ctx context.Context, user id.UserID, devices []string) error {
	if len(devices) == 0 {
		return nil
	}
	err := u.store.DeleteDevices(ctx, user, devices...)
	u.tokens.forgetUser(user)
	return missingIsFine(err)
}

func missingIsFine(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Devices lists the user's devices.
func (u *Users) Devices(ctx context.Context, user id.UserID) ([]Device, error) {
	stored, err := u.store.Devices(ctx, user)
	if err != nil {
		return nil, err
	}
	devices := make([]Device, 0, len(stored))
	for _, d := range stored {
		devices = append(devices, shown(d))
	}
	return devices, nil
}

// Device is one of the user's devices; M_NOT_FOUND if it is not there.
func (u *Users) Device(ctx context.Context, user id.UserID, device string) (Device, error) {
	d, ok, err := u.store.Device(ctx, user, device)
	switch {
	case err != nil:
		return Device{}, err
	case !ok:
		return Device{}, federation.NotFound("no such device")
	}
	return shown(d), nil
}

func shown(d store.Device) Device {
	return Device{User: d.User, ID: d.ID, DisplayName: d.DisplayName, LastSeenIP: d.LastSeenIP, LastSeenTS: nowMS(d.LastSeen),
		UserAgent: d.UserAgent}
}

// RenameDevice gives a device a new display name; M_NOT_FOUND if it is not there.
func (u *Users) RenameDevice(ctx context.Context, user id.UserID, device, name string) error {
	if len(name) > maxDeviceNameBytes {
		return federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge, "the display name is too long")
	}
	err := u.store.RenameDevice(ctx, user, device, name)
	if errors.Is(err, store.ErrNotFound) {
		return federation.NotFound("no such device")
	}
	return err
}

// clip cuts a text to so many bytes at a character's end.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
