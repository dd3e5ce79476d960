package appservice

import (
	"regexp"
	"regexp/syntax"

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

// clash finds a name that both have for themselves, so that neither service could make it. It tries the shortest name of each
// namespace, which finds those that are the same or one within the other.
func (n Namespaces) clash(other Namespaces) (name string, clashes bool) {
	for _, pair := range [...][2]Namespaces{{n, other}, {other, n}} {
		for _, one := range pair[0] {
			if !one.Exclusive {
				continue
			}
			if name := one.shortest(); one.regex.MatchString(name) && pair[1].Exclusive(name) {
				return name, true
			}
		}
	}
	return "", false
}

// shortest is a name, or the beginning of one, that is in it; but where its regular expression has conditions, mostly.
func (n Namespace) shortest() string {
	parsed, err := syntax.Parse(n.regex.String(), syntax.Perl)
	if err != nil {
		return ""
	}
	return shortest(parsed.Simplify())
}

func shortest(r *syntax.Regexp) (text string) {
	switch r.Op {
	case syntax.OpLiteral:
		return string(r.Rune)
	case syntax.OpCharClass:
		if len(r.Rune) > 0 {
			return string(r.Rune[:1])
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "a"
	case syntax.OpCapture, syntax.OpPlus, syntax.OpAlternate:
		return shortest(r.Sub[0])
	case syntax.OpConcat:
		for _, part := range r.Sub {
			text += shortest(part)
		}
	}
	return text
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
	if err == nil && steps(text) > maxRegexSteps {
		r.wrong(value, field, "%q would take too long to look at for each user; has it a count in braces such as {255}? a * does as well", text)
		return nil
	}
	if err != nil {
		r.wrong(value, field, "%q can't be used: %v; lookaheads and backreferences are not possible, and [ ( * + ? need a backslash before them where they mean themselves",
			text, err)
	}
	return compiled
}

// steps is how many steps the program of a good regular expression has: what it costs for each character of a name.
func steps(text string) int {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}
