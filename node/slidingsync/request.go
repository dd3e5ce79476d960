package slidingsync

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/clientsync"
	"hanse/node/store"
)

// Request is what a client asks for. Immutable.
type Request struct {
	User   id.UserID
	Device string
	// Pos is of the answer that this request follows on; "": the connection begins.
	Pos string
	// Timeout is how long to wait while there is nothing new; a connection that begins is answered at once.
	Timeout time.Duration
	// MessagesAside says that messages to the device go another way, and are not told.
	MessagesAside bool

	connection    string
	lists         map[string]*windows
	subscriptions map[id.RoomID]*config
	extensions    extensions
}

// config is what is wanted of a room.
type config struct {
	timeline int // at most so many events
	required union
	heroes   bool
}

// and is a config that wants what either does.
func (c *config) and(other *config) *config {
	if c == nil || c == other {
		return other
	}
	return &config{max(c.timeline, other.timeline), c.required.withAll(other.required), c.heroes || other.heroes}
}

// windows is a list: what of the rooms that a filter lets through, and what of each.
type windows struct {
	config
	ranges  [][2]int // both ends are within
	all     bool     // no window: all rooms
	filters *filters
}

// extensions say what is wanted beside the rooms; nil: nothing of that kind.
type extensions struct {
	toDevice                      *toDeviceRequest
	encryption                    bool
	accountData, receipts, typing *scope
}

type toDeviceRequest struct {
	since store.Position
	limit int
}

// scope is of which of the rooms an extension tells: those of lists, and others by name; nil is all.
type scope struct{ lists, rooms []string }

// The form of the body, as the proposals and deployed clients have it.
type (
	requestForm struct {
		ConnectionID  string                `json:"conn_id"`
		Lists         map[string]listForm   `json:"lists"`
		Subscriptions map[string]configForm `json:"room_subscriptions"`
		Extensions    struct {
			ToDevice struct {
				Enabled bool    `json:"enabled"`
				Limit   *int    `json:"limit"`
				Since   *string `json:"since"`
			} `json:"to_device"`
			Encryption struct {
				Enabled bool `json:"enabled"`
			} `json:"e2ee"`
			AccountData scopeForm `json:"account_data"`
			Receipts    scopeForm `json:"receipts"`
			Typing      scopeForm `json:"typing"`
		} `json:"extensions"`
	}
	configForm struct {
		TimelineLimit int        `json:"timeline_limit"`
		RequiredState [][]string `json:"required_state"`
		IncludeHeroes *bool      `json:"include_heroes"`
	}
	listForm struct {
		configForm
		Ranges  [][]int     `json:"ranges"`
		Range   []int       `json:"range"` // as MSC4186 has it now
		All     bool        `json:"slow_get_all_rooms"`
		Filters *filterForm `json:"filters"`
	}
	scopeForm struct {
		Enabled bool     `json:"enabled"`
		Lists   []string `json:"lists"`
		Rooms   []string `json:"rooms"`
	}
)

// Invalid says what is wrong with a request, for people.
type Invalid struct{ message string }

func (e *Invalid) Error() string { return e.message }

func invalid(format string, args ...any) error { return &Invalid{fmt.Sprintf(format, args...)} }

// Parse reads the body of a user's request. An error is an *Invalid.
func Parse(body []byte, user id.UserID) (*Request, error) {
	var form requestForm
	if err := exactjson.Unmarshal(body, &form); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return nil, invalid("%s has a value of a wrong kind, %s", wrong.Field, wrong.Value)
		}
		return nil, invalid("the body is not a JSON object of a request's form")
	}
	p := &parser{user: user, known: map[string]*Required{}}
	r := &Request{User: user, connection: form.ConnectionID, lists: map[string]*windows{}, subscriptions: map[id.RoomID]*config{}}
	switch {
	case len(form.ConnectionID) > maxConnectionID:
		return nil, invalid("conn_id has more than %d bytes", maxConnectionID)
	case len(form.Lists) > maxLists:
		return nil, invalid("there are more than %d lists", maxLists)
	case len(form.Subscriptions) > maxSubscriptions:
		return nil, invalid("there are more than %d room_subscriptions", maxSubscriptions)
	}
	for name, f := range form.Lists {
		l, err := p.list(f)
		if err != nil {
			return nil, fmt.Errorf("lists: %q: %w", clipped(name), err)
		}
		if len(name) > maxListName {
			return nil, invalid("the name of a list has more than %d bytes", maxListName)
		}
		r.lists[name] = l
	}
	for name, f := range form.Subscriptions {
		room, err := id.ParseRoomID(name)
		if err != nil {
			return nil, invalid("room_subscriptions: %q is not a room ID", clipped(name))
		}
		c, err := p.config(f)
		if err != nil {
			return nil, fmt.Errorf("room_subscriptions: %s: %w", room, err)
		}
		r.subscriptions[room] = &c
	}
	return r, r.extend(form)
}

