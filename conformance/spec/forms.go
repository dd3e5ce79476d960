package spec

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Forms are the forms of all that the client-server API answers: stricter than CheckAnswer, with the forms of
// identifiers, the contents of events that servers make, and the errors of each operation. They are for a server's own tests
// and not in the binary: testdata/client.json, which is made with pinned.json.
type Forms struct{ forms pinned }

// ReadForms reads testdata/client.json.
func ReadForms(text []byte) (*Forms, error) {
	var f Forms
	if err := json.Unmarshal(text, &f.forms); err != nil {
		return nil, fmt.Errorf("the forms of the client-server API: %w", err)
	}
	return &f, nil
}

// commonErrors are those that any operation may answer, or that stand in the text alone, not in the definition.
//
// spec:client-server-api#common-error-codes
var commonErrors = map[int][]string{
	http.StatusBadRequest: {"M_NOT_JSON", "M_BAD_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM", "M_UNKNOWN", "M_WEAK_PASSWORD", "M_KEY_TOO_LARGE",
		"M_THREEPID_AUTH_FAILED", "M_THREEPID_IN_USE", "M_THREEPID_MEDIUM_NOT_SUPPORTED", "M_SERVER_NOT_TRUSTED"},
	http.StatusUnauthorized:          {"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_LOCKED"},
	http.StatusForbidden:             {"M_FORBIDDEN", "M_USER_SUSPENDED", "M_GUEST_ACCESS_FORBIDDEN", "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"},
	http.StatusNotFound:              {"M_NOT_FOUND", "M_UNRECOGNIZED"},
	http.StatusMethodNotAllowed:      {"M_UNRECOGNIZED"},
	http.StatusRequestEntityTooLarge: {"M_TOO_LARGE"},
	http.StatusTooManyRequests:       {"M_LIMIT_EXCEEDED"},
	http.StatusInternalServerError:   {"M_UNKNOWN"},
	http.StatusBadGateway:            {"M_UNKNOWN"}, // another server isn't there
	http.StatusServiceUnavailable:    {"M_UNKNOWN"},
	http.StatusGatewayTimeout:        {"M_UNKNOWN"},
}

// Check holds an answer in JSON against the definition of its operation. A request that is not defined is taken as it is.
func (f *Forms) Check(method, path string, status int, body []byte) error {
	operation, ok := f.Operation(method, path)
	if !ok {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("%s: the answer is not JSON: %w", operation.Anchor, err)
	}
	err := f.check(operation, status, value)
	if err != nil {
		err = fmt.Errorf("%s (%s): %w", operation.Anchor, URL(operation.Anchor), err)
	}
	return err
}

func (f *Forms) check(operation Operation, status int, value any) error {
	switch {
	case status >= http.StatusBadRequest:
		return refusal(operation, status, value)
	case status != http.StatusOK:
		if _, ok := operation.Refusals[strconv.Itoa(status)]; !ok {
			return fmt.Errorf("status %d is not defined", status)
		}
		return nil
	}
	if err := operation.Answer.check(f.forms.Schemas, value, "", 0); err != nil {
		return err
	}
	return f.checkEvents(value, "")
}

// refusal checks an error: one of those that the definition names, or a common one.
func refusal(operation Operation, status int, value any) error {
	members, _ := value.(map[string]any)
	code, _ := members["errcode"].(string)
	named, defined := operation.Refusals[strconv.Itoa(status)]
	switch _, stages := members["flows"].([]any); {
	case stages && status == http.StatusUnauthorized && defined: // user-interactive authentication goes on
	case code == "":
		return fmt.Errorf("an error without an errcode, status %d", status)
	case defined && len(named) == 0, slices.Contains(named, code), slices.Contains(commonErrors[status], code):
	default:
		return fmt.Errorf("status %d with %s, which is neither a common error nor one of %v", status, code, operation.Refusals)
	}
	return nil
}

// checkEvents holds the contents of the events in an answer against their definitions. What is redacted has lost some of it.
func (f *Forms) checkEvents(value any, at string) error {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			if err := f.checkEvents(item, at+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	case map[string]any:
		kind, _ := value["type"].(string)
		content, ok := value["content"].(map[string]any)
		unsigned, _ := value["unsigned"].(map[string]any)
		if _, redacted := unsigned["redacted_because"]; ok && !redacted {
			if err := f.forms.Events[kind].check(f.forms.Schemas, content, at+".content", 0); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
		for member, inner := range value {
			if err := f.checkEvents(inner, at+"."+member); err != nil {
				return err
			}
		}
	}
	return nil
}

// Operations are the operations of the client-server API.
func (f *Forms) Operations() []Operation { return f.forms.Operations }

// Operation finds the operation that a request is.
func (f *Forms) Operation(method, path string) (Operation, bool) {
	return find(f.forms.Operations, method, path)
}

// Named is the schema that a schema with a Ref refers to, or itself.
func (f *Forms) Named(s *Schema) *Schema {
	for s != nil && s.Ref != "" {
		s = f.forms.Schemas[s.Ref]
	}
	return s
}
