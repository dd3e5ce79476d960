package push

import (
	"strings"
	"sync"
	"sync/atomic"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
)

// Subject is an event as conditions see it; one serves all users. Safe for concurrent use.
type Subject struct {
	Event  *event.Event
	fields func() map[string][]byte // canonical values of content, by their paths; lists whole
	body   func() string            // content.body in small letters

	usual atomic.Pointer[*Outcome] // what the server's rules make of it; nil: not asked yet
}

// NewSubject makes it; what it costs to look into the event is paid by who looks first.
func NewSubject(e *event.Event) *Subject {
	s := &Subject{Event: e}
	s.fields = sync.OnceValue(func() map[string][]byte {
		fields := map[string][]byte{}
		flatten(fields, "content", e.Content(), 1)
		return fields
	})
	s.body = sync.OnceValue(func() string {
		body, _ := canonicaljson.String(s.fields()[bodyPath])
		return strings.ToLower(body)
	})
	return s
}

// personal tells whether the server's rules may make something else of it for one user than for others: an invitation or a
// mention.
func (s *Subject) personal() bool {
	_, mentions := s.fields()[mentionsPath]
	return mentions || s.Event.Type() == "m.room.member"
}

// mentionsPath is the property that has the users who are mentioned.
const mentionsPath = `content.m\.mentions.user_ids`

// bodyPath is the property whose words are matched.
const bodyPath = "content.body"

func flatten(into map[string][]byte, path string, object []byte, depth int) {
	for key, value := range canonicaljson.Members(object) {
		at := path + "." + escape(canonicaljson.Unescape(key))
		switch {
		case !canonicaljson.IsObject(value):
			into[at] = value
		case depth < maxPropertyDepth:
			flatten(into, at, value, depth+1)
		}
	}
}

// escape is a property's name as it stands in a path.
//
// spec:appendices#dot-separated-property-paths
func escape(name string) string {
	if !strings.ContainsAny(name, `.\`) {
		return name
	}
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(name)
}

// cleanPath brings a path to the form in which flatten writes it: a backslash that escapes nothing stands for itself.
func cleanPath(path string) string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			name.WriteByte(path[i])
		case c == '.':
			names = append(names, escape(name.String()))
			name.Reset()
		default:
			name.WriteByte(c)
		}
	}
	return strings.Join(append(names, escape(name.String())), ".")
}

// text is a property's value, if it is a text; path is a clean one.
func (s *Subject) text(path string) (string, bool) {
	switch path {
	case "type":
		return s.Event.Type(), true
	case "sender":
		return string(s.Event.Sender()), true
	case "room_id":
		return string(s.Event.RoomID()), true
	case "event_id":
		return string(s.Event.ID()), true
	case "state_key":
		return s.Event.StateKey()
	}
	return canonicaljson.String(s.fields()[path])
}

// value is a property's value in canonical form; nil where there is none.
func (s *Subject) value(path string) []byte {
	if strings.HasPrefix(path, "content.") {
		return s.fields()[path]
	}
	if text, ok := s.text(path); ok {
		return canonicaljson.AppendString(nil, text)
	}
	return nil
}
