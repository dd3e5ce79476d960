package literal

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Key is a place in a room's state.
type Key struct{ Type, StateKey string }

// State is a room's state.
type State map[Key]*Event

func (s State) member(user string) string {
	if e := s[Key{"m.room.member", user}]; e != nil {
		return e.Membership()
	}
	return ""
}

func (s State) joinRule() string {
	if e := s[Key{"m.room.join_rules", ""}]; e != nil {
		rule, _ := e.Content()["join_rule"].(string)
		return rule
	}
	return "invite"
}

// Reject is why an event is not allowed.
type Reject struct{ Rule string }

// Error names the rule.
func (r *Reject) Error() string { return "rejected: " + r.Rule }

func reject(format string, values ...any) error { return &Reject{fmt.Sprintf(format, values...)} }

func allowIf(condition bool, otherwise string) error {
	if condition {
		return nil
	}
	return reject("%s", otherwise)
}

// Signed tells whether a server has validly signed an event.
type Signed func(e *Event, server string) bool

// Selection are the places in the state of which an event's auth events must be.
//
// spec:server-server-api#auth-events-selection
func Selection(e *Event) []Key {
	if e.Type() == "m.room.create" {
		return nil
	}
	keys := []Key{{"m.room.power_levels", ""}, {"m.room.member", e.Sender()}}
	if e.Version <= 11 {
		keys = append(keys, Key{"m.room.create", ""})
	}
	if e.Type() != "m.room.member" {
		return keys
	}
	target, _ := e.StateKey()
	keys = append(keys, Key{"m.room.member", target})
	if slices.Contains([]string{"join", "invite", "knock"}, e.Membership()) {
		keys = append(keys, Key{"m.room.join_rules", ""})
	}
	if token, ok := inviteToken(e); ok && e.Membership() == "invite" {
		keys = append(keys, Key{"m.room.third_party_invite", token})
	}
	if by, ok := e.Content()["join_authorised_via_users_server"].(string); ok && e.Membership() == "join" && e.Version >= 8 {
		keys = append(keys, Key{"m.room.member", by})
	}
	return keys
}

func inviteToken(e *Event) (string, bool) {
	invite, _ := e.Content()["third_party_invite"].(map[string]any)
	signed, _ := invite["signed"].(map[string]any)
	token, ok := signed["token"].(string)
	return token, ok
}

// CheckAuthEvents applies the rules about an event's auth events. known finds them; rejected tells which were.
//
// spec:rooms/v12#authorisation-rules
func CheckAuthEvents(e *Event, known map[string]*Event, rejected map[string]bool) error {
	if e.Type() == "m.room.create" {
		return nil
	}
	if e.Version >= 12 {
		create := known["$"+strings.TrimPrefix(e.text("room_id"), "!")]
		if create == nil || create.Type() != "m.room.create" || rejected[create.ID] {
			return reject("the event's room_id is not an event ID for an accepted m.room.create event")
		}
	}
	selection := Selection(e)
	seen := map[Key]bool{}
	for _, id := range e.Auth() {
		auth := known[id]
		if auth == nil {
			return fmt.Errorf("the auth event %s is not known", id)
		}
		stateKey, _ := auth.StateKey()
		key := Key{auth.Type(), stateKey}
		switch {
		case seen[key]:
			return reject("there are duplicate entries for a given type and state_key pair")
		case !slices.Contains(selection, key):
			return reject("there are entries whose type and state_key don't match those specified by the auth events selection algorithm")
		case rejected[id]:
			return reject("there are entries which were themselves rejected")
		case auth.RoomID() != e.RoomID():
			return reject("an event in auth_events has a room_id which does not match")
		}
		seen[key] = true
	}
	return allowIf(e.Version >= 12 || seen[Key{"m.room.create", ""}], "there is no m.room.create event among the entries")
}

