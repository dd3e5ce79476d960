package authrules

import (
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
)

func noKnock(r *roomversion.Rules) bool         { return !r.Knock }
func noRestricted(r *roomversion.Rules) bool    { return !r.RestrictedJoins }
func knockRestricted(r *roomversion.Rules) bool { return r.KnockRestricted }
func noKnockRestricted(r *roomversion.Rules) bool {
	return !r.KnockRestricted
}

// becomes is a membership change under a join rule ("" for the base state's).
func becomes(rule, sender, target, membership string) func(*world) error {
	return func(w *world) error {
		if rule != "" {
			w.joinRule(rule)
		}
		return w.become(sender, target, membership)
	}
}

func joinCases() []ruleCase {
	first := func(prev func(w *world) []id.EventID, sender, target string) func(*world) error {
		return func(w *world) error {
			w.unset(typeMember, creator)
			return Check(w.event(sender, typeMember, &target, `{"membership":"join"}`, func(d *event.Draft) { d.PrevEvents = prev(w) }), w)
		}
	}
	onCreate := func(w *world) []id.EventID { return []id.EventID{w.create.ID()} }
	onTwo := func(w *world) []id.EventID { return []id.EventID{w.create.ID(), w.eventID("two")} }
	onOther := func(w *world) []id.EventID { return []id.EventID{w.eventID("two")} }
	malformed := func(stateKey *string, content string) func(*world) error {
		return func(w *world) error { return w.send(invited, typeMember, stateKey, content) }
	}
	via := func(rule, authoriser string, signers ...id.ServerName) func(*world) error {
		return func(w *world) error {
			w.joinRule(rule)
			return w.authorised(stranger, authoriser, signers...)
		}
	}
	cases := []ruleCase{
		{rule: "member.malformed", why: "no state key", good: malformed(key(invited), `{"membership":"join"}`), bad: malformed(nil, `{"membership":"join"}`)},
		{rule: "member.malformed", why: "no membership", good: malformed(key(invited), `{"membership":"leave"}`), bad: malformed(key(invited), `{}`)},
		{rule: "member.malformed", why: "the state key is a user", good: becomes("", mod, stranger, "invite"), bad: becomes("", mod, "stranger", "invite")},
		{rule: "member.malformed", why: "nobody is no user", good: becomes("", mod, stranger, "ban"), bad: becomes("", mod, "", "ban")},
		{rule: "member.unknown", why: "no such membership", good: malformed(key(invited), `{"membership":"leave"}`), bad: malformed(key(invited), `{"membership":"visit"}`)},
		{rule: "member.unknown", why: "not a string", good: malformed(key(invited), `{"membership":"leave"}`), bad: malformed(key(invited), `{"membership":["join"]}`)},

		{rule: "member.join.forbidden", why: "the creator's first join: only on the create event", good: first(onCreate, creator, creator), bad: first(onTwo, creator, creator)},
		{rule: "member.join.forbidden", why: "the creator's first join: on the create event", good: first(onCreate, creator, creator), bad: first(onOther, creator, creator)},
		{rule: "member.join.forbidden", why: "the creator's first join: of the creator", good: first(onCreate, creator, creator), bad: first(onCreate, stranger, stranger)},
		{rule: "member.join.other_user", why: "nobody joins for another", good: becomes("public", stranger, stranger, "join"), bad: becomes("public", admin, stranger, "join")},
		{rule: "member.join.banned", why: "even if public", good: becomes("public", left, left, "join"), bad: becomes("public", banned, banned, "join")},
		{rule: "member.join.forbidden", why: "by invite: the invited", good: becomes("invite", invited, invited, "join"), bad: becomes("invite", stranger, stranger, "join")},
		{rule: "member.join.forbidden", why: "by invite: members again", good: becomes("invite", user, user, "join"), bad: becomes("invite", left, left, "join")},
		{rule: "member.join.forbidden", why: "public", good: becomes("public", stranger, stranger, "join"), bad: becomes("private", stranger, stranger, "join")},
		{rule: "member.join.forbidden", why: "an unknown rule lets nobody in", good: becomes("public", invited, invited, "join"), bad: becomes("private", invited, invited, "join")},
		{rule: "member.join.forbidden", why: "no rule means by invite", good: func(w *world) error {
			w.unset(typeJoinRules, "")
			return w.become(invited, invited, "join")
		}, bad: func(w *world) error {
			w.unset(typeJoinRules, "")
			return w.become(stranger, stranger, "join")
		}},
		{rule: "member.join.forbidden", why: "a rule that is silent means by invite", good: func(w *world) error {
			w.set(w.event(creator, typeJoinRules, key(""), `{}`, nil))
			return w.become(invited, invited, "join")
		}, bad: func(w *world) error {
			w.set(w.event(creator, typeJoinRules, key(""), `{"join_rule":7}`, nil))
			return w.become(invited, invited, "join")
		}},

		{rule: "member.join.forbidden", why: "knock: the invited", in: knock, good: becomes("knock", invited, invited, "join"), bad: becomes("knock", knocking, knocking, "join")},
		{rule: "member.join.forbidden", why: "knock is unknown before it exists", in: noKnock, good: becomes("invite", invited, invited, "join"), bad: becomes("knock", invited, invited, "join")},
		{rule: "member.join.authoriser", why: "restricted: the invited need nobody", in: restricted, good: becomes("restricted", invited, invited, "join"), bad: becomes("restricted", stranger, stranger, "join")},
		{rule: "member.join.authoriser", why: "restricted: members need nobody", in: restricted, good: becomes("restricted", user, user, "join"), bad: becomes("restricted", left, left, "join")},
		{rule: "member.join.authoriser", why: "restricted: authorised by a member with the invite level", in: restricted, good: via("restricted", mod, "two.test"), bad: via("restricted", user, "two.test")},
		{rule: "member.join.authoriser", why: "restricted: authorised by a member", in: restricted, good: via("restricted", mod, "two.test"), bad: func(w *world) error {
			w.member(mod, "leave")
			return via("restricted", mod, "two.test")(w)
		}},
		{rule: "member.join.authoriser", why: "knock_restricted", in: knockRestricted, good: via("knock_restricted", mod, "two.test"), bad: via("knock_restricted", user, "two.test")},
		{rule: "member.join.forbidden", why: "knock_restricted is unknown before it exists", in: noKnockRestricted,
			good: becomes("public", invited, invited, "join"), bad: becomes("knock_restricted", invited, invited, "join")},
		{rule: "member.join.forbidden", why: "restricted is unknown before it exists", in: noRestricted,
			good: becomes("public", invited, invited, "join"), bad: becomes("restricted", invited, invited, "join")},
		{rule: "member.authoriser_signature", why: "signed by the authoriser's server", in: restricted, good: via("restricted", mod, "two.test"), bad: via("restricted", mod)},
		{rule: "member.authoriser_signature", why: "not just by any", in: restricted, good: via("restricted", mod, "two.test", "one.test"), bad: via("restricted", mod, "one.test")},
		{rule: "member.authoriser_signature", why: "the authoriser is a user", in: restricted, good: via("restricted", mod, "two.test"), bad: via("restricted", "mod", "two.test")},
		{rule: "member.authoriser_signature", why: "of joins alone", in: restricted, good: func(w *world) error {
			return w.send(invited, typeMember, key(invited), `{"join_authorised_via_users_server":"@mod:two.test","membership":"leave"}`)
		}, bad: via("restricted", mod)},
		{rule: "member.join.forbidden", why: "no matter before restricted rooms exist", in: noRestricted, good: func(w *world) error {
			w.joinRule("public")
			return w.authorised(stranger, mod)
		}, bad: via("restricted", mod, "two.test")},
	}
	return append(cases, firstJoinCases()...)
}

