package users

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"net/http"
	"regexp"
	"sync"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// fieldName is what a profile field may be called.
//
// spec:client-server-api#put_matrixclientv3profileuseridkeyname
var fieldName = regexp.MustCompile(`^(avatar_url|displayname|m\.tz|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+)$`)

// CheckFieldName is nil for a name that a profile field may have: M_KEY_TOO_LARGE, M_INVALID_PARAM otherwise.
func CheckFieldName(name string) error {
	switch {
	case len(name) > maxProfileKeyBytes:
		return federation.NewError(http.StatusBadRequest, "M_KEY_TOO_LARGE", "the name of a profile field has at most 255 bytes")
	case !fieldName.MatchString(name):
		return federation.InvalidParam("this is not the name of a profile field")
	}
	return nil
}

// ProfileFields is the profile of a user of ours; M_NOT_FOUND if there is no such user.
func (u *Users) ProfileFields(ctx context.Context, user id.UserID) (map[string]json.RawMessage, error) {
	if err := u.localOrMade(ctx, user); err != nil {
		return nil, err
	}
	return u.store.Profile(ctx, user)
}

// Profile is what the membership events of a user of ours carry; both may be empty.
func (u *Users) Profile(ctx context.Context, user id.UserID) (displayName, avatarURL string, err error) {
	fields, err := u.store.Profile(ctx, user)
	if err != nil {
		return "", "", err
	}
	return text(fields["displayname"]), text(fields["avatar_url"]), nil
}

// text reads a JSON string; anything else is "".
func text(raw json.RawMessage) string {
	s := ""
	if exactjson.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// SetProfileField sets one field. It tells whether anything changed. Errors: those of CheckFieldName, M_BAD_JSON,
// M_PROFILE_TOO_LARGE, M_NOT_FOUND.
func (u *Users) SetProfileField(ctx context.Context, user id.UserID, name string, value json.RawMessage) (bool, error) {
	if err := CheckFieldName(name); err != nil {
		return false, err
	}
	value, err := canonicaljson.Append(nil, value, canonicaljson.Lenient)
	if err != nil {
		return false, federation.BadJSON("the value is not JSON as Matrix has it: " + err.Error())
	}
	if err := checkFieldValue(name, value); err != nil {
		return false, err
	}
	lock := u.profileLock(user)
	lock.Lock()
	defer lock.Unlock()
	fields, err := u.ProfileFields(ctx, user)
	if err != nil {
		return false, err
	}
	if string(fields[name]) == string(value) {
		return false, nil
	}
	size := len(`{}`)
	for key, old := range fields {
		if key != name {
			size += len(key) + len(old) + len(`"":,`)
		}
	}
	if size+len(name)+len(value)+len(`"":,`) > maxProfileBytes {
		return false, federation.NewError(http.StatusBadRequest, "M_PROFILE_TOO_LARGE", "a profile has at most 64 KiB")
	}
	if name == "displayname" {
		if err := u.findable(ctx, user, text(value)); err != nil {
			return false, err
		}
	}
	return true, u.store.SetProfileField(ctx, user, name, value)
}

// checkFieldValue holds the fields whose type is fixed against it. An empty display name or avatar is none.
func checkFieldValue(name string, value []byte) error {
	most := 0
	switch name {
	case "displayname":
		most = maxDisplayNameBytes
	case "avatar_url":
		most = maxAvatarURLBytes
	case "m.tz":
		most = maxTimeZoneBytes
	default:
		return nil
	}
	s, ok := canonicaljson.String(value)
	switch {
	case !ok:
		return federation.BadJSON(name + " must be a string")
	case len(s) > most || !utf8.ValidString(s):
		return federation.InvalidParam(name + " is too long")
	}
	return nil
}

// DeleteProfileField removes one field; it tells whether it was there.
func (u *Users) DeleteProfileField(ctx context.Context, user id.UserID, name string) (bool, error) {
	if err := CheckFieldName(name); err != nil {
		return false, err
	}
	lock := u.profileLock(user)
	lock.Lock()
	defer lock.Unlock()
	fields, err := u.ProfileFields(ctx, user)
	if err != nil {
		return false, err
	}
	if _, ok := fields[name]; !ok {
		return false, nil
	}
	err = u.store.SetProfileField(ctx, user, name, nil)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (u *Users) profileLock(user id.UserID) *sync.Mutex {
	return &u.profiles[maphash.String(u.seed, string(user))%uint64(len(u.profiles))]
}
