package clientapi

import (
	"net/http"

	"hanse/federation/id"
	"hanse/node/ephemeral"
)

func (a *API) presenceRoutes() []route {
	return []route{
		{http.MethodGet, "/presence/{userId}/status", stable, withUser, ordinary, a.getPresence},
		{http.MethodPut, "/presence/{userId}/status", stable, withUser, ordinary, a.setPresence},
	}
}

// getPresence answers that everybody is offline where presence is off.
//
// spec:client-server-api#get_matrixclientv3presenceuseridstatus
func (a *API) getPresence(r *request) (any, error) {
	user, err := id.ParseUserID(r.PathValue("userId"))
	if err != nil {
		return nil, invalidParam("%q is not a user ID", r.PathValue("userId"))
	}
	if !a.config.Ephemeral.HasPresence() {
		return presenceForm(ephemeral.Presence{State: ephemeral.Offline}), nil
	}
	switch allowed, err := a.config.Ephemeral.MaySeePresence(r.Context(), r.user, user); {
	case err != nil:
		return nil, err
	case !allowed:
		return nil, forbidden("you share no room with %s", user)
	}
	return presenceForm(a.config.Ephemeral.PresenceOf(user)), nil
}

// setPresence takes what clients send unasked, also where presence is off.
//
// spec:client-server-api#put_matrixclientv3presenceuseridstatus
func (a *API) setPresence(r *request) (any, error) {
	if err := r.ownUser(); err != nil {
		return nil, err
	}
	var req struct {
		Presence string `json:"presence"`
		Status   string `json:"status_msg"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Presence == "":
		return nil, missingParam("presence")
	case !isPresence(req.Presence):
		return nil, badJSON("presence must be online, offline or unavailable")
	case len(req.Status) > ephemeral.MaxStatusMsg:
		return nil, invalidParam("status_msg has at most %d bytes", ephemeral.MaxStatusMsg)
	}
	a.config.Ephemeral.SetPresence(r.user, r.device, req.Presence, req.Status)
	return nil, nil
}

// active notes that the user did something. What an application service does as its users says nothing of who is there: it sets
// their presence itself if it wants to.
func (r *request) active() {
	if r.service == nil {
		r.api.config.Ephemeral.Active(r.user, r.device)
	}
}

func isPresence(state string) bool {
	return state == ephemeral.Online || state == ephemeral.Unavailable || state == ephemeral.Offline
}

// presenceForm is the answer of /presence, and the content of m.presence. spec:client-server-api/modules/presence#events
func presenceForm(p ephemeral.Presence) map[string]any {
	form := map[string]any{"presence": p.State}
	if p.EverActive {
		form["last_active_ago"] = p.LastActiveAgo.Milliseconds()
	}
	if p.StatusMsg != "" {
		form["status_msg"] = p.StatusMsg
	}
	if p.State == ephemeral.Online {
		form["currently_active"] = p.CurrentlyActive
	}
	return form
}
