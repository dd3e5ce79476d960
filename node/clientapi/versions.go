package clientapi

import "net/http"

// supportedVersions are the versions of the specification whose additions to the client-server API are there. What is there
// only as a refusal, or not at all, is in doc/client-api.md; capabilities say so where the specification has one for it.
//
// spec:client-server-api#api-versions
var supportedVersions = [...]string{
	"r0.6.0", "r0.6.1", "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
	"v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
}

// relTypesFeature is the filter of MSC3874: see clientsync.RoomEventFilter.
const relTypesFeature = "org.matrix.msc3874"

func (a *API) versionsRoutes() []route {
	return []route{
		{http.MethodGet, "/_matrix/client/versions", unversioned, withoutUser, ordinary, a.versions},
	}
}

// spec:client-server-api#get_matrixclientversions
func (a *API) versions(*request) (any, error) {
	features := map[string]bool{relTypesFeature: true, stateAfterFeature: true, mutualRoomsFeature: true}
	if a.config.SlidingSync != nil {
		features[slidingSyncFeature] = true
	}
	if a.config.Delayed != nil {
		features[delayedFeature] = true
	}
	if a.config.OAuth {
		features[meetingFeature], features[newerMeetingFeature] = true, true
	}
	return map[string]any{"versions": supportedVersions[:], "unstable_features": features}, nil
}
