package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hanse/federation/canonicaljson"
	"hanse/federation/event"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/node/store"
	"hanse/node/telemetry"
)

// Explanation is what became of an event here.
type Explanation struct {
	Event  string `json:"event_id"`
	Server string `json:"server"` // who tells
	// Status is accepted, soft-failed, rejected, waiting or unknown; of what is known without its place in the room "outlier".
	Status string   `json:"status"`
	Short  []string `json:"short"` // the answer in sentences

	Room        string     `json:"room_id,omitempty"`
	RoomVersion string     `json:"room_version,omitempty"`
	Type        string     `json:"type,omitempty"`
	StateKey    *string    `json:"state_key,omitempty"`
	Sender      string     `json:"sender,omitempty"`
	Made        *time.Time `json:"made,omitempty"` // as its sender's server says
	Came        *Came      `json:"came,omitempty"`

	Checks     []Check             `json:"checks,omitempty"`
	Hidden     []string            `json:"hidden,omitempty"` // why clients don't see it, or see less of it
	InForce    *InForce            `json:"in_force,omitempty"`
	Resolution *Resolution         `json:"resolution,omitempty"`
	Sent       []Sent              `json:"sent,omitempty"`
	Waits      *Waits              `json:"waits,omitempty"`
	Refused    []telemetry.Refusal `json:"refused,omitempty"`
	Way        []telemetry.Mark    `json:"way,omitempty"`
}

// Came is how an event came here first.
type Came struct {
	How  string    `json:"how"`
	From string    `json:"from,omitempty"`
	At   time.Time `json:"at"`
}

// Waits is what an event waits for that can't be judged yet.
type Waits struct {
	Prev   []Needed `json:"prev_events,omitempty"`
	Auth   []Needed `json:"auth_events,omitempty"`
	Asking string   `json:"asking,omitempty"` // the request under way
	From   []string `json:"from,omitempty"`   // who is asked, in turn
	Asked  int      `json:"asked"`            // requests made for events of this origin so far
}

// Needed is an event that another one waits for.
type Needed struct {
	Event string `json:"event_id"`
	Known string `json:"known"` // what is known of it
}

// maxRefusals bounds how many refusals of one event are told.
const maxRefusals = 10

