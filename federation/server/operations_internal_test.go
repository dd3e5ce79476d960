package server

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"hanse/conformance/spec"
)

// elsewhere are the operations that this package doesn't answer, and why.
var elsewhere = map[string]string{
	"GET /.well-known/matrix/server":               "the node answers, as it is told to",
	"GET /_matrix/federation/v1/query/{queryType}": "directory and profile are the ones there are",
	"POST /_matrix/policy/v1/sign":                 "this server is no policy server",
}

// everyHandler is a handler of each group, which answers nothing.
type everyHandler struct {
	TransactionHandler
	JoinHandler
	LeaveHandler
	KnockHandler
	InviteHandler
	ThirdPartyHandler
	EventHandler
	DirectoryHandler
	SpaceHandler
	ProfileHandler
	KeyHandler
	MediaHandler
	OpenIDHandler
	DeviceHandler
}

// TestOperations holds the routes against the operations of the server-server API.
func TestOperations(t *testing.T) {
	a := &api{}
	for handlers, i := reflect.ValueOf(&a.Handlers).Elem(), 0; i < handlers.NumField(); i++ {
		handlers.Field(i).Set(reflect.ValueOf(everyHandler{}))
	}
	wildcard := regexp.MustCompile(`\{[^}]*\}`)
	there := map[string]bool{}
	for path, methods := range a.routes() {
		for method := range methods {
			there[method+" "+wildcard.ReplaceAllString(path, "{}")] = true
		}
	}
	operations := 0
	for _, o := range spec.Operations() {
		if !strings.HasPrefix(o.Anchor, "server-server-api#") {
			continue
		}
		operations++
		name := o.Method + " " + o.Path
		answered := there[wildcard.ReplaceAllString(name, "{}")]
		if why, known := elsewhere[name]; !answered && !known {
			t.Errorf("%s is not answered", name)
		} else if answered && known {
			t.Errorf("%s is answered, although %s", name, why)
		}
	}
	if operations != 36 {
		t.Errorf("%d operations, not 36", operations)
	}
}
