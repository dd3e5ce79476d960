package authrules

import (
	"slices"
	"strings"

	"hanse/federation/canonicaljson"
	"hanse/federation/id"
)

// member is rule 5.
func (c *check) member() (verdict, error) {
	// spec:rooms/v12#authorisation-rules 5
	if c.e.Type() != typeMember {
		return next, nil
	}
	// spec:rooms/v12#authorisation-rules 5.1
	target, isState := c.e.StateKey()
	value, hasMembership := member(c.e.Content(), "membership")
	if !isState || !hasMembership {
		return next, c.reject("member.malformed", "a membership event needs a state key and a membership")
	}
	// The rules call the state key a user and don't say what follows if it is none. Deployed servers ask for its domain
	// and drop the event when there is none.
	if !strings.Contains(target, ":") {
		return next, c.reject("member.malformed", "the state key %q is not a user", target)
	}
	membership := c.e.Membership()
	// spec:rooms/v12#authorisation-rules 5.2
	if c.rules.RestrictedJoins && membership == "join" {
		if err := c.authoriserSignature(); err != nil {
			return next, err
		}
	}
	switch {
	case membership == "join":
		return c.join(target)
	case membership == "invite":
		return c.invite(target)
	case membership == "leave":
		return c.leave(target)
	case membership == "ban":
		return c.ban(target)
	case membership == "knock" && c.rules.Knock:
		return c.knock(target)
	}
	// spec:rooms/v12#authorisation-rules 5.8
	return next, c.reject("member.unknown", "there is no membership %s in this room version", value)
}

// authoriserSignature is rule 5.2, as far as it can be checked without keys: the signature has to be there. The
// server is among event.RequiredSigners, so that a bad signature was found before.
//
// The text has the rule for every membership, but no deployed server (Synapse, Dendrite) asks it of others than joins. If
// we did, a ban with such a property would hold everywhere but here.
func (c *check) authoriserSignature() error {
	value, ok := member(c.e.Content(), "join_authorised_via_users_server")
	if !ok {
		return nil
	}
	// spec:rooms/v12#authorisation-rules 5.2.1
	name, _ := canonicaljson.String(value)
	user, err := id.ParseUserID(name)
	if err != nil {
		return c.reject("member.authoriser_signature", "the authorising user %s is not a user", value)
	}
	if len(c.e.SignaturesOf(user.Server())) == 0 {
		return c.reject("member.authoriser_signature", "the server of the authorising user %s has not signed the event", user)
	}
	return nil
}

