package clientapi

import "net/http"

// realTimeFeature is the name under which MSC4143 (MatrixRTC) is served while it is no part of the specification.
const realTimeFeature = "org.matrix.msc4143"

// realTimeRoutes are there where there is a media server: of a server without the path clients look in
// /.well-known/matrix/client, which may be somebody else's and name one. matrix-rust-sdk asks by v1, matrix-js-sdk by the other.
func (a *API) realTimeRoutes() []route {
	if a.config.LiveKitServiceURL == "" {
		return nil
	}
	return []route{
		{http.MethodGet, "/rtc/transports", prefixes{"/_matrix/client/v1", "/_matrix/client/unstable/" + realTimeFeature}, withUser, ordinary, a.realTimeTransports},
	}
}

// transport is a way for the media of calls. MSC4195 describes this one.
type transport struct {
	Type              string `json:"type"`
	LiveKitServiceURL string `json:"livekit_service_url"`
}

func (a *API) transports() []transport { return []transport{{"livekit", a.config.LiveKitServiceURL}} }

func (a *API) realTimeTransports(*request) (any, error) {
	return map[string]any{"rtc_transports": a.transports()}, nil
}
