package clientapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"hanse/node/e2ee"
)

// spec:client-server-api/modules/end_to_end_encryption#server-side-key-backups
func (a *API) roomKeysRoutes() []route {
	if a.config.Encryption == nil {
		return nil
	}
	routes := []route{
		{http.MethodPost, "/room_keys/version", formerlyUnstable, withUser, ordinary, a.newBackup},
		{http.MethodGet, "/room_keys/version", formerlyUnstable, withUser, ordinary, a.backup},
		{http.MethodGet, "/room_keys/version/{version}", formerlyUnstable, withUser, ordinary, a.backup},
		{http.MethodPut, "/room_keys/version/{version}", formerlyUnstable, withUser, ordinary, a.updateBackup},
		{http.MethodDelete, "/room_keys/version/{version}", formerlyUnstable, withUser, ordinary, a.deleteBackup},
	}
	for _, path := range []string{"/room_keys/keys", "/room_keys/keys/{roomId}", "/room_keys/keys/{roomId}/{sessionId}"} {
		routes = append(routes,
			route{http.MethodPut, path, formerlyUnstable, withUser, ordinary, a.backUp},
			route{http.MethodGet, path, formerlyUnstable, withUser, ordinary, a.backedUp},
			route{http.MethodDelete, path, formerlyUnstable, withUser, ordinary, a.deleteBackedUp})
	}
	return routes
}

// backupForm is a backup as clients describe it.
type backupForm struct {
	Algorithm string          `json:"algorithm"`
	AuthData  json.RawMessage `json:"auth_data"`
	Version   string          `json:"version"`
}

func (a *API) newBackup(r *request) (any, error) {
	var req backupForm
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	version, err := a.config.Encryption.NewBackup(r.Context(), r.user, req.Algorithm, req.AuthData)
	return map[string]any{"version": version}, err
}

func (a *API) backup(r *request) (any, error) {
	b, err := a.config.Encryption.Backup(r.Context(), r.user, r.PathValue("version"))
	return map[string]any{
		"algorithm": b.Algorithm, "auth_data": b.AuthData, "count": b.Count,
		"etag": strconv.FormatInt(b.ETag, 10), "version": strconv.FormatInt(b.Version, 10),
	}, err
}

func (a *API) updateBackup(r *request) (any, error) {
	var req backupForm
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	version := r.PathValue("version")
	if req.Version != "" && req.Version != version {
		return nil, invalidParam("version is not that of the path")
	}
	return nil, a.config.Encryption.UpdateBackup(r.Context(), r.user, version, req.Algorithm, req.AuthData)
}

func (a *API) deleteBackup(r *request) (any, error) {
	return nil, a.config.Encryption.DeleteBackup(r.Context(), r.user, r.PathValue("version"))
}

// backupVersion reads the version parameter.
func (r *request) backupVersion() (string, error) {
	version := r.URL.Query().Get("version")
	if version == "" {
		return "", missingParam("version")
	}
	return version, nil
}

// roomBackup is a room's keys by session.
type roomBackup struct {
	Sessions map[string]json.RawMessage `json:"sessions"`
}

// backUp stores one key, a room's or all, as the path says.
func (a *API) backUp(r *request) (any, error) {
	version, err := r.backupVersion()
	if err != nil {
		return nil, err
	}
	var keys []e2ee.BackedUp
	add := func(room string, sessions map[string]json.RawMessage) {
		for session, data := range sessions {
			keys = append(keys, e2ee.BackedUp{Room: room, Session: session, Data: data})
		}
	}
	room, session := r.PathValue("roomId"), r.PathValue("sessionId")
	switch {
	case session != "":
		data, err := r.object()
		if err != nil {
			return nil, err
		}
		add(room, map[string]json.RawMessage{session: data})
	case room != "":
		var req roomBackup
		if err := r.decode(&req); err != nil {
			return nil, err
		}
		if req.Sessions == nil {
			return nil, missingParam("sessions")
		}
		add(room, req.Sessions)
	default:
		var req struct {
			Rooms map[string]roomBackup `json:"rooms"`
		}
		if err := r.decode(&req); err != nil {
			return nil, err
		}
		if req.Rooms == nil {
			return nil, missingParam("rooms")
		}
		for room, backup := range req.Rooms {
			add(room, backup.Sessions)
		}
	}
	b, err := a.config.Encryption.BackUp(r.Context(), r.user, version, keys)
	return backupCount(b), err
}

func backupCount(b e2ee.Backup) map[string]any {
	return map[string]any{"count": b.Count, "etag": strconv.FormatInt(b.ETag, 10)}
}

// backedUp gives one key, a room's or all, as the path says.
func (a *API) backedUp(r *request) (any, error) {
	version, err := r.backupVersion()
	if err != nil {
		return nil, err
	}
	room, session := r.PathValue("roomId"), r.PathValue("sessionId")
	keys, err := a.config.Encryption.BackedUp(r.Context(), r.user, version, room, session)
	if err != nil {
		return nil, err
	}
	rooms := map[string]roomBackup{}
	for _, k := range keys {
		if rooms[k.Room].Sessions == nil {
			rooms[k.Room] = roomBackup{Sessions: map[string]json.RawMessage{}}
		}
		rooms[k.Room].Sessions[k.Session] = k.Data
	}
	switch {
	case session != "" && len(keys) == 0:
		return nil, notFound("there is no backup of this key")
	case session != "":
		return keys[0].Data, nil
	case room != "" && len(keys) == 0:
		return roomBackup{Sessions: map[string]json.RawMessage{}}, nil
	case room != "":
		return rooms[room], nil
	}
	return map[string]any{"rooms": rooms}, nil
}

// deleteBackedUp deletes one key, a room's or all, as the path says.
func (a *API) deleteBackedUp(r *request) (any, error) {
	version, err := r.backupVersion()
	if err != nil {
		return nil, err
	}
	b, err := a.config.Encryption.DeleteBackedUp(r.Context(), r.user, version, r.PathValue("roomId"), r.PathValue("sessionId"))
	return backupCount(b), err
}
