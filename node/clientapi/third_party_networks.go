package clientapi

import (
	"net/http"
	"net/url"

	"hanse/federation/id"
)

// thirdPartyRoutes pass questions about third-party networks on to the application services that bridge them.
//
// spec:client-server-api#third-party-networks
func (a *API) thirdPartyRoutes() []route {
	return []route{
		{http.MethodGet, "/thirdparty/protocols", stable, withUser, ordinary, a.protocols},
		{http.MethodGet, "/thirdparty/protocol/{protocol}", stable, withUser, ordinary, a.protocol},
		{http.MethodGet, "/thirdparty/location/{protocol}", stable, withUser, ordinary, a.thirdPartyLocations},
		{http.MethodGet, "/thirdparty/user/{protocol}", stable, withUser, ordinary, a.thirdPartyUsers},
		{http.MethodGet, "/thirdparty/location", stable, withUser, ordinary, a.locationsOfAlias},
		{http.MethodGet, "/thirdparty/user", stable, withUser, ordinary, a.thirdPartyUsersOf},
	}
}

// spec:client-server-api#get_matrixclientv3thirdpartyprotocols
func (a *API) protocols(r *request) (any, error) {
	return a.config.Services.Protocols(r.Context()), nil
}

// spec:client-server-api#get_matrixclientv3thirdpartyprotocolprotocol
func (a *API) protocol(r *request) (any, error) {
	protocol, known := a.config.Services.Protocol(r.Context(), r.PathValue("protocol"))
	if !known {
		return nil, notFound("this server bridges no such network, or its bridge does not answer")
	}
	return protocol, nil
}

// spec:client-server-api#get_matrixclientv3thirdpartylocationprotocol
func (a *API) thirdPartyLocations(r *request) (any, error) {
	fields, err := r.thirdPartyFields()
	if err != nil {
		return nil, err
	}
	return found(a.config.Services.Locations(r.Context(), r.PathValue("protocol"), fields))
}

// spec:client-server-api#get_matrixclientv3thirdpartyuserprotocol
func (a *API) thirdPartyUsers(r *request) (any, error) {
	fields, err := r.thirdPartyFields()
	if err != nil {
		return nil, err
	}
	return found(a.config.Services.ThirdPartyUsers(r.Context(), r.PathValue("protocol"), fields))
}

// spec:client-server-api#get_matrixclientv3thirdpartylocation
func (a *API) locationsOfAlias(r *request) (any, error) {
	text := r.URL.Query().Get("alias")
	if text == "" {
		return nil, missingParam("alias")
	}
	alias, err := id.ParseRoomAlias(text)
	if err != nil {
		return nil, invalidParam("%q is not an alias", text)
	}
	return found(a.config.Services.LocationsOf(r.Context(), alias))
}

// spec:client-server-api#get_matrixclientv3thirdpartyuser
func (a *API) thirdPartyUsersOf(r *request) (any, error) {
	text := r.URL.Query().Get("userid")
	if text == "" {
		return nil, missingParam("userid")
	}
	user, err := id.ParseUserID(text)
	if err != nil {
		return nil, invalidParam("%q is not a user ID", text)
	}
	return found(a.config.Services.ThirdPartyUsersOf(r.Context(), user))
}

// found is a list that is not empty, or an error.
func found[T any](list []T) (any, error) {
	if len(list) == 0 {
		return nil, notFound("no third-party network has anything of this")
	}
	return list, nil
}

// thirdPartyFields are what is looked for: the query, without what is for this server.
func (r *request) thirdPartyFields() (url.Values, error) {
	fields, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(fields) > maxThirdPartyFields {
		return nil, invalidParam("at most %d fields can be looked for, and they must be encoded", maxThirdPartyFields)
	}
	for _, ours := range [...]string{"access_token", "user_id", "device_id", "org.matrix.msc3202.device_id"} {
		fields.Del(ours)
	}
	return fields, nil
}
