package clientapi

import "net/http"

// thirdPartyRoutes answer that there are no third-party networks.
//
// spec:client-server-api#third-party-networks
func (a *API) thirdPartyRoutes() []route {
	return []route{
		{http.MethodGet, "/thirdparty/protocols", stable, withUser, ordinary, noProtocols},
		{http.MethodGet, "/thirdparty/protocol/{protocol}", stable, withUser, ordinary, noProtocol},
		{http.MethodGet, "/thirdparty/location/{protocol}", stable, withUser, ordinary, noProtocol},
		{http.MethodGet, "/thirdparty/user/{protocol}", stable, withUser, ordinary, noProtocol},
		{http.MethodGet, "/thirdparty/location", stable, withUser, ordinary, noMapping},
		{http.MethodGet, "/thirdparty/user", stable, withUser, ordinary, noMapping},
	}
}

// noProtocols answers that there are none: {}.
func noProtocols(*request) (any, error) { return nil, nil }

// noProtocol answers that a protocol is not known.
func noProtocol(*request) (any, error) {
	return nil, notFound("this server bridges no third-party networks")
}

// noMapping answers that there is nothing of a third-party network behind an alias or a user.
func noMapping(*request) (any, error) { return nil, notFound("no third-party network is behind this") }

// thirdPartyIDRoutes refuse what belongs to addresses and numbers: accounts of this server have none.
func (a *API) thirdPartyIDRoutes() []route {
	var routes []route
	for _, path := range []string{"/register", "/account/password", "/account/3pid"} {
		for _, medium := range []string{"/email", "/msisdn"} {
			routes = append(routes, route{http.MethodPost, path + medium + "/requestToken", stable, withoutUser, registers, noMedium})
		}
	}
	for _, path := range []string{"", "/add", "/bind", "/delete", "/unbind"} {
		routes = append(routes, route{http.MethodPost, "/account/3pid" + path, stable, withUser, ordinary, noThirdPartyIDs})
	}
	return routes
}

// spec:client-server-api#post_matrixclientv3registeremailrequesttoken
func noMedium(*request) (any, error) {
	return nil, badRequest("M_THREEPID_MEDIUM_NOT_SUPPORTED", "this server takes no addresses or numbers")
}

// noThirdPartyIDs refuses as the capability m.3pid_changes says it.
//
// spec:client-server-api#m3pid_changes-capability
func noThirdPartyIDs(*request) (any, error) {
	return nil, forbidden("accounts of this server have no addresses or numbers")
}