// firstJoinCases are about who is the creator.
func firstJoinCases() []ruleCase {
	claim := func(creatorClaim, joins string) func(*world) error {
		return func(w *world) error {
			w.recreate(`{"creator":"` + creatorClaim + `","additional_creators":["` + creatorClaim + `"]}`)
			return Check(w.event(joins, typeMember, &joins, `{"membership":"join"}`,
				func(d *event.Draft) { d.PrevEvents = []id.EventID{w.create.ID()} }), w)
		}
	}
	return []ruleCase{
		{rule: "member.join.forbidden", why: "the creator is who the content names", in: creatorInContent, good: claim(stranger, stranger), bad: claim(creator, stranger)},
		{rule: "member.join.forbidden", why: "the creator is the sender", in: func(r *roomversion.Rules) bool { return r.ImplicitCreator },
			good: func(w *world) error { w.unset(typeMember, creator); return claim(stranger, creator)(w) }, bad: claim(stranger, stranger)},
	}
}

func leaveAndBanCases() []ruleCase {
	return []ruleCase{
		{rule: "member.leave.not_member", why: "members leave", good: becomes("", user, user, "leave"), bad: becomes("", left, left, "leave")},
		{rule: "member.leave.not_member", why: "the invited refuse", good: becomes("", invited, invited, "leave"), bad: becomes("", stranger, stranger, "leave")},
		{rule: "member.leave.not_member", why: "the banned stay banned", good: becomes("", invited, invited, "leave"), bad: becomes("", banned, banned, "leave")},
		{rule: "member.leave.not_member", why: "who knocks may leave", in: knock, good: becomes("", knocking, knocking, "leave"), bad: becomes("", left, left, "leave")},
		{rule: "member.leave.not_member", why: "who knocks where knocking is unknown has nothing to leave", in: noKnock, good: becomes("", invited, invited, "leave"),
			bad: func(w *world) error { w.member(knocking, "knock"); return w.become(knocking, knocking, "leave") }},
		{rule: "member.leave.sender_not_joined", why: "who kicks is in the room", good: becomes("", mod, user, "leave"), bad: func(w *world) error {
			w.member(mod, "leave")
			return w.become(mod, user, "leave")
		}},
		{rule: "member.leave.unban_level", why: "unbanning needs the ban level", good: func(w *world) error {
			w.power(edited(`{"ban":50,"kick":0}`))
			return w.become(mod, banned, "leave")
		}, bad: func(w *world) error {
			w.power(edited(`{"ban":51,"kick":0}`))
			return w.become(mod, banned, "leave")
		}},
		{rule: "member.leave.kick_level", why: "unbanning needs the kick level too", good: func(w *world) error {
			w.power(edited(`{"ban":0,"kick":50}`))
			return w.become(mod, banned, "leave")
		}, bad: func(w *world) error {
			w.power(edited(`{"ban":0,"kick":51}`))
			return w.become(mod, banned, "leave")
		}},
		{rule: "member.leave.kick_level", why: "kicking needs the kick level", good: becomes("", mod, user, "leave"), bad: becomes("", user2, user, "leave")},
		{rule: "member.leave.kick_level", why: "and more power than the kicked", good: becomes("", admin, mod, "leave"), bad: becomes("", mod, mod2, "leave")},
		{rule: "member.leave.kick_level", why: "creators can't be kicked", in: creators, good: becomes("", creator, admin, "leave"), bad: becomes("", admin, creator, "leave")},
		{rule: "member.leave.kick_level", why: "creators can't kick each other", in: creators, good: func(w *world) error {
			return becomes("", creator, admin, "leave")(w)
		}, bad: func(w *world) error {
			w.recreate(`{"additional_creators":["@stranger:three.test"]}`)
			w.member(stranger, "join")
			w.member(creator, "join")
			return w.become(stranger, creator, "leave")
		}},
		{rule: "member.ban.sender_not_joined", why: "who bans is in the room", good: becomes("", mod, user, "ban"), bad: func(w *world) error {
			w.member(mod, "leave")
			return w.become(mod, user, "ban")
		}},
		{rule: "member.ban.level", why: "banning needs the ban level", good: becomes("", mod, stranger, "ban"), bad: becomes("", user, stranger, "ban")},
		{rule: "member.ban.level", why: "and more power than the banned", good: becomes("", admin, mod, "ban"), bad: becomes("", admin, admin2, "ban")},
	}
}

