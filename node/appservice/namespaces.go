package appservice

import (
	"regexp"

	"go.yaml.in/yaml/v3"
)

// Namespace is a set of user IDs, aliases or room IDs.
type Namespace struct {
	// Exclusive says that nobody else may make or delete what is in it.
	Exclusive bool
	regex     *regexp.Regexp // nil: it is wrong, and so is the registration
}

// Namespaces are those of one kind.
type Namespaces []Namespace

// Match tells whether one of them has a name.
func (n Namespaces) Match(name string) bool {
	for _, one := range n {
		if one.regex.MatchString(name) {
			return true
		}
	}
	return false
}

// Exclusive tells whether one of them has a name for itself.
func (n Namespaces) Exclusive(name string) bool {
	for _, one := range n {
		if one.Exclusive && one.regex.MatchString(name) {
			return true
		}
	}
	return false
}

// regex reads a regular expression. It takes time in proportion to what it is matched with, whatever it is. It must match from the
// beginning of a name and needn't match to its end, as registrations are written for Synapse, which does it so; the specification
// is silent.
func (r *reader) regex(field string, value *yaml.Node) *regexp.Regexp {
	text := r.text(field, value, maxRegexBytes)
	_, err := regexp.Compile(text) // by itself: "a)|(b" would be good within brackets
	if err == nil {
		text = "^(?:" + text + ")"
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		r.wrong(value, field, "%q can't be used: %v; lookaheads and backreferences are not possible, and [ ( * + ? need a backslash before them where they mean themselves",
			text, err)
	}
	return compiled
}
