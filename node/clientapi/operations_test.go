package clientapi

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"hanse/conformance/spec"
)

// wildcard is a parameter in a path; what it is called is nobody's business but the path's.
var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// TestOperations holds doc/client-api.md against the routes: it lists exactly those operations of the client-server API that
// are not there.
func TestOperations(t *testing.T) {
	text, err := os.ReadFile("../../doc/client-api.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, match := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		listed[match[1]] = true
	}
	api := &API{}
	for config, i := reflect.ValueOf(&api.config).Elem(), 0; i < config.NumField(); i++ {
		if part := config.Field(i); part.Kind() == reflect.Pointer {
			part.Set(reflect.New(part.Type().Elem())) // there, so that its routes are
		}
	}
	there := map[string]bool{}
	for pattern, methods := range table(api.routes()) {
		for method := range methods {
			there[method+" "+wildcard.ReplaceAllString(strings.TrimSuffix(pattern, "{$}"), "{}")] = true
		}
	}
	operations, known := 0, map[string]bool{}
	for _, o := range spec.Operations() {
		if !strings.HasPrefix(o.Anchor, "client-server-api#") {
			continue
		}
		operations++
		name := o.Method + " " + strings.TrimSpace(o.Path) // a blank tells some apart that have the same path
		switch served := there[wildcard.ReplaceAllString(name, "{}")]; {
		case !served && !listed[name]:
			t.Errorf("%s is not there, and doc/client-api.md doesn't say so", name)
		case served && listed[name]:
			t.Errorf("%s is there: take it off the list in doc/client-api.md", name)
		}
		known[name] = true
	}
	for name := range listed {
		if known[name] {
			continue
		}
		t.Errorf("doc/client-api.md lists %s, which is no operation of the specification", name)
	}
	if operations < 150 {
		t.Errorf("only %d operations were read", operations)
	}
}
