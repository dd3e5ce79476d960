package clientapi

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"

	"hanse/federation"
	"hanse/federation/id"
	"hanse/node/appservice"
)

// serviceLogin is the type of logins and registrations of application services.
const serviceLogin = "m.login.application_service"

func (a *API) serviceRoutes() []route {
	return []route{
		{http.MethodPost, "/appservice/{appserviceId}/ping", v1Unstable, withUser, ordinary, a.pingService},
		{http.MethodPut, "/directory/list/appservice/{networkId}/{roomId}", stable, withUser, ordinary, a.publishInNetwork},
		{http.MethodDelete, "/directory/list/appservice/{networkId}/{roomId}", stable, withUser, ordinary, a.publishInNetwork}, // as with Synapse
	}
}

// askingService finds the application service whose token a request has, where the client needs to be nobody: then it is the
// request's.
//
// spec:application-service-api#server-admin-style-permissions
func (a *API) askingService(r *request) (*appservice.Service, error) {
	token, err := accessToken(r.Request)
	if err != nil {
		return nil, err
	}
	service, ok := a.config.Services.ByToken(token)
	if !ok {
		return nil, &federation.Error{Status: http.StatusUnauthorized, Code: federation.CodeUnknownToken,
			Message: "this is not the as_token of an application service"}
	}
	service.Heard()
	r.service = service
	return service, nil
}

// messagesAside tells whether messages to the request's device go to its application service in transactions: then /sync has none,
// so that each comes once.
func (a *API) messagesAside(r *request) (bool, error) {
	if !a.config.Services.MayTakeMessages(r.user) {
		return false, nil
	}
	maker, err := a.config.Users.DeviceService(r.Context(), r.user, r.device)
	return err == nil && a.config.Services.TakesMessages(maker, r.user, r.device), err
}

// admitService admits a request of an application service, as the user and device that it names.
//
// spec:application-service-api#identity-assertion
func (a *API) admitService(r *request, route route, service *appservice.Service) error {
	service.Heard()
	query := r.URL.Query()
	user, device := service.Sender, cmp.Or(query.Get("device_id"), query.Get("org.matrix.msc3202.device_id"))
	if text := query.Get("user_id"); text != "" {
		var err error
		if user, err = id.ParseUserID(text); err != nil {
			return invalidParam("user_id: %q is not a user ID", text)
		}
	}
	if !service.Covers(user) {
		return forbidden("%s is not in the namespaces of the application service", user)
	}
	if active, err := a.config.Users.Active(r.Context(), user); err != nil || !active {
		return cmp.Or(err, error(forbidden("the application service has not registered %s, or deactivated them", user)))
	}
	if device != "" {
		if _, err := a.config.Users.Device(r.Context(), user, device); isNotFound(err) {
			return badRequest("M_UNKNOWN_DEVICE", "%s has no device %q", user, device)
		} else if err != nil {
			return err
		}
	}
	r.user, r.device, r.service = user, device, service
	if service.Limited(user) {
		if err := a.limiter.take(route.class, user, a.address(r.Request)); err != nil {
			return err
		}
	}
	return a.unrestricted(r, route)
}

// txnDevice is within what a client's transaction IDs are its own: the device or, without one, the application service.
func (r *request) txnDevice() string {
	if r.device == "" && r.service != nil {
		return "application service " + r.service.ID
	}
	return r.device
}

// maxTimestamp is the largest number that events may have.
const maxTimestamp = 1<<53 - 1

// timestamp is when an application service says that an event was sent, in ms since the epoch; 0: now.
//
// spec:application-service-api#timestamp-massaging
func (r *request) timestamp() (int64, error) {
	text := r.URL.Query().Get("ts")
	if r.service == nil || text == "" {
		return 0, nil
	}
	ts, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ts < 0 || ts > maxTimestamp {
		return 0, invalidParam("ts must be a number of milliseconds since 1970")
	}
	return max(ts, 1), nil // 0 would be now
}

