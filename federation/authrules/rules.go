package authrules

import (
	"iter"
	"strconv"

	"hanse/federation/roomversion"
)

// Rule is one numbered rule of a room version.
type Rule struct {
	Name   string // stable; "" for rules that only allow
	Number string // in that room version, e.g. "4.3.3"; "" for the one rule that stands outside the list
	Spec   string // e.g. "rooms/v11#authorisation-rules 4.3.3"
}

// entry is a rule, or a group of rules, of the list below. A rule's number is its place among the entries that are
// in force, so that the numbers of every room version follow from one list.
type entry struct {
	name  string                        // of a rule that can reject
	in    func(*roomversion.Rules) bool // in force; nil: in every version
	holds func(*roomversion.Rules) bool // keeps its number though not in force
	sub   []entry
}

func aliasesRule(r *roomversion.Rules) bool      { return r.AliasesAuthRule }
func redactionRule(r *roomversion.Rules) bool    { return r.RedactionAuthRule }
func restricted(r *roomversion.Rules) bool       { return r.RestrictedJoins }
func knock(r *roomversion.Rules) bool            { return r.Knock }
func integers(r *roomversion.Rules) bool         { return r.IntegerPowerLevels }
func creatorInContent(r *roomversion.Rules) bool { return !r.ImplicitCreator }
func creators(r *roomversion.Rules) bool         { return r.PrivilegedCreators }
func domainRoomID(r *roomversion.Rules) bool     { return !r.RoomIDIsCreateEvent }
func hashRoomID(r *roomversion.Rules) bool       { return r.RoomIDIsCreateEvent }
func createListed(r *roomversion.Rules) bool     { return r.CreateInAuthEvents }
func always(*roomversion.Rules) bool             { return true }

// list is the list of all rules of all room versions, in the order of the specification.
//
// spec:rooms/v1#authorisation-rules
// spec:rooms/v12#authorisation-rules
var list = []entry{
	{sub: []entry{ // the create event
		{name: "create.prev_events"},
		{name: "create.room_id_domain", in: domainRoomID},
		{name: "create.room_id", in: hashRoomID},
		{name: "create.room_version"},
		{name: "create.creator", in: creatorInContent},
		{name: "create.additional_creators", in: creators},
		{},
	}},
	{name: "room_id.no_create", in: hashRoomID},
	{sub: []entry{ // the auth events
		{name: "auth_events.duplicate"},
		{name: "auth_events.not_selected"},
		{name: "auth_events.rejected"},
		{name: "auth_events.no_create", in: createListed, holds: always},
		{name: "auth_events.other_room"},
	}},
	{name: "federate"},
	{in: aliasesRule, sub: []entry{
		{name: "aliases.no_state_key"},
		{name: "aliases.other_domain"},
		{},
	}},
	memberRules,
	{name: "sender.not_joined"},
	{sub: []entry{{name: "third_party_invite.level"}}},
	{name: "event.level"},
	{name: "state_key.other_user"},
	powerLevelRules,
	{in: redactionRule, sub: []entry{
		{}, // the sender has the redact level
		{}, // same domain
		{name: "redaction.forbidden"},
	}},
	{},
}

var memberRules = entry{sub: []entry{
	{name: "member.malformed"},
	{in: restricted, sub: []entry{{name: "member.authoriser_signature"}}},
	{sub: []entry{ // join
		{}, // the creator's first join
		{name: "member.join.other_user"},
		{name: "member.join.banned"},
		{}, // invited
		{in: restricted, sub: []entry{
			{}, // member or invited
			{name: "member.join.authoriser"},
			{},
		}},
		{}, // public
		{name: "member.join.forbidden"},
	}},
	{sub: []entry{ // invite
		{sub: []entry{
			{name: "member.invite.third_party.banned"},
			{name: "member.invite.third_party.not_signed"},
			{name: "member.invite.third_party.incomplete"},
			{name: "member.invite.third_party.other_user"},
			{name: "member.invite.third_party.unknown_token"},
			{name: "member.invite.third_party.other_sender"},
			{}, // a signature matches
			{name: "member.invite.third_party.bad_signature"},
		}},
		{name: "member.invite.sender_not_joined"},
		{name: "member.invite.already_member"},
		{}, // level reached
		{name: "member.invite.level"},
	}},
	{sub: []entry{ // leave
		{name: "member.leave.not_member"},
		{name: "member.leave.sender_not_joined"},
		{name: "member.leave.unban_level"},
		{}, // level reached
		{name: "member.leave.kick_level"},
	}},
	{sub: []entry{ // ban
		{name: "member.ban.sender_not_joined"},
		{}, // level reached
		{name: "member.ban.level"},
	}},
	{in: knock, sub: []entry{
		{name: "member.knock.join_rule"},
		{name: "member.knock.other_user"},
		{}, // not a member
		{name: "member.knock.already_member"},
	}},
	{name: "member.unknown"},
}}

