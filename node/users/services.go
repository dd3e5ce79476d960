package users

import (
	"context"
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

// localOrMade is local for users whom others look for: one that an application service may have is asked for there, which makes the
// account.
//
// spec:application-service-api#querying
func (u *Users) localOrMade(ctx context.Context, user id.UserID) error {
	err := u.local(ctx, user)
	var missing *federation.Error
	if u.services == nil || user.Server() != u.self || !errors.As(err, &missing) {
		return err
	}
	if _, there, failed := u.store.User(ctx, user); there || failed != nil {
		return err // it was deactivated, and isn't made anew
	}
	has, failed := u.services.HasUser(ctx, user)
	if failed != nil {
		return failed
	}
	if !has {
		return err
	}
	return u.local(ctx, user)
}

// RegisterFor makes an account for an application service, which has made sure that it may have the user. It has no password. The
// local part is taken as it is, also one of capitals, and of all that is printable in ASCII: deployed bridges use it so. Errors:
// M_INVALID_USERNAME, M_USER_IN_USE. d is the account's first device, with which it is made or not at all; nil: nobody is logged in.
//
// spec:application-service-api#server-admin-style-permissions
func (u *Users) RegisterFor(ctx context.Context, user id.UserID, d *LoginDevice) (Login, error) {
	if user.Server() != u.self || !user.Compliant() {
		return Login{}, federation.NewError(http.StatusBadRequest, "M_INVALID_USERNAME", "this can't be the name of a user")
	}
	if err := u.findable(ctx, user, ""); err != nil {
		return Login{}, err
	}
	login, err := u.create(ctx, store.User{ID: user, Created: time.Now()}, "", d)
	if errors.Is(err, store.ErrExists) {
		return Login{}, inUse()
	}
	if err != nil {
		return Login{}, err
	}
	name, err := json.Marshal(user.Localpart())
	if err == nil {
		err = u.store.SetProfileField(ctx, user, "displayname", name)
	}
	if err != nil {
		u.log.Error("a new user's display name could not be stored", "user", user, "error", err)
	}
	return login, nil
}

// EnsureServiceUser makes the account of an application service itself, unless it is there.
func (u *Users) EnsureServiceUser(ctx context.Context, user id.UserID) error {
	if _, there, err := u.store.User(ctx, user); there || err != nil {
		return err
	}
	_, err := u.RegisterFor(ctx, user, nil)
	return err
}

// SetDevice makes a device for a user of an application service's, without an access token, or names one that is there; nil leaves
// its name. It is the service's then. It tells whether it was made.
//
// spec:application-service-api#creating-devices
func (u *Users) SetDevice(ctx context.Context, user id.UserID, device string, name *string, service string) (made bool, err error) {
	_, known, err := u.store.Device(ctx, user, device)
	switch {
	case err != nil:
		return false, err
	case known:
		if err := u.store.AddDevice(ctx, store.Device{User: user, ID: device, Service: service}); err != nil || name == nil {
			return false, err
		}
		return false, u.RenameDevice(ctx, user, device, *name)
	case len(device) == 0 || len(device) > maxDeviceIDBytes || !utf8.ValidString(device) || strings.ContainsRune(device, 0):
		return false, federation.InvalidParam("the device ID is too long or not valid UTF-8")
	}
	if err := u.roomForDevice(ctx, user); err != nil {
		return false, err
	}
	now := time.Now()
	d := store.Device{User: user, ID: device, Created: now, LastSeen: now, Service: service}
	if name != nil {
		d.DisplayName = clip(*name, maxDeviceNameBytes)
	}
	return true, notAKey(u.store.AddDevice(ctx, d))
}

// DeviceService is the application service that has made a device, or logged in to it last; "" if none has.
func (u *Users) DeviceService(ctx context.Context, user id.UserID, device string) (string, error) {
	return u.store.DeviceService(ctx, user, device)
}

// Active tells whether a user of ours has an account that isn't deactivated.
func (u *Users) Active(ctx context.Context, user id.UserID) (bool, error) {
	account, found, err := u.store.User(ctx, user)
	return found && !account.Deactivated, err
}
