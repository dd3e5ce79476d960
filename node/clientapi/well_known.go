package clientapi

import (
	"net/http"
	"net/url"

	"hanse/federation/id"
)

// Support is who helps users of this server, and others who have something to say about it.
//
// spec:client-server-api#getwell-knownmatrixsupport
type Support struct {
	Contacts []Contact `json:"contacts,omitempty"`
	Page     string    `json:"support_page,omitempty"` // an address of the web
}

// Contact is a way to reach somebody: MatrixID or EMailAddress is there.
type Contact struct {
	MatrixID     id.UserID `json:"matrix_id,omitempty"`
	EMailAddress string    `json:"email_address,omitempty"`
	Role         string    `json:"role"` // m.role.admin, m.role.security
}

func (a *API) wellKnownRoutes() []route {
	return []route{
		{http.MethodGet, "/.well-known/matrix/client", unversioned, withoutUser, ordinary, a.wellKnown},
		{http.MethodGet, "/.well-known/matrix/support", unversioned, withoutUser, ordinary, a.wellKnownSupport},
	}
}

// spec:client-server-api#well-known-uris
func (a *API) wellKnown(*request) (any, error) {
	base, err := url.Parse(a.config.BaseURL)
	if err != nil || base.Host == "" {
		return nil, notFound("this server doesn't publish the address of its client API")
	}
	form := map[string]any{"m.homeserver": map[string]string{"base_url": a.config.BaseURL}}
	if a.config.LiveKitServiceURL != "" {
		form[realTimeFeature+".rtc_foci"] = a.transports()
	}
	return form, nil
}

// spec:client-server-api#getwell-knownmatrixsupport
func (a *API) wellKnownSupport(*request) (any, error) {
	if support := a.config.Support; len(support.Contacts) > 0 || support.Page != "" {
		return support, nil
	}
	return nil, notFound("this server doesn't publish whom to ask for support")
}
