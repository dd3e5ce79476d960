package clientapi

import (
	"encoding/json"
	"net/http"
)

func (a *API) accountRoutes() []route {
	return []route{
		{http.MethodGet, "/account/whoami", stable, withUser, ordinary, a.whoami},
		{http.MethodPost, "/account/password", stable, userIfNamed, ordinary, a.changePassword},
		{http.MethodPost, "/account/deactivate", stable, withUser, ordinary, a.deactivate},
	}
}

// spec:client-server-api#get_matrixclientv3accountwhoami
func (a *API) whoami(r *request) (any, error) {
	body := map[string]any{"user_id": r.user, "is_guest": a.config.Users.Restrictions(r.user).Guest}
	if r.device != "" {
		body["device_id"] = r.device
	}
	return body, nil
}

// passwordFlow is what changes that matter ask for.
func passwordFlow() uiaFlow { return uiaFlow{Stages: []string{stagePassword}} }

// passwordRequest is the body of /account/password.
type passwordRequest struct {
	Auth          json.RawMessage `json:"auth"`
	NewPassword   string          `json:"new_password"`
	LogoutDevices *bool           `json:"logout_devices"`
}

func (p passwordRequest) logsOut() bool { return p.LogoutDevices == nil || *p.LogoutDevices }

// spec:client-server-api#post_matrixclientv3accountpassword
func (a *API) changePassword(r *request) (any, error) {
	var req passwordRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if r.user == "" {
		return a.resetPassword(r, req)
	}
	return a.withPassword(r, req.Auth, func() (any, error) {
		if req.NewPassword == "" {
			return nil, missingParam("new_password")
		}
		err := a.config.Users.SetPassword(r.Context(), r.user, req.NewPassword)
		if err != nil || !req.logsOut() {
			return nil, err
		}
		if err := a.config.Users.LogoutOthers(r.Context(), r.user, r.device); err != nil {
			return nil, err
		}
		a.config.Ephemeral.DevicesGone(r.user, func(device string) bool { return device != r.device })
		return nil, nil
	})
}

// deactivate ends an account: nobody can log in any more, its rooms are left, its profile is emptied. Leaving goes on
// although the client gives up.
//
// spec:client-server-api#post_matrixclientv3accountdeactivate
func (a *API) deactivate(r *request) (any, error) {
	var req struct {
		Auth  json.RawMessage `json:"auth"`
		Erase bool            `json:"erase"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	return a.withPasswordOrService(r, req.Auth, func() (any, error) {
		// Third-party identifiers would have been unbound: none was bound to an identity server.
		return json.RawMessage(`{"id_server_unbind_result":"success"}`), a.endAccount(r, req.Erase)
	})
}

// endAccount is deactivate for a user who has said who they are.
func (a *API) endAccount(r *request, erase bool) error {
	ctx, cancel := r.detached()
	defer cancel()
	if err := a.config.Users.Deactivate(ctx, r.user, erase); err != nil {
		return err
	}
	a.config.Ephemeral.AccountGone(r.user)
	_ = a.config.Rooms.LeaveAll(ctx, r.user) // the account has ended all the same; what is left is left at the next start
	return nil
}
