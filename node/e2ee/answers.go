package e2ee

import (
	"context"

	"hanse/federation"
	"hanse/federation/id"
)

// UserDevices answers another server about a user of ours.
//
// spec:server-server-api#get_matrixfederationv1userdevicesuserid
func (e *E2EE) UserDevices(ctx context.Context, _ id.ServerName, user id.UserID) (federation.UserDevices, error) {
	answer := federation.UserDevices{UserID: user, Devices: []federation.UserDevice{}}
	if user.Server() != e.config.Self {
		return answer, federation.NotFound("the user is not of this server")
	}
	var err error
	// The stream first: a list that is newer than it says is told of again, the other way round a change would be lost.
	if answer.StreamID, err = e.store.DeviceStream(ctx, user); err != nil {
		return answer, err
	}
	keys := newKeys()
	if err := e.local(ctx, "", map[id.UserID][]string{user: nil}, keys); err != nil {
		return answer, err
	}
	devices, err := e.store.Devices(ctx, user)
	for _, d := range devices {
		answer.Devices = append(answer.Devices, federation.UserDevice{
			DeviceID: d.ID, DisplayName: d.DisplayName, Keys: keys.DeviceKeys[user][d.ID],
		})
	}
	answer.MasterKey, answer.SelfSigningKey = keys.Master[user], keys.SelfSigning[user]
	return answer, err
}

// QueryDeviceKeys answers another server.
//
// spec:server-server-api#post_matrixfederationv1userkeysquery
func (e *E2EE) QueryDeviceKeys(ctx context.Context, _ id.ServerName, q federation.DeviceKeysQuery) (federation.DeviceKeysAnswer, error) {
	keys := newKeys()
	local, _ := byServer(e.config.Self, q.DeviceKeys)
	err := e.local(ctx, "", local, keys)
	return federation.DeviceKeysAnswer{DeviceKeys: keys.DeviceKeys, MasterKeys: keys.Master, SelfSigningKeys: keys.SelfSigning}, err
}

// ClaimDeviceKeys hands one-time keys of our users' devices to another server.
//
// spec:server-server-api#post_matrixfederationv1userkeysclaim
func (e *E2EE) ClaimDeviceKeys(ctx context.Context, _ id.ServerName, q federation.OneTimeKeysClaim) (federation.OneTimeKeysAnswer, error) {
	local, _ := byServer(e.config.Self, q.OneTimeKeys)
	keys, err := e.claimLocal(ctx, local)
	return federation.OneTimeKeysAnswer{OneTimeKeys: keys}, err
}
