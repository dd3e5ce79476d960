package authrules

import (
	"math"
	"slices"

	"hanse/federation/event"
	"hanse/federation/id"
)

// Levels answers what power levels hold in a room: the content of its power levels event, the defaults, and the
// creators. The zero value is a room without either. Immutable.
type Levels struct {
	content  PowerLevels
	power    bool // there is a power levels event
	creators []id.UserID
	infinite bool // the creators stand above all levels
}

// LevelsOf reads the power levels that hold in the state. A Memo remembers them.
func LevelsOf(state State) (Levels, error) {
	create, err := state.StateEvent(typeCreate, "")
	if err != nil {
		return Levels{}, err
	}
	power, err := state.StateEvent(typePowerLevels, "")
	if err != nil {
		return Levels{}, err
	}
	memo, ok := state.(*Memo)
	if !ok {
		return levelsFrom(create, power), nil
	}
	return memo.levelsOf(create, power), nil
}

// levelsFrom makes levels of a room's create and power levels events, either may be nil. Properties that can't be
// read count as absent: an event with such doesn't pass the rules, and if others let it in, this is what is left.
func levelsFrom(create, power *event.Event) Levels {
	var l Levels
	if create != nil {
		l.creators = Creators(create)
		l.infinite = create.Rules().PrivilegedCreators
	}
	if power != nil {
		l.power = true
		l.content, _ = parsePowerLevels(power.Rules(), power.Content())
	}
	return l
}

// User is the user's power level: infinite (math.MaxInt64) for creators from room version 12 on.
//
// spec:client-server-api#mroompower_levels
func (l Levels) User(user id.UserID) int64 {
	if l.infinite && slices.Contains(l.creators, user) {
		return math.MaxInt64
	}
	if !l.power {
		if !l.infinite && slices.Contains(l.creators, user) {
			return 100
		}
		return defaults[usersDefault]
	}
	if v, ok := l.content.users.of(user); ok {
		return v
	}
	return l.named(usersDefault)
}

// Event is the level needed to send an event of that type, as a state event or not. It doesn't speak for
// memberships and third-party invites, which have rules of their own.
func (l Levels) Event(typ string, isState bool) int64 {
	if v, ok := l.content.events.of(typ); ok {
		return v
	}
	if isState {
		return l.named(stateDefault)
	}
	return l.named(eventsDefault)
}

// Ban is the level needed to ban a user.
func (l Levels) Ban() int64 { return l.named(ban) }

// Kick is the level needed to kick a user.
func (l Levels) Kick() int64 { return l.named(kick) }

// Invite is the level needed to invite a user.
func (l Levels) Invite() int64 { return l.named(invite) }

// Redact is the level needed to redact an event of another server's user.
func (l Levels) Redact() int64 { return l.named(redact) }

// Notifications is the level needed to notify everybody by that key, e.g. "room".
func (l Levels) Notifications(key string) int64 {
	if v, ok := l.content.notifications.of(key); ok {
		return v
	}
	return 50
}

func (l Levels) named(i int) int64 {
	if v := l.content.named[i]; v.set {
		return v.value
	}
	return defaults[i]
}