// Explain tells what became of an event. Where a user is given, it also tells whether that user sees it.
func (a *Admin) Explain(ctx context.Context, eventID id.EventID, user id.UserID) (*Explanation, error) {
	x := &Explanation{Event: string(eventID), Server: string(a.Self), Way: a.Traces.Of(string(eventID))}
	x.Refused = a.Journal.Find(maxRefusals, func(r telemetry.Refusal) bool { return r.Event == string(eventID) })
	row, stored, err := a.Store.Event(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if stored {
		return x, a.explainStored(ctx, x, row, user)
	}
	staged, waits, err := a.Store.Staged(ctx, eventID)
	if err != nil {
		return nil, err
	}
	if waits {
		return x, a.explainStaged(ctx, x, staged)
	}
	return x, a.explainUnknown(ctx, x, eventID)
}

// describe fills in what the event says itself.
func (x *Explanation) describe(e *event.Event, roomID id.RoomID, came store.Arrival) {
	made := time.UnixMilli(e.OriginServerTS()).UTC()
	x.Room, x.RoomVersion, x.Type, x.Sender, x.Made = string(roomID), string(e.Rules().Version), e.Type(), string(e.Sender()), &made
	if key, ok := e.StateKey(); ok {
		x.StateKey = &key
	}
	if came.How != store.UnknownWay {
		x.Came = &Came{How: came.How.String(), From: string(came.From), At: came.At.UTC()}
	}
}

func (x *Explanation) say(format string, args ...any) {
	x.Short = append(x.Short, fmt.Sprintf(format, args...))
}

// explainStored explains an event that was judged.
func (a *Admin) explainStored(ctx context.Context, x *Explanation, row store.EventRow, user id.UserID) error {
	came, err := a.Store.Arrival(ctx, row.Event.ID())
	if err != nil {
		return err
	}
	original, err := a.original(ctx, row)
	if err != nil {
		return err
	}
	x.describe(original, row.RoomID, came)
	x.Status = row.Status.String()
	if row.Outlier {
		x.Status = "outlier"
	}
	x.summarise(row)
	if x.Checks, err = a.checks(ctx, row, original); err != nil {
		return err
	}
	if x.Hidden, err = a.hidden(ctx, row, original); err != nil {
		return err
	}
	if user != "" {
		if err := a.seenBy(ctx, x, row, user); err != nil {
			return err
		}
	}
	if row.Outlier {
		return nil
	}
	if x.Resolution, err = a.resolution(ctx, original); err != nil {
		return err
	}
	if original.IsState() && row.Status == room.Accepted {
		if x.InForce, err = a.inForce(ctx, row, original); err != nil {
			return err
		}
	}
	return a.explainSending(ctx, x, row)
}

// original is the event as it was received, whether or not it is redacted.
func (a *Admin) original(ctx context.Context, row store.EventRow) (*event.Event, error) {
	found, err := a.Store.Source(ctx, row.Event.Rules()).Events([]id.EventID{row.Event.ID()})
	if err != nil {
		return nil, err
	}
	if original := found[row.Event.ID()].Event; original != nil {
		return original, nil
	}
	return row.Event, nil
}

// summarise says what the verdict means.
func (x *Explanation) summarise(row store.EventRow) {
	switch {
	case row.Status == room.Rejected:
		x.say("It was rejected: %s.", row.Reason)
		x.say("It has no effect on the room and no client sees it.")
	case row.Outlier:
		x.say("It is known as part of a room's state or of an auth chain, without its place in the room's history.")
	case row.Status == room.SoftFailed:
		x.say("It was soft-failed: %s.", row.Reason)
		x.say("No client sees it, but it counts where later events stand on it.")
	case row.Backfilled:
		x.say("It was accepted as history: clients find it by paging back, not in /sync.")
	default:
		x.say("It was accepted.")
	}
	if row.RedactedBy != "" {
		x.say("It is redacted by %s.", row.RedactedBy)
	}
}

// explainStaged explains an event that waits.
func (a *Admin) explainStaged(ctx context.Context, x *Explanation, staged store.StagedEvent) error {
	x.Status = room.Waiting.String()
	x.describe(staged.Event, staged.RoomID, staged.Arrival)
	missing, waits, err := a.Rooms.Missing(ctx, staged.RoomID, staged.Event.ID())
	if err != nil {
		x.say("It was received and is kept, but its room can't be asked: %v.", err)
		return nil
	}
	if !waits {
		x.say("It was received and is being judged just now; ask again.")
		return nil
	}
	x.Waits = &Waits{Asked: missing.Asked}
	if x.Waits.Prev, err = a.needed(ctx, missing.Prev); err != nil {
		return err
	}
	if x.Waits.Auth, err = a.needed(ctx, missing.Auth); err != nil {
		return err
	}
	x.say("It was received and can't be judged yet: %d of its prev events and %d of its auth events aren't there.", len(missing.Prev), len(missing.Auth))
	if missing.Asking != nil {
		x.Waits.Asking = missing.Asking.Kind.String()
		for _, server := range missing.Asking.From {
			x.Waits.From = append(x.Waits.From, string(server))
		}
	}
	return nil
}

// needed says what is known of events that another one waits for.
func (a *Admin) needed(ctx context.Context, ids []id.EventID) ([]Needed, error) {
	var list []Needed
	for _, e := range ids {
		n := Needed{Event: string(e), Known: "nothing"}
		row, stored, err := a.Store.Event(ctx, e)
		if err != nil {
			return nil, err
		}
		if stored {
			n.Known = row.Status.String()
			if row.Outlier {
				n.Known += ", without its place in the room"
			}
		} else if _, waits, err := a.Store.Staged(ctx, e); err != nil {
			return nil, err
		} else if waits {
			n.Known = "waits itself"
		}
		if refused := a.Journal.Find(1, func(r telemetry.Refusal) bool { return r.Event == string(e) }); len(refused) > 0 && !stored {
			n.Known = "refused: " + refused[0].Why
		}
		list = append(list, n)
	}
	return list, nil
}

// explainUnknown says what is known of an event that isn't there.
func (a *Admin) explainUnknown(ctx context.Context, x *Explanation, eventID id.EventID) error {
	x.Status = "unknown"
	const few = 5
	children, err := a.Store.Children(ctx, eventID, few)
	if err != nil {
		return err
	}
	for _, child := range children {
		x.say("%s, which is here, names it as a prev event; it is asked for when somebody reads that far back.", child)
	}
	switch {
	case len(x.Refused) > 0:
		r := x.Refused[0]
		x.say("%s sent it at %s, and it was not taken: %s.", orUnknown(r.Server), r.At.UTC().Format(time.RFC3339), r.Why)
	case len(children) == 0:
		x.say("Nothing is known of it: it has not come here, or it was refused longer ago than is remembered (since %s).",
			a.started.UTC().Format(time.RFC3339))
	}
	if server, ok := eventID.Server(); ok && server != a.Self {
		peer := a.Sender.Peer(server)
		if !peer.Reachable() {
			x.say("%s, which made it, can't be reached since %s: %s.", server, peer.Since.UTC().Format(time.RFC3339), peer.Why)
		}
	}
	return nil
}

func orUnknown(server string) string {
	if server == "" {
		return "somebody"
	}
	return server
}

// brief is the start of an event's content, for people.
func brief(e *event.Event) string {
	const most = 120
	content := e.Content()
	switch e.Type() {
	case "m.room.member":
		return "membership " + e.Membership()
	case "m.room.create":
		return ""
	case "m.room.power_levels":
		var levels struct {
			Users json.RawMessage `json:"users"`
		}
		_ = exactjson.Unmarshal(content, &levels) // an event's content is an object
		content = append([]byte("users "), levels.Users...)
	}
	if len(content) > most {
		return string(content[:most]) + "…"
	}
	return string(content)
}

// key is an event's type and state key, for people.
func key(k roomstate.Key) string {
	if k.StateKey == "" {
		return k.Type
	}
	return k.Type + " " + k.StateKey
}

// member reads a string of an event's content; "" if there is none.
func member(content []byte, name string) string {
	value, _ := canonicaljson.Get(content, name)
	text, _ := canonicaljson.String(value)
	return text
}