func knockCases() []ruleCase {
	return []ruleCase{
		{rule: "member.knock.join_rule", why: "only where the rule says so", in: knock, good: becomes("knock", stranger, stranger, "knock"), bad: becomes("public", stranger, stranger, "knock")},
		{rule: "member.knock.join_rule", why: "knock_restricted", in: knockRestricted, good: becomes("knock_restricted", stranger, stranger, "knock"), bad: becomes("restricted", stranger, stranger, "knock")},
		{rule: "member.knock.join_rule", why: "knock_restricted before it exists", in: func(r *roomversion.Rules) bool { return r.Knock && !r.KnockRestricted },
			good: becomes("knock", stranger, stranger, "knock"), bad: becomes("knock_restricted", stranger, stranger, "knock")},
		{rule: "member.knock.other_user", why: "nobody knocks for another", in: knock, good: becomes("knock", left, left, "knock"), bad: becomes("knock", user, left, "knock")},
		{rule: "member.knock.already_member", why: "members", in: knock, good: becomes("knock", left, left, "knock"), bad: becomes("knock", user, user, "knock")},
		{rule: "member.knock.already_member", why: "the invited", in: knock, good: becomes("knock", knocking, knocking, "knock"), bad: becomes("knock", invited, invited, "knock")},
		{rule: "member.knock.already_member", why: "the banned", in: knock, good: becomes("knock", knocking, knocking, "knock"), bad: becomes("knock", banned, banned, "knock")},
		{rule: "member.unknown", why: "knocking before it exists", in: noKnock, good: becomes("public", stranger, stranger, "join"), bad: becomes("knock", stranger, stranger, "knock")},
	}
}
