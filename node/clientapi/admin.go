package clientapi

import (
	"net/http"

	"hanse/federation/id"
)

func (a *API) adminRoutes() []route {
	return []route{{http.MethodGet, "/admin/whois/{userId}", stable, withUser, ordinary, a.whoIs}}
}

type (
	whoIsForm struct {
		User    id.UserID              `json:"user_id"`
		Devices map[string]whoIsDevice `json:"devices"` // by device ID
	}
	whoIsDevice struct {
		Sessions []whoIsSession `json:"sessions"`
	}
	whoIsSession struct {
		Connections []whoIsConnection `json:"connections"`
	}
	whoIsConnection struct {
		IP       string `json:"ip"`
		LastSeen int64  `json:"last_seen"` // ms since the epoch
		Agent    string `json:"user_agent,omitempty"`
	}
)

// whoIs tells users of themselves, and administrators of every user of this server. A device has one session, and of that the
// last address is known, and as which the client called itself.
//
// spec:client-server-api#get_matrixclientv3adminwhoisuserid
func (a *API) whoIs(r *request) (any, error) {
	user, err := id.ParseUserID(r.PathValue("userId"))
	switch {
	case err != nil:
		return nil, invalidParam("%q is not a user ID", r.PathValue("userId"))
	case user != r.user && !r.admin:
		return nil, forbidden("this is for %s and for administrators alone", user)
	case user.Server() != a.config.Self:
		return nil, invalidParam("%s is not a user of this server", user)
	}
	if there, err := a.config.Users.Exists(r.Context(), user); err != nil || !there {
		if err == nil {
			err = notFound("there is no user %s", user)
		}
		return nil, err
	}
	devices, err := a.config.Users.Devices(r.Context(), user)
	if err != nil {
		return nil, err
	}
	form := whoIsForm{User: user, Devices: map[string]whoIsDevice{}}
	for _, device := range devices {
		connections := []whoIsConnection{}
		if device.LastSeenTS > 0 {
			connections = append(connections, whoIsConnection{device.LastSeenIP, device.LastSeenTS, device.UserAgent})
		}
		form.Devices[device.ID] = whoIsDevice{[]whoIsSession{{connections}}}
	}
	return form, nil
}
