package server

import (
	"context"

	"hanse/federation"
	"hanse/federation/id"
)

// DeviceHandler answers about our users' devices and their keys.
type DeviceHandler interface {
	// UserDevices is M_NOT_FOUND for who isn't ours.
	UserDevices(ctx context.Context, origin id.ServerName, user id.UserID) (federation.UserDevices, error)
	// QueryDeviceKeys leaves out what isn't ours. Identifiers are as the origin wrote them.
	QueryDeviceKeys(ctx context.Context, origin id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error)
	// ClaimDeviceKeys hands each one-time key out once; durably when it returns.
	ClaimDeviceKeys(ctx context.Context, origin id.ServerName, q federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error)
}

// userDevices is GET /user/devices/{userID}.
//
// spec:server-server-api#get_matrixfederationv1userdevicesuserid
func (a *api) userDevices(q *request) (any, error) {
	user, err := q.userID()
	if err != nil {
		return nil, err
	}
	return a.Handlers.Devices.UserDevices(q.ctx(), q.origin, user)
}

// queryDeviceKeys is POST /user/keys/query.
//
// spec:server-server-api#post_matrixfederationv1userkeysquery
func (a *api) queryDeviceKeys(q *request) (any, error) {
	var wanted federation.DeviceKeysQuery
	if err := decode(q, &wanted); err != nil {
		return nil, err
	}
	return a.Handlers.Devices.QueryDeviceKeys(q.ctx(), q.origin, wanted)
}

// claimDeviceKeys is POST /user/keys/claim.
//
// spec:server-server-api#post_matrixfederationv1userkeysclaim
func (a *api) claimDeviceKeys(q *request) (any, error) {
	var wanted federation.OneTimeKeysClaim
	if err := decode(q, &wanted); err != nil {
		return nil, err
	}
	return a.Handlers.Devices.ClaimDeviceKeys(q.ctx(), q.origin, wanted)
}
