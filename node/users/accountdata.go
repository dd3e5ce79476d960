package users

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/node/store"
)

// AccountData is one entry of a user's account data, global if room is ""; M_NOT_FOUND if there is none.
func (u *Users) AccountData(ctx context.Context, user id.UserID, room id.RoomID, typ string) (json.RawMessage, error) {
	data, ok, err := u.store.AccountData(ctx, user, room, typ)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, federation.NotFound("no account data of this type")
	}
	return data.Content, nil
}

// SetAccountData sets one entry; content must be a JSON object. Errors: M_BAD_JSON, M_TOO_LARGE, M_INVALID_PARAM.
func (u *Users) SetAccountData(ctx context.Context, user id.UserID, room id.RoomID, typ string, content json.RawMessage) error {
	content, err := checkAccountData(typ, content)
	if err != nil {
		return err
	}
	_, err = u.store.SetAccountData(ctx, user, room, typ, content)
	return accountDataError(err)
}

// KeepAccountData is SetAccountData for what the server itself keeps there: there is always room for it.
func (u *Users) KeepAccountData(ctx context.Context, user id.UserID, room id.RoomID, typ string, content json.RawMessage) error {
	content, err := checkAccountData(typ, content)
	if err != nil {
		return err
	}
	_, err = u.store.KeepAccountData(ctx, user, room, typ, content)
	return err
}

// accountDataError is an error of the store as clients get it.
func accountDataError(err error) error {
	if errors.Is(err, store.ErrFull) {
		return federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge, "you have as much account data as you may have")
	}
	return err
}

// UpdateAccountData changes one entry in one step: change gets what there is ({} if nothing) and returns what there
// shall be. An error of change ends it.
func (u *Users) UpdateAccountData(ctx context.Context, user id.UserID, room id.RoomID, typ string, change func(old json.RawMessage) (json.RawMessage, error)) error {
	_, err := u.store.UpdateAccountData(ctx, user, room, typ, func(old json.RawMessage) (json.RawMessage, error) {
		if len(old) == 0 {
			old = json.RawMessage(`{}`)
		}
		changed, err := change(old)
		if err != nil {
			return nil, err
		}
		return checkAccountData(typ, changed)
	})
	return accountDataError(err)
}

func checkAccountData(typ string, content json.RawMessage) (json.RawMessage, error) {
	switch {
	case typ == "" || len(typ) > maxTypeBytes:
		return nil, federation.InvalidParam("the type of account data has from 1 to 255 bytes")
	case len(content) > maxAccountDataBytes:
		return nil, federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge, "this account data is too large")
	}
	content, err := canonicaljson.Append(nil, content, canonicaljson.Lenient)
	switch {
	case err != nil:
		return nil, federation.BadJSON("the content is not JSON as Matrix has it: " + err.Error())
	case content[0] != '{':
		return nil, federation.BadJSON("the content is not a JSON object")
	}
	return content, nil
}

// SaveFilter stores a filter and returns its ID; the same filter has the same ID.
func (u *Users) SaveFilter(ctx context.Context, user id.UserID, filter json.RawMessage) (string, error) {
	if len(filter) > maxFilterBytes {
		return "", federation.NewError(http.StatusRequestEntityTooLarge, federation.CodeTooLarge, "this filter is too large")
	}
	filter, err := canonicaljson.Append(nil, filter, canonicaljson.Lenient)
	if err != nil {
		return "", federation.BadJSON("the filter is not JSON as Matrix has it: " + err.Error())
	}
	return u.store.SaveFilter(ctx, user, filter)
}

// Filter is a stored filter; M_NOT_FOUND if there is none of this ID.
func (u *Users) Filter(ctx context.Context, user id.UserID, filterID string) (json.RawMessage, error) {
	filter, ok, err := u.store.Filter(ctx, user, filterID)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, federation.NotFound("no such filter")
	}
	return filter, nil
}
