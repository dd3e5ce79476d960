package authrules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"golang.org/x/crypto/ed25519"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/federation/signedjson"
)

// The people of the test room.
const (
	creator  = "@creator:one.test" // joined; made the room
	admin    = "@admin:one.test"   // joined, 100
	admin2   = "@admin2:two.test"  // joined, 100
	mod      = "@mod:two.test"     // joined, 50
	mod2     = "@mod2:two.test"    // joined, 50
	user     = "@user:two.test"    // joined, 0
	user2    = "@user2:one.test"   // joined, 0
	invited  = "@invited:three.test"
	banned   = "@banned:three.test"
	left     = "@left:three.test"
	knocking = "@knocking:three.test" // room versions with knocking
	stranger = "@stranger:three.test" // never seen
)

const basePowerLevels = `{"users":{"@admin:one.test":100,"@admin2:two.test":100,"@mod:two.test":50,"@mod2:two.test":50},` +
	`"invite":50,"kick":50,"ban":50,"redact":50,"state_default":50,"events_default":0,"users_default":0,` +
	`"events":{"m.room.name":50,"m.room.tombstone":100},"notifications":{"room":50}}`

// world is a room in which a rule is tried: state to change, and events to check against it.
type world struct {
	t      testing.TB
	rules  *roomversion.Rules
	key    signedjson.Key
	room   id.RoomID
	create *event.Event
	state  map[roomstate.Key]*event.Event
	n      int
}

func (w *world) StateEvent(typ, stateKey string) (*event.Event, error) {
	return w.state[roomstate.Key{Type: typ, StateKey: stateKey}], nil
}

func testKey(seed byte) signedjson.Key {
	return signedjson.Key{ID: "ed25519:1", Private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

// newWorld is a room by invite with everybody in it.
func newWorld(t testing.TB, rules *roomversion.Rules) *world {
	w := &world{t: t, rules: rules, key: testKey(1), state: map[roomstate.Key]*event.Event{}}
	if !rules.RoomIDIsCreateEvent {
		w.room = "!room:one.test"
	}
	w.create = w.event(creator, typeCreate, key(""), w.createContent(), nil)
	if rules.RoomIDIsCreateEvent {
		w.room = w.create.RoomID()
	}
	w.set(w.create)
	for _, u := range []string{creator, admin, admin2, mod, mod2, user, user2} {
		w.member(u, "join")
	}
	w.member(invited, "invite")
	w.member(banned, "ban")
	w.member(left, "leave")
	if rules.Knock {
		w.member(knocking, "knock")
	}
	w.joinRule("invite")
	w.power(basePowerLevels)
	return w
}

func (w *world) createContent() string {
	if w.rules.ImplicitCreator {
		return fmt.Sprintf(`{"room_version":%q}`, w.rules.Version)
	}
	return fmt.Sprintf(`{"creator":%q,"room_version":%q}`, creator, w.rules.Version)
}

func key(s string) *string { return &s }

// event makes an event on top of the room; edit may change the draft.
func (w *world) event(sender, typ string, stateKey *string, content string, edit func(*event.Draft)) *event.Event {
	w.t.Helper()
	w.n++
	d := event.Draft{RoomID: w.room, Type: typ, StateKey: stateKey, Sender: id.UserID(sender), Content: json.RawMessage(content),
		Depth: int64(w.n), OriginServerTS: int64(w.n)}
	if typ == typeCreate {
		if w.rules.RoomIDIsCreateEvent {
			d.RoomID = ""
		}
	} else {
		d.PrevEvents = []id.EventID{w.eventID("prev-one"), w.eventID("prev-two")}
		d.AuthEvents = []id.EventID{w.create.ID()}
		if !w.rules.CreateInAuthEvents {
			d.AuthEvents = nil
		}
	}
	if edit != nil {
		edit(&d)
	}
	e, err := d.Sign(w.rules, d.Sender.Server(), w.key)
	if err != nil {
		w.t.Fatalf("room version %s: %s by %s: %v", w.rules.Version, typ, sender, err)
	}
	return e
}

// eventID makes a valid event ID out of a word.
func (w *world) eventID(word string) id.EventID {
	if w.rules.EventIDs == roomversion.EventIDGiven {
		return id.EventID("$" + word + ":one.test")
	}
	return id.EventID("$" + (word + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")[:43])
}

// set puts a state event into the state.
func (w *world) set(e *event.Event) {
	k, _ := e.StateKey()
	w.state[roomstate.Key{Type: e.Type(), StateKey: k}] = e
}

// unset removes one.
func (w *world) unset(typ, stateKey string) {
	delete(w.state, roomstate.Key{Type: typ, StateKey: stateKey})
}

// member puts a membership into the state.
func (w *world) member(u, membership string) {
	w.set(w.event(u, typeMember, key(u), fmt.Sprintf(`{"membership":%q}`, membership), nil))
}

// joinRule puts a join rule into the state.
func (w *world) joinRule(rule string) {
	w.set(w.event(creator, typeJoinRules, key(""), fmt.Sprintf(`{"join_rule":%q}`, rule), nil))
}

// power puts power levels into the state.
func (w *world) power(content string) {
	w.set(w.event(creator, typePowerLevels, key(""), content, nil))
}

// recreate puts another create event in place; only for room versions in which the room ID stays the same then.
func (w *world) recreate(content string) {
	e := w.event(creator, typeCreate, key(""), content, nil)
	w.create, w.room = e, e.RoomID()
	w.set(e)
}

// send checks a message-like or state event.
func (w *world) send(sender, typ string, stateKey *string, content string) error {
	w.t.Helper()
	return Check(w.event(sender, typ, stateKey, content, nil), w)
}

// become checks a membership change of target by sender.
func (w *world) become(sender, target, membership string) error {
	w.t.Helper()
	return w.send(sender, typeMember, &target, fmt.Sprintf(`{"membership":%q}`, membership))
}

// authorised is a join that carries an authorising user, signed by that user's server.
func (w *world) authorised(sender, authoriser string, signers ...id.ServerName) error {
	w.t.Helper()
	e := w.event(sender, typeMember, &sender, fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":%q}`, authoriser), nil)
	for _, s := range signers {
		var err error
		if e, err = e.CoSign(s, w.key); err != nil {
			w.t.Fatal(err)
		}
	}
	return Check(e, w)
}

// levels checks a power levels event by sender.
func (w *world) levels(sender, content string) error {
	w.t.Helper()
	return w.send(sender, typePowerLevels, key(""), content)
}

// edited is the base content of power levels with the top-level properties in change replaced (or, if null, removed).
func edited(change string) string {
	var content, changes map[string]json.RawMessage
	if err := json.Unmarshal([]byte(basePowerLevels), &content); err != nil {
		panic(err)
	}
	if err := json.Unmarshal([]byte(change), &changes); err != nil {
		panic(err)
	}
	for k, v := range changes {
		if string(v) == "null" {
			delete(content, k)
		} else {
			content[k] = v
		}
	}
	b, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return string(b)
}
