package clientapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"hanse/federation/canonicaljson"
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
	if session != "" {
		return a.config.Encryption.BackedUp(r.Context(), r.user, version, room, session)
	}
	b, err := a.config.Encryption.Backup(r.Context(), r.user, version)
	if err != nil {
		return nil, err
	}
	// There may be more of them than memory.
	if room != "" {
		return map[string]any{"sessions": r.later('{', b.Count, func(add addLater) error {
			return a.config.Encryption.EachBackedUp(r.Context(), r.user, b, room, func(k e2ee.BackedUp) error {
				return add(func(dst []byte) ([]byte, error) { return appendMember(dst, k.Session, k.Data), nil })
			})
		})}, nil
	}
	return map[string]any{"rooms": r.later('{', b.Count, func(add addLater) error {
		var last *e2ee.BackedUp // of which it isn't known yet whether it is the last one of its room
		begins := true
		told := func(ends bool) error {
			return add(func(dst []byte) ([]byte, error) {
				if begins {
					dst = append(canonicaljson.AppendString(dst, last.Room), `:{"sessions":{`...)
				}
				if dst = appendMember(dst, last.Session, last.Data); ends {
					dst = append(dst, "}}"...)
				}
				begins = ends
				return dst, nil
			})
		}
		err := a.config.Encryption.EachBackedUp(r.Context(), r.user, b, "", func(k e2ee.BackedUp) error {
			defer func() { last = &k }()
			if last == nil {
				return nil
			}
			return told(k.Room != last.Room)
		})
		if err != nil || last == nil {
			return err
		}
		return told(true)
	})}, nil
}

// appendMember appends a member of a JSON object.
func appendMember(dst []byte, name string, value json.RawMessage) []byte {
	return append(append(canonicaljson.AppendString(dst, name), ':'), value...)
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