// clipped is a text that a client chose, as an error may hold it.
func clipped(text string) string {
	if text = string(bytes.ToValidUTF8([]byte(text), []byte("?"))); len(text) > 60 {
		cut := 60
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}

// parser reads the parts of one request.
type parser struct {
	user  id.UserID
	known map[string]*Required // the same for all that say the same
	total int                  // elements of required_state so far
	bytes int                  // of the names of known
}

func (p *parser) config(f configForm) (config, error) {
	c := config{timeline: f.TimelineLimit, heroes: f.IncludeHeroes == nil || *f.IncludeHeroes}
	if f.TimelineLimit < 0 || f.TimelineLimit > maxTimeline {
		return c, invalid("timeline_limit is not between 0 and %d", maxTimeline)
	}
	if p.total += len(f.RequiredState); len(f.RequiredState) > maxRequired || p.total > maxAllRequired {
		return c, invalid("required_state has more than %d elements, or that of all lists and rooms more than %d", maxRequired, maxAllRequired)
	}
	elements := make([]element, len(f.RequiredState))
	for i, pair := range f.RequiredState {
		if len(pair) != 2 {
			return c, invalid("required_state has an element that is not a pair of type and state key")
		}
		if len(pair[0]) > maxName || len(pair[1]) > maxName {
			return c, invalid("required_state has a type or a state key of more than %d bytes", maxName)
		}
		elements[i] = element{pair[0], pair[1]}
	}
	required := newRequired(elements, p.user)
	if same := p.known[required.name]; same != nil {
		required = same
	} else if p.bytes += len(required.name); p.bytes > maxRequiredBytes {
		return c, invalid("required_state of all lists and rooms has more than %d bytes", maxRequiredBytes)
	}
	p.known[required.name] = required
	c.required = union{required}
	return c, nil
}

func (p *parser) list(f listForm) (*windows, error) {
	c, err := p.config(f.configForm)
	if err != nil {
		return nil, err
	}
	ranges := f.Ranges
	if f.Range != nil {
		ranges = append(slices.Clip(ranges), f.Range)
	}
	if len(ranges) > maxRanges {
		return nil, invalid("there are more than %d ranges", maxRanges)
	}
	l := &windows{config: c, all: f.All || ranges == nil && f.Ranges == nil}
	for _, r := range ranges {
		if len(r) != 2 || r[0] < 0 || r[1] < r[0] {
			return nil, invalid("a range is not a pair of indexes from 0, the smaller first")
		}
		l.ranges = append(l.ranges, [2]int{r[0], r[1]})
	}
	if f.Filters != nil {
		l.filters, err = f.Filters.parse()
	}
	return l, err
}

func (r *Request) extend(form requestForm) error {
	if f := form.Extensions.ToDevice; f.Enabled {
		r.extensions.toDevice = &toDeviceRequest{limit: clientsync.MaxToDevice}
		if f.Limit != nil {
			r.extensions.toDevice.limit = min(max(*f.Limit, 1), clientsync.MaxToDevice)
		}
		if f.Since != nil {
			since, err := strconv.ParseInt(*f.Since, 10, 64)
			if err != nil || since < 0 {
				return invalid("extensions.to_device.since is not a next_batch of this extension")
			}
			r.extensions.toDevice.since = store.Position(since)
		}
	}
	r.extensions.encryption = form.Extensions.Encryption.Enabled
	for _, e := range []struct {
		form scopeForm
		to   **scope
	}{
		{form.Extensions.AccountData, &r.extensions.accountData},
		{form.Extensions.Receipts, &r.extensions.receipts},
		{form.Extensions.Typing, &r.extensions.typing},
	} {
		if len(e.form.Lists) > maxNamed || len(e.form.Rooms) > maxNamed {
			return invalid("an extension names more than %d lists or rooms", maxNamed)
		}
		if e.form.Enabled {
			*e.to = newScope(e.form)
		}
	}
	return nil
}

func newScope(f scopeForm) *scope {
	every := func(names []string) []string {
		if slices.Contains(names, wildcard) {
			return nil
		}
		return names
	}
	return &scope{lists: every(f.Lists), rooms: every(f.Rooms)}
}
