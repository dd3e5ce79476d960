package clientapi

import (
	"net/http"
	"slices"
	"strings"
)

// prefixes are the versions of the API a route is served under.
type prefixes []string

var (
	// stable: v3, and r0 as clients from before Matrix 1.1 call it.
	stable = prefixes{"/_matrix/client/v3", "/_matrix/client/r0"}
	// formerlyUnstable: what clients and tools called before it was in the specification, as Synapse still answers it.
	formerlyUnstable = append(stable[:2:2], "/_matrix/client/unstable")
	// v1: endpoints that came after v3 was made the default of the older ones.
	v1 = prefixes{"/_matrix/client/v1"}
	// v1Unstable is formerlyUnstable for them.
	v1Unstable = append(v1[:1:1], "/_matrix/client/unstable")
	// unversioned paths are written out whole.
	unversioned = prefixes{""}
)

// authKind says whose requests a route takes.
type authKind int

const (
	withUser    authKind = iota // an access token is needed
	withoutUser                 // none is looked at
	maybeUser                   // one is used if it is there and good
	userIfNamed                 // one that is there must be good
)

// route is one method of one path.
type route struct {
	method string
	path   string // a ServeMux pattern below each prefix
	in     prefixes
	auth   authKind
	class  limitClass
	serve  func(*request) (any, error) // nil body: {}
}

// routes is the list of what the API knows, a line a module.
func (a *API) routes() []route {
	return slices.Concat(
		a.versionsRoutes(),
		a.turnRoutes(),
		a.wellKnownRoutes(),
		a.realTimeRoutes(),
		a.loginRoutes(),
		a.oauthRoutes(),
		a.rendezvousRoutes(),
		a.registrationRoutes(),
		a.sharedSecretRoutes(),
		a.serverNoticeRoutes(),
		a.accountRoutes(),
		a.deviceRoutes(),
		a.adminRoutes(),
		a.accountModerationRoutes(),
		a.capabilitiesRoutes(),
		a.profileRoutes(),
		a.userDirectoryRoutes(),
		a.mutualRoomsRoutes(),
		a.thirdPartyRoutes(),
		a.thirdPartyIDRoutes(),
		a.serviceRoutes(),
		a.reportRoutes(),
		a.accountDataRoutes(),
		a.tagRoutes(),
		a.filterRoutes(),
		a.pushRuleRoutes(),
		a.pusherRoutes(),
		a.notificationRoutes(),
		a.presenceRoutes(),
		a.keysRoutes(),
		a.roomKeysRoutes(),
		a.createRoomRoutes(),
		a.joiningRoutes(),
		a.leavingRoutes(),
		a.memberRoutes(),
		a.sendRoutes(),
		a.delayedRoutes(),
		a.stateRoutes(),
		a.upgradeRoutes(),
		a.directoryRoutes(),
		a.publicRoomsRoutes(),
		a.spaceRoutes(),
		a.typingRoutes(),
		a.receiptRoutes(),
		a.syncRoutes(),
		a.slidingSyncRoutes(),
		a.messageRoutes(),
		a.timestampRoutes(),
		a.initialSyncRoutes(),
		a.eventStreamRoutes(),
		a.relationRoutes(),
		a.searchRoutes(),
		a.readRoutes(),
		a.mediaRoutes(),
		a.openIDRoutes(),
	)
}

// methods are the routes of one path, by method.
type methods map[string]route

// table groups the routes into patterns. It panics on a pattern given twice: that is a fault in the lists, and the
// first test finds it.
func table(routes []route) map[string]methods {
	paths := make(map[string]methods)
	for _, r := range routes {
		for _, prefix := range r.in {
			pattern := prefix + r.path
			if paths[pattern] == nil {
				paths[pattern] = make(methods)
			}
			if _, twice := paths[pattern][r.method]; twice {
				panic("clientapi: two routes for " + r.method + " " + pattern)
			}
			paths[pattern][r.method] = r
		}
	}
	return paths
}

// allow lists the methods for the Allow header.
func (m methods) allow() string {
	names := []string{http.MethodOptions}
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
