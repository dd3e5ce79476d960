package clientapi

import (
	"encoding/json"
	"net/http"
	"slices"
)

func (a *API) deviceRoutes() []route {
	return []route{
		{http.MethodGet, "/devices", stable, withUser, ordinary, a.devices},
		{http.MethodGet, "/devices/{deviceId}", stable, withUser, ordinary, a.getDevice},
		{http.MethodPut, "/devices/{deviceId}", stable, withUser, ordinary, a.renameDevice},
		{http.MethodDelete, "/devices/{deviceId}", stable, withUser, ordinary, a.deleteDevice},
		{http.MethodPost, "/delete_devices", stable, withUser, ordinary, a.deleteDevices},
	}
}

// spec:client-server-api#get_matrixclientv3devices
func (a *API) devices(r *request) (any, error) {
	devices, err := a.config.Users.Devices(r.Context(), r.user)
	return map[string]any{"devices": devices}, err
}

// spec:client-server-api#get_matrixclientv3devicesdeviceid
func (a *API) getDevice(r *request) (any, error) {
	return a.config.Users.Device(r.Context(), r.user, r.PathValue("deviceId"))
}

// spec:client-server-api#put_matrixclientv3devicesdeviceid
func (a *API) renameDevice(r *request) (any, error) {
	var req struct {
		Name *string `json:"display_name"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if r.service != nil {
		made, err := a.config.Users.SetDevice(r.Context(), r.user, r.PathValue("deviceId"), req.Name, r.service.ID)
		if err != nil || !made {
			return nil, err
		}
		return answer{status: http.StatusCreated}, nil
	}
	if req.Name == nil {
		_, err := a.config.Users.Device(r.Context(), r.user, r.PathValue("deviceId"))
		return nil, err
	}
	return nil, a.config.Users.RenameDevice(r.Context(), r.user, r.PathValue("deviceId"), *req.Name)
}

// spec:client-server-api#delete_matrixclientv3devicesdeviceid
func (a *API) deleteDevice(r *request) (any, error) {
	var req struct {
		Auth json.RawMessage `json:"auth"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	return a.endDevices(r, req.Auth, []string{r.PathValue("deviceId")})
}

// spec:client-server-api#post_matrixclientv3delete_devices
func (a *API) deleteDevices(r *request) (any, error) {
	var req struct {
		Auth    json.RawMessage `json:"auth"`
		Devices []string        `json:"devices"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	switch {
	case req.Devices == nil:
		return nil, missingParam("devices")
	case len(req.Devices) > maxDeleteDevices:
		return nil, invalidParam("at most %d devices at once", maxDeleteDevices)
	}
	return a.endDevices(r, req.Auth, req.Devices)
}

// endDevices logs devices out once the user has given the password; application services have none.
//
// spec:application-service-api#deleting-devices
func (a *API) endDevices(r *request, auth json.RawMessage, devices []string) (any, error) {
	return a.withPasswordOrService(r, auth, func() (any, error) {
		err := a.config.Users.DeleteDevices(r.Context(), r.user, devices)
		if err == nil {
			a.config.Ephemeral.DevicesGone(r.user, func(device string) bool { return slices.Contains(devices, device) })
		}
		return nil, err
	})
}