// Check applies the rules about a state to an event: the state before it, that of its auth events, or the current one.
//
// spec:rooms/v12#authorisation-rules
func Check(e *Event, s State, signed Signed) error {
	v := e.Version
	if e.Type() == "m.room.create" {
		return checkCreate(e)
	}
	create := s[Key{"m.room.create", ""}]
	if create == nil {
		return reject("there is no m.room.create event")
	}
	if federate, ok := create.Content()["m.federate"].(bool); ok && !federate && Domain(e.Sender()) != Domain(create.Sender()) {
		return reject("m.federate is false, and the sender domain does not match the sender domain of the create event")
	}
	stateKey, isState := e.StateKey()
	if e.Type() == "m.room.aliases" && v <= 5 {
		if !isState {
			return reject("m.room.aliases has no state_key")
		}
		return allowIf(Domain(e.Sender()) == stateKey, "sender's domain doesn't match state_key")
	}
	if e.Type() == "m.room.member" {
		return checkMember(e, s, signed)
	}
	if s.member(e.Sender()) != "join" {
		return reject("the sender's current membership state is not join")
	}
	power := powerOf(v, s, e.Sender())
	if e.Type() == "m.room.third_party_invite" {
		return allowIf(power >= named(v, s, "invite"), "the sender's power level is below the invite level")
	}
	if required(v, s, e.Type(), isState) > power {
		return reject("the event type's required power level is greater than the sender's power level")
	}
	if strings.HasPrefix(stateKey, "@") && stateKey != e.Sender() {
		return reject("the state_key starts with an @ and does not match the sender")
	}
	if e.Type() == "m.room.power_levels" {
		return checkLevels(e, s, power)
	}
	if e.Type() == "m.room.redaction" && v <= 2 {
		if power >= named(v, s, "redact") {
			return nil
		}
		redacts, _ := e.Fields["redacts"].(string)
		return allowIf(Domain(redacts) == Domain(e.ID), "a redaction without the redact level, of another domain's event")
	}
	return nil
}

func checkCreate(e *Event) error {
	v, content := e.Version, e.Content()
	if len(e.Prev()) > 0 {
		return reject("m.room.create has prev_events")
	}
	_, roomID := e.Fields["room_id"]
	if v >= 12 && roomID {
		return reject("m.room.create has a room_id")
	}
	if v <= 11 && Domain(e.text("room_id")) != Domain(e.Sender()) {
		return reject("the domain of the room_id does not match the domain of the sender")
	}
	if version, ok := content["room_version"]; ok {
		if text, ok := version.(string); !ok || !slices.Contains(Versions(), text) {
			return reject("content.room_version is present and is not a recognised version")
		}
	}
	if _, ok := content["creator"]; !ok && v <= 10 {
		return reject("content has no creator property")
	}
	if more, ok := content["additional_creators"]; ok && v >= 12 {
		list, ok := more.([]any)
		if !ok || slices.ContainsFunc(list, func(one any) bool { return !isUser(one) }) {
			return reject("additional_creators is not an array of user IDs")
		}
	}
	return nil
}

// Versions are the names of the room versions.
func Versions() []string {
	return []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}
}

func isUser(value any) bool {
	text, ok := value.(string)
	local, domain, colon := strings.Cut(strings.TrimPrefix(text, "@"), ":")
	return ok && strings.HasPrefix(text, "@") && colon && domain != "" && len(text) <= 255 && !strings.ContainsRune(local, 0)
}