var powerLevelRules = entry{sub: []entry{
	{name: "power_levels.not_integer", in: integers},
	{name: "power_levels.events_malformed", in: integers},
	{name: "power_levels.users_malformed"},
	{name: "power_levels.creator", in: creators},
	{}, // the first one
	{sub: []entry{
		{name: "power_levels.default_current"},
		{name: "power_levels.default_new"},
	}},
	{sub: []entry{{name: "power_levels.event_current"}}},
	{sub: []entry{{name: "power_levels.event_new"}}},
	{sub: []entry{{name: "power_levels.user_current"}}},
	{sub: []entry{{name: "power_levels.user_new"}}},
	{},
}}

// malformedLevel is the one reason for rejection that is not in the numbered lists: in room versions 1–9 a power
// level other than a user's can be written as integer, string and (to version 5) float, and the lists are silent on
// what is none of these.
//
// spec:rooms/fragments/v1-stringy-power-levels#mroompower_levels-events-accept-values-as-strings
// spec:rooms/fragments/v1-floaty-power-levels#mroompower_levels-events-accept-values-as-floats
const malformedLevel = "power_levels.malformed"

// All gives the rules of a room version that can reject an event, in the order of the specification. The one that
// stands outside the numbered list comes last.
func All(rules *roomversion.Rules) iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		if !walk(rules, list, "", yield) || rules.IntegerPowerLevels {
			return
		}
		yield(Rule{Name: malformedLevel, Spec: specOf(rules, malformedLevel)})
	}
}

// walk yields the named rules among the entries; false when yield has had enough.
func walk(rules *roomversion.Rules, entries []entry, prefix string, yield func(Rule) bool) bool {
	for n, e := range inForce(rules, entries) {
		number := prefix + strconv.Itoa(n)
		if e.name != "" && !yield(Rule{Name: e.name, Number: number,
			Spec: "rooms/v" + string(rules.Version) + "#authorisation-rules " + number}) {
			return false
		}
		if !walk(rules, e.sub, number+".", yield) {
			return false
		}
	}
	return true
}

// inForce gives the entries that are in force, with their numbers.
func inForce(rules *roomversion.Rules, entries []entry) iter.Seq2[int, entry] {
	return func(yield func(int, entry) bool) {
		n := 0
		for _, e := range entries {
			holds := e.in == nil || e.in(rules)
			if holds || e.holds != nil && e.holds(rules) {
				n++
			}
			if holds && !yield(n, e) {
				return
			}
		}
	}
}

// specOf is the place of the named rule in that room version.
func specOf(rules *roomversion.Rules, name string) string {
	place := "rooms/v" + string(rules.Version) + "#authorisation-rules"
	if name == malformedLevel {
		return "rooms/v" + string(rules.Version) + "#mroompower_levels-events-accept-values-as-strings"
	}
	if number := numberOf(rules, list, name); number != "" {
		place += " " + number
	}
	return place
}

// numberOf is the number of the named rule among the entries, "" if it isn't there. Others get no number made.
func numberOf(rules *roomversion.Rules, entries []entry, name string) string {
	for n, e := range inForce(rules, entries) {
		if e.name == name {
			return strconv.Itoa(n)
		}
		if number := numberOf(rules, e.sub, name); number != "" {
			return strconv.Itoa(n) + "." + number
		}
	}
	return ""
}
