package spec

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Schema is the form of a JSON value: of JSON Schema what the definitions use and what can be checked without knowing
// what a value means.
type Schema struct {
	Ref        string             `json:"ref,omitempty"` // the name of another
	Types      []string           `json:"types,omitempty"`
	Pattern    string             `json:"pattern,omitempty"` // of a string; only in the forms of Forms
	Required   []string           `json:"required,omitempty"`
	Properties map[string]*Schema `json:"properties,omitempty"`
	Patterns   map[string]*Schema `json:"patterns,omitempty"` // of members by the form of their names
	Others     *Schema            `json:"others,omitempty"`   // of members that have no schema of their own
	Items      *Schema            `json:"items,omitempty"`
	Enum       []any              `json:"enum,omitempty"`
	All        []*Schema          `json:"all,omitempty"`
	Any        []*Schema          `json:"any,omitempty"`
}

// Answer is the operation that a client's request is, and the schema of what comes with 200. The longest literal path
// wins: /rooms/{roomId}/state before /rooms/{roomId}/{other}.
func Answer(method, path string) (Operation, bool) { return find(Operations(), method, path) }

func find(operations []Operation, method, path string) (Operation, bool) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	var best Operation
	found, score := false, -1
	for _, operation := range operations {
		if operation.Method != method {
			continue
		}
		if literal, ok := matches(strings.Split(operation.Path, "/"), parts); ok && literal > score {
			best, found, score = operation, true, literal
		}
	}
	return best, found
}

func matches(pattern, parts []string) (literal int, ok bool) {
	if len(pattern) != len(parts) {
		return 0, false
	}
	for i, part := range pattern {
		switch {
		case part == parts[i]:
			literal++
		case !strings.HasPrefix(part, "{") || parts[i] == "" && i < len(parts)-1: // a state key may be empty
			return 0, false
		}
	}
	return literal, true
}

// CheckAnswer holds an answer's body against the definition of its operation. A request that is not defined, and an
// answer that is no JSON by its definition, are taken as they are.
func CheckAnswer(method, path string, status int, body []byte) error {
	operation, ok := Answer(method, path)
	if !ok || status != http.StatusOK || operation.Answer == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("%s: the answer is not JSON: %w", operation.Anchor, err)
	}
	if err := operation.Answer.Check(value); err != nil {
		return fmt.Errorf("%s (%s): %w", operation.Anchor, URL(operation.Anchor), err)
	}
	return nil
}

// Check holds a value (of encoding/json) against the schema. The error names the first member that is not as it should
// be.
func (s *Schema) Check(value any) error { return s.check(read().Schemas, value, "", 0) }

// maxNesting bounds schemas that contain themselves.
const maxNesting = 64

// check finds what is referred to among the named schemas.
func (s *Schema) check(named map[string]*Schema, value any, at string, depth int) error {
	if s == nil || depth > maxNesting {
		return nil
	}
	if s.Ref != "" {
		return named[s.Ref].check(named, value, at, depth+1)
	}
	for _, part := range s.All {
		if err := part.check(named, value, at, depth+1); err != nil {
			return err
		}
	}
	if err := s.checkAny(named, value, at, depth); err != nil {
		return err
	}
	if len(s.Types) > 0 && !slices.ContainsFunc(s.Types, func(t string) bool { return is(value, t) }) {
		return fmt.Errorf("%s is %s, not %s", name(at), show(value), strings.Join(s.Types, " or "))
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, value) {
		return fmt.Errorf("%s is %s, not one of %v", name(at), show(value), s.Enum)
	}
	switch value := value.(type) {
	case string:
		if s.Pattern != "" && !compiled(s.Pattern).MatchString(value) {
			return fmt.Errorf("%s is %s, not of the form %s", name(at), show(value), s.Pattern)
		}
	case map[string]any:
		return s.checkMembers(named, value, at, depth)
	case []any:
		for i, item := range value {
			if err := s.Items.check(named, item, at+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Schema) checkAny(named map[string]*Schema, value any, at string, depth int) error {
	if len(s.Any) == 0 {
		return nil
	}
	var failures []error
	for _, part := range s.Any {
		err := part.check(named, value, at, depth+1)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("%s has none of the forms that it may have: %w", name(at), errors.Join(failures...))
}

func (s *Schema) checkMembers(named map[string]*Schema, members map[string]any, at string, depth int) error {
	for _, required := range s.Required {
		if _, ok := members[required]; !ok {
			return fmt.Errorf("%s lacks %q, which is required", name(at), required)
		}
	}
	for member, value := range members {
		schema, ok := s.Properties[member]
		for pattern, candidate := range s.Patterns {
			if !ok && compiled(pattern).MatchString(member) {
				schema, ok = candidate, true
			}
		}
		if !ok {
			schema = s.Others
		}
		if err := schema.check(named, value, at+"."+member, depth+1); err != nil {
			return err
		}
	}
	return nil
}

var patterns sync.Map // of *regexp.Regexp

func compiled(pattern string) *regexp.Regexp {
	if known, ok := patterns.Load(pattern); ok {
		return known.(*regexp.Regexp)
	}
	expression := regexp.MustCompile(pattern) // the test of this package compiles each
	patterns.Store(pattern, expression)
	return expression
}

func is(value any, kind string) bool {
	switch value := value.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && value == math.Trunc(value)
	case []any:
		return kind == "array"
	case map[string]any:
		return kind == "object"
	}
	return false
}

func name(at string) string {
	if at == "" {
		return "the answer"
	}
	return strings.TrimPrefix(at, ".")
}

func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	if len(text) > 60 {
		return string(text[:60]) + "…"
	}
	return string(text)
}