// byService tells as whom an application service logs in.
func (a *API) byService(r *request, req loginRequest) (id.UserID, error) {
	service, err := a.askingService(r)
	if err != nil {
		return "", err
	}
	name, err := req.name()
	if err != nil {
		return "", err
	}
	user, err := a.serviceUser(service, name)
	if err != nil {
		return "", err
	}
	if active, err := a.config.Users.Active(r.Context(), user); err != nil || !active {
		return "", cmp.Or(err, error(forbidden("there is no user %s; register them first", user)))
	}
	return user, nil
}

// serviceUser is the user whom an application service means by a local part or a whole ID, as it writes them. They must be its own.
func (a *API) serviceUser(service *appservice.Service, name string) (id.UserID, error) {
	if name != "" && name[0] != '@' {
		name = "@" + name + ":" + string(a.config.Self)
	}
	user, err := id.ParseUserID(name)
	switch {
	case err != nil:
		return "", badRequest("M_INVALID_USERNAME", "%q can't be a user of this server", name)
	case !service.Covers(user):
		return "", badRequest("M_EXCLUSIVE", "%s is not in the namespaces of the application service", user)
	case !a.config.Services.MayUse(user, service):
		return "", badRequest("M_EXCLUSIVE", "%s is reserved for another application service", user)
	}
	return user, nil
}

// registerForService makes a user of an application service, and logs them in unless it wants no device.
func (a *API) registerForService(r *request, req registerRequest) (any, error) {
	service, err := a.askingService(r)
	if err != nil {
		return nil, err
	}
	if req.Username == "" {
		return nil, missingParam("username")
	}
	user, err := a.serviceUser(service, req.Username)
	if err != nil {
		return nil, err
	}
	login, err := a.config.Users.RegisterFor(r.Context(), user, a.firstDevice(r, req))
	if err != nil {
		return nil, err
	}
	return a.loginAnswer(login), nil
}

// mayName is nil if an alias may be made or deleted by who asks, as far as application services have it.
//
// spec:application-service-api#server-admin-style-permissions
func (a *API) mayName(r *request, alias id.RoomAlias) error {
	switch {
	case r.service != nil && !r.service.Aliases.Match(string(alias)):
		return badRequest("M_EXCLUSIVE", "%s is not in the namespaces of the application service", alias)
	case !a.config.Services.MayName(alias, r.service):
		return badRequest("M_EXCLUSIVE", "%s is reserved for an application service", alias)
	}
	return nil
}

// spec:client-server-api#post_matrixclientv1appserviceappserviceidping
func (a *API) pingService(r *request) (any, error) {
	if r.service == nil || r.service.ID != r.PathValue("appserviceId") {
		return nil, forbidden("this is for the application service with its own as_token")
	}
	var req struct {
		TransactionID *string `json:"transaction_id"`
	}
	if err := r.decodeOptional(&req); err != nil {
		return nil, err
	}
	took, err := r.service.Ping(r.Context(), req.TransactionID)
	if bad, ok := errors.AsType[*appservice.BadStatus](err); ok {
		return answer{status: http.StatusBadGateway, body: map[string]any{
			"errcode": "M_BAD_STATUS", "error": bad.Error(), "status": bad.Status, "body": bad.Body,
		}}, nil
	}
	return map[string]int64{"duration_ms": took.Milliseconds()}, err
}

// spec:client-server-api#put_matrixclientv3directorylistappservicenetworkidroomid
func (a *API) publishInNetwork(r *request) (any, error) {
	if r.service == nil {
		return nil, forbidden("this is for application services")
	}
	room, err := r.roomID()
	if err != nil {
		return nil, err
	}
	public := false
	if r.Method != http.MethodDelete {
		if public, err = r.visibility(""); err != nil {
			return nil, err
		}
	}
	return nil, a.config.Directory.PublishInNetwork(r.Context(), r.service.ID, r.PathValue("networkId"), room, public)
}