func checkMember(e *Event, s State, signed Signed) error {
	v := e.Version
	target, isState := e.StateKey()
	if _, ok := e.Content()["membership"].(string); !ok || !isState {
		return reject("there is no state_key property, or no membership property in content")
	}
	// The text asks this of every membership; the servers of the federation ask it of joins alone.
	if by, ok := e.Content()["join_authorised_via_users_server"]; ok && v >= 8 && e.Membership() == "join" {
		user, _ := by.(string)
		if !signed(e, Domain(user)) {
			return reject("the event is not validly signed by the homeserver of join_authorised_via_users_server")
		}
	}
	switch membership := e.Membership(); {
	case membership == "join":
		return checkJoin(e, s, target)
	case membership == "invite":
		return checkInvite(e, s, target)
	case membership == "leave":
		return checkLeave(e, s, target)
	case membership == "ban":
		if s.member(e.Sender()) != "join" {
			return reject("the sender's current membership state is not join")
		}
		power := powerOf(v, s, e.Sender())
		return allowIf(power >= named(v, s, "ban") && powerOf(v, s, target) < power, "a ban without the power")
	case membership == "knock" && v >= 7:
		if rule := s.joinRule(); rule != "knock" && (v <= 9 || rule != "knock_restricted") {
			return reject("the join_rule is not knock")
		}
		if e.Sender() != target {
			return reject("sender does not match state_key")
		}
		return allowIf(!slices.Contains([]string{"ban", "invite", "join"}, s.member(e.Sender())), "the sender's current membership is ban, invite or join")
	}
	return reject("the membership is unknown")
}

func checkJoin(e *Event, s State, target string) error {
	v := e.Version
	create := s[Key{"m.room.create", ""}]
	made := creators(create)
	if prev := e.Prev(); len(prev) == 1 && prev[0] == create.ID && (target == made[0]) {
		return nil
	}
	if e.Sender() != target {
		return reject("the sender does not match state_key")
	}
	current := s.member(target)
	if current == "ban" {
		return reject("the sender is banned")
	}
	switch rule := s.joinRule(); {
	case rule == "invite", rule == "knock" && v >= 7:
		return allowIf(current == "invite" || current == "join", "the join_rule is "+rule+" and the membership is neither invite nor join")
	case rule == "restricted" && v >= 8, rule == "knock_restricted" && v >= 10:
		if current == "join" || current == "invite" {
			return nil
		}
		by, _ := e.Content()["join_authorised_via_users_server"].(string)
		return allowIf(by != "" && s.member(by) == "join" && powerOf(v, s, by) >= named(v, s, "invite"), "join_authorised_via_users_server is not a user with sufficient permission to invite")
	case rule == "public":
		return nil
	}
	return reject("the join_rule does not let anybody in")
}

func checkInvite(e *Event, s State, target string) error {
	v := e.Version
	if invite, ok := e.Content()["third_party_invite"]; ok {
		return checkThirdParty(e, s, target, invite)
	}
	if s.member(e.Sender()) != "join" {
		return reject("the sender's current membership state is not join")
	}
	if current := s.member(target); current == "join" || current == "ban" {
		return reject("target user's current membership state is join or ban")
	}
	return allowIf(powerOf(v, s, e.Sender()) >= named(v, s, "invite"), "the sender's power level is below the invite level")
}

func checkThirdParty(e *Event, s State, target string, invite any) error {
	if s.member(target) == "ban" {
		return reject("target user is banned")
	}
	fields, _ := invite.(map[string]any)
	signed, ok := fields["signed"].(map[string]any)
	if !ok {
		return reject("content.third_party_invite does not have a signed property")
	}
	mxid, ok1 := signed["mxid"].(string)
	token, ok2 := signed["token"].(string)
	if !ok1 || !ok2 {
		return reject("signed does not have mxid and token properties")
	}
	if mxid != target {
		return reject("mxid does not match state_key")
	}
	asked := s[Key{"m.room.third_party_invite", token}]
	if asked == nil {
		return reject("there is no m.room.third_party_invite event with state_key matching token")
	}
	if asked.Sender() != e.Sender() {
		return reject("sender does not match sender of the m.room.third_party_invite")
	}
	var keys []any
	keys = append(keys, asked.Content()["public_key"])
	more, _ := asked.Content()["public_keys"].([]any)
	for _, one := range more {
		entry, _ := one.(map[string]any)
		keys = append(keys, entry["public_key"])
	}
	return allowIf(signedByAny(signed, keys), "no signature in signed matches a public key")
}

