package literal

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// infinite is the power level of the creators of a room of version 12.
const infinite = math.MaxInt64

var levelText = regexp.MustCompile(`^\s*[+-]?[0-9]+\s*$`)

// level reads a power level: an integer, and in older versions what was taken for one.
func level(version int, value any) (int64, bool) {
	switch value := value.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(value.String(), 10, 64); err == nil {
			return n, true
		}
		if version <= 5 { // a fraction is cut off at the point
			if f, _, err := big.ParseFloat(value.String(), 10, 128, big.ToZero); err == nil {
				n, _ := f.Int64()
				return n, true
			}
		}
	case string:
		if version <= 9 && levelText.MatchString(value) {
			n, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(value), "+"), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// creators are who made the room.
func creators(create *Event) []string {
	if create == nil {
		return nil
	}
	switch {
	case create.Version >= 12:
		list := []string{create.Sender()}
		more, _ := create.Content()["additional_creators"].([]any)
		for _, one := range more {
			if user, ok := one.(string); ok {
				list = append(list, user)
			}
		}
		return list
	case create.Version == 11:
		return []string{create.Sender()}
	}
	creator, _ := create.Content()["creator"].(string)
	return []string{creator}
}

// powerOf is a user's power level in a state.
//
// spec:client-server-api#mroompower_levels
func powerOf(version int, s State, user string) int64 {
	made := creators(s[Key{"m.room.create", ""}])
	if version >= 12 && slices.Contains(made, user) {
		return infinite
	}
	levels := s[Key{"m.room.power_levels", ""}]
	if levels == nil {
		if slices.Contains(made, user) {
			return 100
		}
		return 0
	}
	users, _ := levels.Content()["users"].(map[string]any)
	if n, ok := level(version, users[user]); ok {
		return n
	}
	n, _ := level(version, levels.Content()["users_default"])
	return n
}

// named is one of the levels that have a name: ban, kick, redact, invite.
func named(version int, s State, name string) int64 {
	if levels := s[Key{"m.room.power_levels", ""}]; levels != nil {
		if n, ok := level(version, levels.Content()[name]); ok {
			return n
		}
	}
	if name == "invite" {
		return 0
	}
	return 50
}

// required is the level that an event of a type needs.
func required(version int, s State, eventType string, isState bool) int64 {
	levels := s[Key{"m.room.power_levels", ""}]
	if levels == nil {
		return 0
	}
	events, _ := levels.Content()["events"].(map[string]any)
	if n, ok := level(version, events[eventType]); ok {
		return n
	}
	if !isState {
		n, _ := level(version, levels.Content()["events_default"])
		return n
	}
	if n, ok := level(version, levels.Content()["state_default"]); ok {
		return n
	}
	return 50
}
