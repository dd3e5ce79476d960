package appservice

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"hanse/federation/id"
)

// Registration is what a registration file says. It doesn't change.
//
// spec:application-service-api#registration
type Registration struct {
	File string // where it was read
	ID   string
	// URL is where the service answers, without a slash at its end; "": it gets nothing.
	URL     string
	ASToken string
	HSToken string
	Sender  id.UserID // of sender_localpart
	Users   Namespaces
	Aliases Namespaces
	Rooms   Namespaces
	// RateLimited says that its users are held to the limits of requests; the sender never is.
	RateLimited bool
	Protocols   []string
	// Ephemeral says that it gets ephemeral data: receive_ephemeral, or what that was called before it was in the specification,
	// which UnstableEphemeral says.
	Ephemeral, UnstableEphemeral bool
	// Encryption says that the devices which it makes get in transactions what they need for encryption: org.matrix.msc3202.
	Encryption bool
	// Unknown are the file's keys that are neither in the specification nor somebody's own (which have a dot).
	Unknown []string
}

// Load reads registration files. What is wrong is told all at once, with file, line and field, and so are services that have the
// same ID or token, or exclusively the same users or aliases.
func Load(files []string, self id.ServerName) ([]Registration, []error) {
	var all []Registration
	var problems []error
	for _, file := range files {
		r, errs := read(file, self)
		problems = append(problems, errs...)
		if len(errs) > 0 {
			continue
		}
		for _, other := range all {
			clash := func(field, remedy string) {
				problems = append(problems, fmt.Errorf("%s: %s is the same as in %s; %s", file, field, other.File, remedy))
			}
			switch {
			case other.ID == r.ID:
				clash("id", "each service needs an id of its own")
			case other.ASToken == r.ASToken:
				clash("as_token", "give each service a random token of its own, there and in the service's own configuration")
			case other.Sender == r.Sender:
				clash("sender_localpart", "give each service a user of its own")
			default:
				problems = append(problems, r.overlaps(other)...)
			}
		}
		all = append(all, r)
	}
	return all, problems
}

// overlaps tells of names that two services have exclusively: neither could make them.
func (r *Registration) overlaps(other Registration) (problems []error) {
	for kind, both := range [...][2]Namespaces{{r.Users, other.Users}, {r.Aliases, other.Aliases}} {
		if name, clashes := both[0].clash(both[1]); clashes {
			problems = append(problems, fmt.Errorf("%s: namespaces.%s has names exclusively which %s has exclusively too, as those that begin with %s; "+
				"make one of the expressions narrower, or give it exclusive: false", r.File, [...]string{"users", "aliases"}[kind], other.File, name))
		}
	}
	return problems
}

// read reads one file.
func read(file string, self id.ServerName) (Registration, []error) {
	r := &reader{file: file, registration: Registration{File: file, RateLimited: true}, self: self, seen: map[string]bool{}}
	data, err := readFile(file)
	if err != nil {
		return r.registration, []error{err}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return r.registration, []error{fmt.Errorf("%s: this is not YAML: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if document.IsZero() || document.Content[0].Kind != yaml.MappingNode {
		return r.registration, []error{fmt.Errorf("%s: this is no registration, which has keys such as id and url", file)}
	}
	r.fields(document.Content[0])
	return r.registration, r.problems
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w; give the path of the registration that the service has made", err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxFileBytes:
		return nil, fmt.Errorf("%s: a registration has at most %d bytes", file, maxFileBytes)
	}
	return data, nil
}

// reader reads the fields of one file.
type reader struct {
	file         string
	self         id.ServerName
	registration Registration
	seen         map[string]bool
	problems     []error
}

func (r *reader) wrong(at *yaml.Node, field, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d: %s: %s", r.file, at.Line, field, fmt.Sprintf(format, args...)))
}

// fields reads all fields, and says which are missing.
func (r *reader) fields(top *yaml.Node) {
	reg := &r.registration
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i].Value, top.Content[i+1]
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		r.seen[key] = true
		switch key {
		case "id":
			reg.ID = r.text(key, value, maxIDBytes)
		case "url":
			reg.URL = r.url(value)
		case "as_token":
			reg.ASToken = r.token(key, value)
		case "hs_token":
			reg.HSToken = r.token(key, value)
		case "sender_localpart":
			reg.Sender = r.sender(value)
		case "namespaces":
			r.namespaces(value)
		case "rate_limited":
			reg.RateLimited = r.flag(key, value)
		case "protocols":
			reg.Protocols = r.protocols(value)
		case "receive_ephemeral":
			reg.Ephemeral = r.flag(key, value)
		case "de.sorunome.msc2409.push_ephemeral", "push_ephemeral":
			reg.UnstableEphemeral = r.flag(key, value)
		case "org.matrix.msc3202":
			reg.Encryption = r.flag(key, value)
		default:
			if !strings.Contains(key, ".") {
				reg.Unknown = append(reg.Unknown, key)
			}
		}
	}
	for _, key := range [...]string{"id", "url", "as_token", "hs_token", "sender_localpart", "namespaces"} {
		if !r.seen[key] {
			hint := ""
			if key == "url" {
				hint = "; give where the service answers, or null if it wants nothing sent"
			}
			r.problems = append(r.problems, fmt.Errorf("%s: %s is missing%s", r.file, key, hint))
		}
	}
}