func signedByAny(signed map[string]any, keys []any) bool {
	text := Canonical(without(signed, "signatures", "unsigned"))
	servers, _ := signed["signatures"].(map[string]any)
	for _, server := range servers {
		byKey, _ := server.(map[string]any)
		for _, one := range byKey {
			signature, ok := decode(one)
			for _, key := range keys {
				if public, good := decode(key); ok && good && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, text, signature) {
					return true
				}
			}
		}
	}
	return false
}

// decode reads Base64 in either alphabet.
func decode(value any) ([]byte, bool) {
	text, _ := value.(string)
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	raw, err := base64.RawStdEncoding.DecodeString(text)
	return raw, err == nil && text != ""
}

func checkLeave(e *Event, s State, target string) error {
	v := e.Version
	current := s.member(target)
	if e.Sender() == target {
		return allowIf(current == "invite" || current == "join" || v >= 7 && current == "knock", "there is nothing to leave")
	}
	if s.member(e.Sender()) != "join" {
		return reject("the sender's current membership state is not join")
	}
	power := powerOf(v, s, e.Sender())
	if current == "ban" && power < named(v, s, "ban") {
		return reject("the target user is banned, and the sender's power level is less than the ban level")
	}
	return allowIf(power >= named(v, s, "kick") && powerOf(v, s, target) < power, "a kick without the power")
}

// checkLevels applies the rules about a change of power levels.
func checkLevels(e *Event, s State, power int64) error {
	v, content := e.Version, e.Content()
	names := []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}
	lists := []string{"events"}
	if v >= 6 {
		lists = append(lists, "notifications")
	}
	if v >= 10 {
		for _, name := range names {
			if value, ok := content[name]; ok {
				if _, good := level(v, value); !good {
					return reject("%s is present and not an integer", name)
				}
			}
		}
		for _, name := range []string{"events", "notifications"} {
			if value, ok := content[name]; ok && !levelsOnly(v, value, false) {
				return reject("%s is present and not an object with values that are integers", name)
			}
		}
	}
	if users, ok := content["users"]; ok && !levelsOnly(v, users, true) {
		return reject("the users property is not an object with keys that are valid user IDs with values that are integers")
	}
	users, _ := content["users"].(map[string]any)
	if v >= 12 {
		for _, creator := range creators(s[Key{"m.room.create", ""}]) {
			if _, ok := users[creator]; ok {
				return reject("the users property contains a creator")
			}
		}
	}
	before := s[Key{"m.room.power_levels", ""}]
	if before == nil {
		return nil
	}
	for _, name := range names {
		old, had := level(v, before.Content()[name])
		now, has := level(v, content[name])
		if had == has && old == now {
			continue
		}
		if had && old > power || has && now > power {
			return reject("%s is changed above the sender's power level", name)
		}
	}
	for _, name := range append(lists, "users") {
		olds, _ := before.Content()[name].(map[string]any)
		news, _ := content[name].(map[string]any)
		for _, entry := range entries(olds, news) {
			old, had := level(v, olds[entry])
			now, has := level(v, news[entry])
			if had == has && old == now {
				continue
			}
			if had && name != "users" && old > power {
				return reject("the current value of %s in %s is greater than the sender's power level", entry, name)
			}
			if had && name == "users" && entry != e.Sender() && old >= power {
				return reject("the current level of %s is greater than or equal to the sender's", entry)
			}
			if has && now > power {
				return reject("the new value of %s in %s is greater than the sender's power level", entry, name)
			}
		}
	}
	return nil
}

func entries(a, b map[string]any) []string {
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func levelsOnly(version int, value any, byUser bool) bool {
	members, ok := value.(map[string]any)
	for name, one := range members {
		if _, good := level(version, one); !good || byUser && !isUser(name) {
			return false
		}
	}
	return ok
}
