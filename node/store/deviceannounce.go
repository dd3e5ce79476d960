package store

import (
	"encoding/json"

	"hanse/federation"
	"hanse/federation/id"
)

// AnnounceDevice tells servers of one device: keys, name or that it is deleted, as u says; its stream_id and prev_id are
// set when it is written. Nothing about it may be dropped.
//
// spec:server-server-api#device-management
func AnnounceDevice(u federation.DeviceListUpdate, servers []id.ServerName) DeviceChange {
	return func(stream, prev int64) ([]QueuedEDU, error) {
		if len(servers) == 0 {
			return nil, nil
		}
		u.StreamID, u.PrevID = stream, []int64{}
		if prev != 0 {
			u.PrevID = append(u.PrevID, prev)
		}
		content, err := json.Marshal(u)
		return []QueuedEDU{{Type: federation.EDUDeviceListUpdate, Content: content, Destinations: servers, Keep: true}}, err
	}
}

// encryptionTables have what goes with a device.
func encryptionTables() []string {
	return []string{"device_keys", "one_time_keys", "fallback_keys", "to_device"}
}

// endDevices deletes devices with all they have, and tells servers.
func (s *Store) endDevices(t *writeTx, user id.UserID, devices []string, servers []id.ServerName) error {
	var tell []DeviceChange
	for _, device := range devices {
		n, err := t.exec("DELETE FROM devices WHERE user_id = $1 AND device_id = $2", string(user), []byte(device))
		if err != nil {
			return err
		}
		for _, table := range append(encryptionTables(), "access_tokens") {
			_, err := t.exec("DELETE FROM "+table+" WHERE user_id = $1 AND device_id = $2", string(user), []byte(device))
			if err != nil {
				return err
			}
		}
		if n > 0 {
			tell = append(tell, AnnounceDevice(federation.DeviceListUpdate{UserID: user, DeviceID: device, Deleted: true}, servers))
		}
	}
	if len(tell) == 0 {
		return nil
	}
	return s.changed(t, user, tell...)
}
