// Package roomversion holds the rules of room versions as data. [Lookup] gives the [Rules] of
// a version, whose fields are facts: code asks rules.RestrictedJoins, and nothing but this
// package knows which number that is. The order of versions means nothing outside.
//
// It is not where rules are applied: packages event, authrules and stateres do that.
//
// spec:rooms#complete-list-of-room-versions
package roomversion

// Version is the identifier of a room version, opaque text: "10".
//
// spec:rooms#room-version-grammar
type Version string

// The room versions of the specification; all are stable.
const (
	V1  Version = "1"
	V2  Version = "2"
	V3  Version = "3"
	V4  Version = "4"
	V5  Version = "5"
	V6  Version = "6"
	V7  Version = "7"
	V8  Version = "8"
	V9  Version = "9"
	V10 Version = "10"
	V11 Version = "11"
	V12 Version = "12"

	// Default is what servers should give new rooms. A node's configuration may say otherwise.
	//
	// spec:rooms#complete-list-of-room-versions
	Default = V12
)

// EventIDFormat says where the ID of an event comes from.
type EventIDFormat int

const (
	// EventIDGiven: the field event_id, "$opaque:domain". spec:rooms/v1#event-ids
	EventIDGiven EventIDFormat = iota
	// EventIDHash: the reference hash in unpadded Base64. spec:rooms/v3#event-ids
	EventIDHash
	// EventIDURLSafeHash: the reference hash in URL-safe unpadded Base64. spec:rooms/v4#event-ids
	EventIDURLSafeHash
)

// StateResolution says which algorithm resolves forks of the state.
type StateResolution int

const (
	// StateResolutionV1 is that of room version 1. spec:rooms/v1#state-resolution
	StateResolutionV1 StateResolution = iota
	// StateResolutionV2 is that of room version 2. spec:rooms/v2#state-resolution
	StateResolutionV2
	// StateResolutionV21 begins with the empty state and adds the conflicted state
	// subgraph. spec:rooms/v12#state-resolution
	StateResolutionV21
)

// Rules are the facts of a room version. They are immutable, and there is one value a
// version: pointers may be compared.
type Rules struct {
	// Version is the version's identifier, for the wire and for people; not for decisions.
	Version Version

	// EventIDs says where event IDs come from.
	EventIDs EventIDFormat
	// ReferencesWithHashes: prev_events and auth_events are lists of [event ID, {"sha256": …}],
	// not of event IDs.
	ReferencesWithHashes bool
	// RoomIDIsCreateEvent: the create event has no room_id, and the room ID is its event ID
	// with the sigil '!'.
	RoomIDIsCreateEvent bool
	// CreateInAuthEvents: the create event is among the auth events of every other event.
	CreateInAuthEvents bool
	// StateResolution is the algorithm for forks.
	StateResolution StateResolution
	// StrictCanonicalJSON: events must be canonical JSON in every number; otherwise servers
	// must not enforce that.
	StrictCanonicalJSON bool
	// MaxDepth is the greatest depth of an event.
	MaxDepth int64
	// KeysInCharacters: type and state_key of events of others are held to 255 characters, not bytes, as Synapse and Dendrite do
	// for the rooms that have such events: who dropped them there would be in another room than everybody else.
	KeysInCharacters bool
	// EnforceKeyValidity: a signing key must be valid at the event's origin_server_ts.
	EnforceKeyValidity bool
	// Redaction says what survives the redaction of an event.
	Redaction Redaction

	// AliasesAuthRule: m.room.aliases events have an authorisation rule of their own.
	AliasesAuthRule bool
	// RedactionAuthRule: whether a redaction may be made is an authorisation rule; otherwise
	// it is decided when the redaction is applied.
	RedactionAuthRule bool
	// NotificationLevels: the authorisation rule on changed power levels covers the
	// notifications property too.
	NotificationLevels bool
	// Knock: the membership and the join rule "knock" exist.
	Knock bool
	// RestrictedJoins: the join rule "restricted" exists, and joins authorised by a user of
	// another server are signed by that server.
	RestrictedJoins bool
	// KnockRestricted: the join rule "knock_restricted" exists.
	KnockRestricted bool
	// IntegerPowerLevels: power levels must be JSON integers, not strings.
	IntegerPowerLevels bool
	// ImplicitCreator: the creator is the sender of the create event; otherwise the create
	// event must have a content.creator.
	ImplicitCreator bool
	// RedactsInContent: redactions name their target in content.redacts, not at the top level.
	RedactsInContent bool
	// PrivilegedCreators: the creators (sender and content.additional_creators) have
	// infinite power, and cannot stand in m.room.power_levels.
	PrivilegedCreators bool
}

// Redaction says which parts of an event survive its redaction, beyond those that always do.
//
// spec:client-server-api#redactions
type Redaction struct {
	// Origin, Membership, PrevState: the top-level fields origin, membership and prev_state.
	Origin, Membership, PrevState bool
	// Aliases: m.room.aliases keeps aliases.
	Aliases bool
	// JoinRulesAllow: m.room.join_rules keeps allow.
	JoinRulesAllow bool
	// MemberAuthorisedVia: m.room.member keeps join_authorised_via_users_server.
	MemberAuthorisedVia bool
	// MemberSignedInvite: m.room.member keeps third_party_invite, with only its signed.
	MemberSignedInvite bool
	// CreateContent: m.room.create keeps all of its content, otherwise only creator.
	CreateContent bool
	// PowerLevelsInvite: m.room.power_levels keeps invite.
	PowerLevelsInvite bool
	// RedactionRedacts: m.room.redaction keeps content.redacts.
	RedactionRedacts bool
}

// Lookup gives the rules of a version; false for a version that this server does not know.
func Lookup(v Version) (*Rules, bool) {
	for _, rules := range all {
		if rules.Version == v {
			return rules, true
		}
	}
	return nil, false
}

// All gives the rules of every known version, in the order of the specification. The slice
// is the caller's.
func All() []*Rules {
	return append([]*Rules(nil), all[:]...)
}

// Valid tells whether v obeys the grammar of room versions, known or not.
//
// spec:rooms#room-version-grammar
func (v Version) Valid() bool {
	if len(v) == 0 || len(v) > maxVersionLength {
		return false
	}
	for i := range len(v) {
		c := v[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// maxVersionLength is the specification's limit of codepoints, all of them ASCII.
const maxVersionLength = 32