// text reads a text that is not empty.
func (r *reader) text(field string, value *yaml.Node, most int) string {
	switch {
	case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
		r.wrong(value, field, "a text is expected")
	case value.Value == "":
		r.wrong(value, field, "is empty")
	case len(value.Value) > most:
		r.wrong(value, field, "has more than %d bytes", most)
	default:
		return value.Value
	}
	return ""
}

// token reads a secret; it is not repeated in errors.
func (r *reader) token(field string, value *yaml.Node) string {
	token := r.text(field, value, maxTokenBytes)
	if strings.ContainsFunc(token, func(c rune) bool { return c > unicode.MaxASCII || c <= ' ' || c == 0x7F }) {
		r.wrong(value, field, "has a blank or a character beyond ASCII, which can't stand in an Authorization header; give another random word in both configurations")
		return ""
	}
	return token
}

func (r *reader) flag(field string, value *yaml.Node) bool {
	var b bool
	if value.Kind != yaml.ScalarNode || value.Tag == "!!null" || value.Decode(&b) != nil {
		r.wrong(value, field, "true or false is expected")
	}
	return b
}

// url reads the address of the service. Some bridges write an empty one for none.
func (r *reader) url(value *yaml.Node) string {
	if value.Kind == yaml.ScalarNode && (value.Tag == "!!null" || value.Value == "") {
		return ""
	}
	text := r.text("url", value, maxRegexBytes)
	parsed, err := url.Parse(text)
	switch {
	case text == "":
		return ""
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		r.wrong(value, "url", "%q is not an address such as http://localhost:29318; give null if nothing is to be sent", text)
	case parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil:
		r.wrong(value, "url", "give the address without user, ? and #")
	}
	return strings.TrimRight(text, "/")
}

func (r *reader) sender(value *yaml.Node) id.UserID {
	localpart := r.text("sender_localpart", value, maxIDBytes)
	if localpart == "" {
		return ""
	}
	user, err := id.ParseUserID("@" + localpart + ":" + string(r.self))
	if err != nil || !user.Compliant() || strings.HasPrefix(localpart, "@") {
		r.wrong(value, "sender_localpart", "%q is not the part of a user ID between @ and the colon, such as _irc_bot", localpart)
	}
	return user
}

func (r *reader) protocols(value *yaml.Node) []string {
	if value.Tag == "!!null" {
		return nil
	}
	if value.Kind != yaml.SequenceNode || len(value.Content) > maxProtocols {
		r.wrong(value, "protocols", "a list of at most %d names is expected, as in [irc]", maxProtocols)
		return nil
	}
	var protocols []string
	for _, one := range value.Content {
		protocols = append(protocols, r.text("protocols", one, maxIDBytes))
	}
	return protocols
}

func (r *reader) namespaces(value *yaml.Node) {
	if value.Tag == "!!null" {
		return
	}
	if value.Kind != yaml.MappingNode {
		r.wrong(value, "namespaces", "keys of its own are expected: users, aliases and rooms")
		return
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		key, list := value.Content[i].Value, value.Content[i+1]
		switch key {
		case "users":
			r.registration.Users = r.namespaceList("namespaces.users", list)
		case "aliases":
			r.registration.Aliases = r.namespaceList("namespaces.aliases", list)
		case "rooms":
			r.registration.Rooms = r.namespaceList("namespaces.rooms", list)
		default:
			r.wrong(value.Content[i], "namespaces", "has the key %q; only users, aliases and rooms have a meaning", key)
		}
	}
}

func (r *reader) namespaceList(field string, list *yaml.Node) Namespaces {
	if list.Tag == "!!null" {
		return nil
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) > maxNamespaces {
		r.wrong(list, field, "a list of at most %d entries with exclusive: and regex: is expected", maxNamespaces)
		return nil
	}
	var all Namespaces
	for _, entry := range list.Content {
		var n Namespace
		var regex, exclusive bool
		if entry.Kind != yaml.MappingNode {
			r.wrong(entry, field, "each entry has the keys exclusive: and regex:")
			continue
		}
		for i := 0; i+1 < len(entry.Content); i += 2 {
			switch key, value := entry.Content[i].Value, entry.Content[i+1]; key {
			case "exclusive":
				exclusive, n.Exclusive = true, r.flag(field+".exclusive", value)
			case "regex":
				regex = true
				n.regex = r.regex(field+".regex", value)
			}
		}
		if !regex || !exclusive {
			r.wrong(entry, field, "an entry needs both regex: and exclusive:")
			continue
		}
		all = append(all, n)
	}
	return all
}
