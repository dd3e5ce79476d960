package clientapi

import (
	"net/http"

	"hanse/federation/roomversion"
)

func (a *API) capabilitiesRoutes() []route {
	return []route{{http.MethodGet, "/capabilities", stable, withUser, ordinary, a.capabilities}}
}

// spec:client-server-api#capabilities-negotiation
func (a *API) capabilities(r *request) (any, error) {
	available := make(map[roomversion.Version]string)
	for _, rules := range roomversion.All() {
		available[rules.Version] = "stable"
	}
	enabled := func(yes bool) map[string]bool { return map[string]bool{"enabled": yes} }
	capabilities := map[string]any{
		"m.room_versions":            map[string]any{"default": a.config.DefaultRoomVersion, "available": available},
		"m.change_password":          enabled(!r.oauth),
		"m.set_displayname":          enabled(true),
		"m.set_avatar_url":           enabled(true),
		"m.profile_fields":           enabled(true),
		"m.3pid_changes":             enabled(a.config.Email != nil && !r.oauth),
		"m.get_login_token":          enabled(!r.oauth),
		"m.forget_forced_upon_leave": enabled(false),
	}
	if r.admin { // for the others it is left out
		capabilities["m.account_moderation"] = map[string]bool{"lock": true, "suspend": true}
	}
	return map[string]any{"capabilities": capabilities}, nil
}