// join is rule 5.3.
func (c *check) join(target string) (verdict, error) {
	// spec:rooms/v12#authorisation-rules 5.3.1
	if prev := c.e.PrevEvents(); len(prev) == 1 && prev[0] == c.create.ID() && slices.Index(Creators(c.create), id.UserID(target)) == 0 {
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.3.2
	if target != string(c.e.Sender()) {
		return next, c.reject("member.join.other_user", "%s can't join for %q", c.e.Sender(), target)
	}
	membership, err := c.membership(target)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.3.3
	if membership == "ban" {
		return next, c.reject("member.join.banned", "%s is banned", target)
	}
	rule, err := c.joinRule()
	if err != nil {
		return next, err
	}
	present := membership == "invite" || membership == "join"
	switch {
	// spec:rooms/v12#authorisation-rules 5.3.4
	case rule == "invite" || rule == "knock" && c.rules.Knock:
		if present {
			return allow, nil
		}
	// spec:rooms/v12#authorisation-rules 5.3.5
	case c.restrictedRule(rule):
		// spec:rooms/v12#authorisation-rules 5.3.5.1
		if present {
			return allow, nil
		}
		return c.authorisedJoin(target)
	// spec:rooms/v12#authorisation-rules 5.3.6
	case rule == "public":
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.3.7
	return next, c.reject("member.join.forbidden", "the room's join rule is %q and %s is not invited", rule, target)
}

// authorisedJoin is rules 5.3.5.2 and 5.3.5.3.
func (c *check) authorisedJoin(target string) (verdict, error) {
	// spec:rooms/v12#authorisation-rules 5.3.5.2
	user, ok := canonicaljson.GetString(c.e.Content(), "join_authorised_via_users_server")
	if !ok {
		return next, c.reject("member.join.authoriser", "the room is restricted: %s needs an invite or a member who authorises the join", target)
	}
	membership, err := c.membership(user)
	if err != nil {
		return next, err
	}
	if membership != "join" {
		return next, c.reject("member.join.authoriser", "the authorising user %s is not joined to the room", user)
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	if have, need := levels.User(id.UserID(user)), levels.Invite(); have < need {
		return next, c.reject("member.join.authoriser", "the authorising user %s has power level %d, inviting needs %d", user, have, need)
	}
	// spec:rooms/v12#authorisation-rules 5.3.5.3
	return allow, nil
}

// joinRule is the room's join rule; a room that says nothing is by invite.
func (c *check) joinRule() (string, error) {
	e, err := c.state.StateEvent(typeJoinRules, "")
	if err != nil {
		return "", err
	}
	if e == nil {
		return "invite", nil
	}
	if _, ok := member(e.Content(), "join_rule"); !ok {
		return "invite", nil
	}
	rule, _ := word(e.Content(), "join_rule")
	return rule, nil
}

// restrictedRule tells whether the join rule lets members of other rooms in, in this room version.
func (c *check) restrictedRule(rule string) bool {
	return rule == "restricted" && c.rules.RestrictedJoins || rule == "knock_restricted" && c.rules.KnockRestricted
}

// leave is rule 5.5.
func (c *check) leave(target string) (verdict, error) {
	membership, err := c.membership(target)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.5.1
	if target == string(c.e.Sender()) {
		if membership == "invite" || membership == "join" || membership == "knock" && c.rules.Knock {
			return allow, nil
		}
		return next, c.reject("member.leave.not_member", "%s has nothing to leave", target)
	}
	// spec:rooms/v12#authorisation-rules 5.5.2
	if err := c.requireJoined("member.leave.sender_not_joined"); err != nil {
		return next, err
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	have := levels.User(c.e.Sender())
	// spec:rooms/v12#authorisation-rules 5.5.3
	if membership == "ban" && have < levels.Ban() {
		return next, c.reject("member.leave.unban_level", "unbanning needs power level %d, %s has %d", levels.Ban(), c.e.Sender(), have)
	}
	// spec:rooms/v12#authorisation-rules 5.5.4
	theirs := levels.User(id.UserID(target))
	if have >= levels.Kick() && theirs < have {
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.5.5
	return next, c.reject("member.leave.kick_level", "kicking needs power level %d and more than the target's %d, %s has %d",
		levels.Kick(), theirs, c.e.Sender(), have)
}

// ban is rule 5.6.
func (c *check) ban(target string) (verdict, error) {
	// spec:rooms/v12#authorisation-rules 5.6.1
	if err := c.requireJoined("member.ban.sender_not_joined"); err != nil {
		return next, err
	}
	levels, err := LevelsOf(c.state)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.6.2
	have, theirs := levels.User(c.e.Sender()), levels.User(id.UserID(target))
	if have >= levels.Ban() && theirs < have {
		return allow, nil
	}
	// spec:rooms/v12#authorisation-rules 5.6.3
	return next, c.reject("member.ban.level", "banning needs power level %d and more than the target's %d, %s has %d",
		levels.Ban(), theirs, c.e.Sender(), have)
}

// knock is rule 5.7.
func (c *check) knock(target string) (verdict, error) {
	rule, err := c.joinRule()
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.7.1
	if rule != "knock" && (rule != "knock_restricted" || !c.rules.KnockRestricted) {
		return next, c.reject("member.knock.join_rule", "the room's join rule is %q, it can't be knocked upon", rule)
	}
	// spec:rooms/v12#authorisation-rules 5.7.2
	if target != string(c.e.Sender()) {
		return next, c.reject("member.knock.other_user", "%s can't knock for %q", c.e.Sender(), target)
	}
	membership, err := c.membership(target)
	if err != nil {
		return next, err
	}
	// spec:rooms/v12#authorisation-rules 5.7.3
	switch membership {
	case "ban", "invite", "join":
		// spec:rooms/v12#authorisation-rules 5.7.4
		return next, c.reject("member.knock.already_member", "%s can't knock: the membership is %q", target, membership)
	}
	return allow, nil
}

// requireJoined rejects by the named rule unless the sender is joined.
func (c *check) requireJoined(rule string) error {
	membership, err := c.membership(string(c.e.Sender()))
	if err != nil {
		return err
	}
	if membership != "join" {
		return c.reject(rule, "%s is not joined to the room", c.e.Sender())
	}
	return nil
}
