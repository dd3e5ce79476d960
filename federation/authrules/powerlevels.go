package authrules

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

// The single levels in a power levels event.
const (
	usersDefault = iota
	eventsDefault
	stateDefault
	ban
	redact
	kick
	invite
	namedLevels // how many there are
)

// names are their names in the event, in the order in which the rules list them.
var names = [namedLevels]string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}

// defaults are the levels that hold where an event is silent.
//
// spec:client-server-api#mroompower_levels
var defaults = [namedLevels]int64{usersDefault: 0, eventsDefault: 0, stateDefault: 50, ban: 50, redact: 50, kick: 50, invite: 0}

// PowerLevels is the content of an m.room.power_levels event. The zero value is an empty content. Immutable.
type PowerLevels struct {
	named         [namedLevels]level
	users         levelsBy[id.UserID]
	events        levelsBy[string]
	notifications levelsBy[string]
}

// levelsBy are levels by user or by type, in the order of their keys, as canonical JSON has them: a list of five hundred users takes one
// place in memory then.
type levelsBy[K ~string] []levelOf[K]

type levelOf[K ~string] struct {
	key   K
	value int64
}

// of is the level of a key; false if there is none.
func (l levelsBy[K]) of(key K) (int64, bool) {
	i, ok := slices.BinarySearchFunc(l, key, func(x levelOf[K], key K) int { return cmp.Compare(x.key, key) })
	if !ok {
		return 0, false
	}
	return l[i].value, true
}

// level is a level that may be absent.
type level struct {
	value int64
	set   bool
}

// levelErrors are the first errors of each kind found in a power levels event.
type levelErrors struct {
	named, events, users error
}

// parsePowerLevels reads the content (a canonical JSON object) of an m.room.power_levels event by the rules of the
// room version: integers only, or also integers in strings and (truncated) floats. The errors name properties that are
// not as they should be; the result then holds what could be read.
func parsePowerLevels(rules *roomversion.Rules, content []byte) (PowerLevels, levelErrors) {
	var p PowerLevels
	var errs levelErrors
	first := func(to *error, err error) {
		if *to == nil {
			*to = err
		}
	}
	for key, value := range canonicaljson.Members(content) {
		switch name := string(key); name {
		case "users":
			var err error
			p.users, err = parseLevels(rules, value, false, userKey)
			first(&errs.users, propertyError(name, err))
		case "events":
			var err error
			p.events, err = parseLevels(rules, value, !rules.IntegerPowerLevels, anyKey)
			first(&errs.events, propertyError(name, err))
		case "notifications":
			var err error
			p.notifications, err = parseLevels(rules, value, !rules.IntegerPowerLevels, anyKey)
			if rules.NotificationLevels {
				first(&errs.events, propertyError(name, err))
			}
		default:
			if i := namedIndex(name); i >= 0 && (rules.IntegerPowerLevels || string(value) != "null") {
				v, err := ParseLevel(rules, value)
				p.named[i] = level{value: v, set: err == nil}
				first(&errs.named, propertyError(name, err))
			}
		}
	}
	return p, errs
}

func propertyError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func namedIndex(name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

func userKey(key string) (id.UserID, error) { return id.ParseUserID(key) }

func anyKey(key string) (string, error) { return key, nil }

// parseLevels reads an object of levels. Unreadable entries are left out and the first of them is the error; null
// counts as absent where skipNull says so.
func parseLevels[K ~string](rules *roomversion.Rules, object []byte, skipNull bool, parseKey func(string) (K, error)) (levelsBy[K], error) {
	if skipNull && string(object) == "null" {
		return nil, nil
	}
	if !canonicaljson.IsObject(object) {
		return nil, errors.New("is not an object")
	}
	var levels levelsBy[K]
	var first error
	for rawKey, value := range canonicaljson.Members(object) {
		if skipNull && string(value) == "null" {
			continue
		}
		key, err := parseKey(canonicaljson.Unescape(rawKey))
		if err != nil {
			first = firstError(first, fmt.Errorf("the key %q: %w", rawKey, err))
			continue
		}
		v, err := ParseLevel(rules, value)
		if err != nil {
			first = firstError(first, fmt.Errorf("the level of %q: %w", rawKey, err))
			continue
		}
		levels = append(levels, levelOf[K]{key, v})
	}
	return levels, first
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

var errNotInteger = errors.New("is not an integer")

// ParseLevel reads one level, canonical JSON, as a room version has them: an integer, in versions before 10 also one in a string, or a
// float, of which what is behind the point counts for nothing. Beyond the range of int64 (possible in versions without strict canonical JSON) it
// becomes the nearest int64.
//
// spec:rooms/v10#values-in-mroompower_levels-events-must-be-integers
// spec:rooms/fragments/v1-stringy-power-levels#mroompower_levels-events-accept-values-as-strings
// spec:rooms/fragments/v1-floaty-power-levels#mroompower_levels-events-accept-values-as-floats
func ParseLevel(rules *roomversion.Rules, value []byte) (int64, error) {
	if len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9') {
		if v, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return v, nil
		}
		if rules.IntegerPowerLevels {
			return 0, errNotInteger
		}
		f, err := strconv.ParseFloat(string(value), 64)
		if err != nil {
			return 0, errors.New("is out of range")
		}
		return saturate(math.Trunc(f)), nil
	}
	if rules.IntegerPowerLevels {
		return 0, errNotInteger
	}
	s, ok := canonicaljson.String(value)
	if !ok {
		return 0, errNotInteger
	}
	return parseLevelString(strings.TrimSpace(s))
}

// parseLevelString reads an optional sign and decimal digits.
func parseLevelString(s string) (int64, error) {
	digits := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	if digits == "" {
		return 0, errNotInteger
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, errNotInteger
		}
	}
	v, err := strconv.ParseInt(s, 10, 64) // out of range gives the nearest int64, as we want it
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errNotInteger
	}
	return v, nil
}

// saturate is the int64 nearest to f.
func saturate(f float64) int64 {
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}
