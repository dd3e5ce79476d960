package authrules

import (
	"errors"
	"strings"
	"testing"

	"hanse/federation/roomversion"
)

// numbers is the list of rules with the numbers that the specification's text gives them, copied by hand.
const numbers = `
                                            v1-2      v3-5      v6       v7       v8-9     v10      v11      v12
create.prev_events                          1.1       1.1       1.1      1.1      1.1      1.1      1.1      1.1
create.room_id_domain                       1.2       1.2       1.2      1.2      1.2      1.2      1.2      -
create.room_id                              -         -         -        -        -        -        -        1.2
create.room_version                         1.3       1.3       1.3      1.3      1.3      1.3      1.3      1.3
create.creator                              1.4       1.4       1.4      1.4      1.4      1.4      -        -
create.additional_creators                  -         -         -        -        -        -        -        1.4
room_id.no_create                           -         -         -        -        -        -        -        2
auth_events.duplicate                       2.1       2.1       2.1      2.1      2.1      2.1      2.1      3.1
auth_events.not_selected                    2.2       2.2       2.2      2.2      2.2      2.2      2.2      3.2
auth_events.rejected                        2.3       2.3       2.3      2.3      2.3      2.3      2.3      3.3
auth_events.no_create                       2.4       2.4       2.4      2.4      2.4      2.4      2.4      -
auth_events.other_room                      2.5       2.5       2.5      2.5      2.5      2.5      2.5      3.5
federate                                    3         3         3        3        3        3        3        4
aliases.no_state_key                        4.1       4.1       -        -        -        -        -        -
aliases.other_domain                        4.2       4.2       -        -        -        -        -        -
member.malformed                            5.1       5.1       4.1      4.1      4.1      4.1      4.1      5.1
member.authoriser_signature                 -         -         -        -        4.2.1    4.2.1    4.2.1    5.2.1
member.join.other_user                      5.2.2     5.2.2     4.2.2    4.2.2    4.3.2    4.3.2    4.3.2    5.3.2
member.join.banned                          5.2.3     5.2.3     4.2.3    4.2.3    4.3.3    4.3.3    4.3.3    5.3.3
member.join.authoriser                      -         -         -        -        4.3.5.2  4.3.5.2  4.3.5.2  5.3.5.2
member.join.forbidden                       5.2.6     5.2.6     4.2.6    4.2.6    4.3.7    4.3.7    4.3.7    5.3.7
member.invite.third_party.banned            5.3.1.1   5.3.1.1   4.3.1.1  4.3.1.1  4.4.1.1  4.4.1.1  4.4.1.1  5.4.1.1
member.invite.third_party.not_signed        5.3.1.2   5.3.1.2   4.3.1.2  4.3.1.2  4.4.1.2  4.4.1.2  4.4.1.2  5.4.1.2
member.invite.third_party.incomplete        5.3.1.3   5.3.1.3   4.3.1.3  4.3.1.3  4.4.1.3  4.4.1.3  4.4.1.3  5.4.1.3
member.invite.third_party.other_user        5.3.1.4   5.3.1.4   4.3.1.4  4.3.1.4  4.4.1.4  4.4.1.4  4.4.1.4  5.4.1.4
member.invite.third_party.unknown_token     5.3.1.5   5.3.1.5   4.3.1.5  4.3.1.5  4.4.1.5  4.4.1.5  4.4.1.5  5.4.1.5
member.invite.third_party.other_sender      5.3.1.6   5.3.1.6   4.3.1.6  4.3.1.6  4.4.1.6  4.4.1.6  4.4.1.6  5.4.1.6
member.invite.third_party.bad_signature     5.3.1.8   5.3.1.8   4.3.1.8  4.3.1.8  4.4.1.8  4.4.1.8  4.4.1.8  5.4.1.8
member.invite.sender_not_joined             5.3.2     5.3.2     4.3.2    4.3.2    4.4.2    4.4.2    4.4.2    5.4.2
member.invite.already_member                5.3.3     5.3.3     4.3.3    4.3.3    4.4.3    4.4.3    4.4.3    5.4.3
member.invite.level                         5.3.5     5.3.5     4.3.5    4.3.5    4.4.5    4.4.5    4.4.5    5.4.5
member.leave.not_member                     5.4.1     5.4.1     4.4.1    4.4.1    4.5.1    4.5.1    4.5.1    5.5.1
member.leave.sender_not_joined              5.4.2     5.4.2     4.4.2    4.4.2    4.5.2    4.5.2    4.5.2    5.5.2
member.leave.unban_level                    5.4.3     5.4.3     4.4.3    4.4.3    4.5.3    4.5.3    4.5.3    5.5.3
member.leave.kick_level                     5.4.5     5.4.5     4.4.5    4.4.5    4.5.5    4.5.5    4.5.5    5.5.5
member.ban.sender_not_joined                5.5.1     5.5.1     4.5.1    4.5.1    4.6.1    4.6.1    4.6.1    5.6.1
member.ban.level                            5.5.3     5.5.3     4.5.3    4.5.3    4.6.3    4.6.3    4.6.3    5.6.3
member.knock.join_rule                      -         -         -        4.6.1    4.7.1    4.7.1    4.7.1    5.7.1
member.knock.other_user                     -         -         -        4.6.2    4.7.2    4.7.2    4.7.2    5.7.2
member.knock.already_member                 -         -         -        4.6.4    4.7.4    4.7.4    4.7.4    5.7.4
member.unknown                              5.6       5.6       4.6      4.7      4.8      4.8      4.8      5.8
sender.not_joined                           6         6         5        5        5        5        5        6
third_party_invite.level                    7.1       7.1       6.1      6.1      6.1      6.1      6.1      7.1
event.level                                 8         8         7        7        7        7        7        8
state_key.other_user                        9         9         8        8        8        8        8        9
power_levels.not_integer                    -         -         -        -        -        9.1      9.1      10.1
power_levels.events_malformed               -         -         -        -        -        9.2      9.2      10.2
power_levels.users_malformed                10.1      10.1      9.1      9.1      9.1      9.3      9.3      10.3
power_levels.creator                        -         -         -        -        -        -        -        10.4
power_levels.default_current                10.3.1    10.3.1    9.3.1    9.3.1    9.3.1    9.5.1    9.5.1    10.6.1
power_levels.default_new                    10.3.2    10.3.2    9.3.2    9.3.2    9.3.2    9.5.2    9.5.2    10.6.2
power_levels.event_current                  10.4.1    10.4.1    9.4.1    9.4.1    9.4.1    9.6.1    9.6.1    10.7.1
power_levels.event_new                      10.5.1    10.5.1    9.5.1    9.5.1    9.5.1    9.7.1    9.7.1    10.8.1
power_levels.user_current                   10.6.1    10.6.1    9.6.1    9.6.1    9.6.1    9.8.1    9.8.1    10.9.1
power_levels.user_new                       10.7.1    10.7.1    9.7.1    9.7.1    9.7.1    9.9.1    9.9.1    10.10.1
redaction.forbidden                         11.3      -         -        -        -        -        -        -
`

// columns are the room versions of each column of numbers.
var columns = [][]roomversion.Version{{"1", "2"}, {"3", "4", "5"}, {"6"}, {"7"}, {"8", "9"}, {"10"}, {"11"}, {"12"}}

func TestRuleNumbersAreTheSpecs(t *testing.T) {
	for col, versions := range columns {
		for _, version := range versions {
			rules, ok := roomversion.Lookup(version)
			if !ok {
				t.Fatalf("no room version %s", version)
			}
			want := map[string]string{}
			for _, line := range strings.Split(numbers, "\n")[2:] {
				if f := strings.Fields(line); len(f) > 0 && f[1+col] != "-" {
					want[f[0]] = f[1+col]
				}
			}
			for rule := range All(rules) {
				if rule.Name == malformedLevel {
					continue
				}
				if want[rule.Name] != rule.Number {
					t.Errorf("room version %s: %s has number %q, the spec says %q", version, rule.Name, rule.Number, want[rule.Name])
				}
				delete(want, rule.Name)
			}
			for name, number := range want {
				t.Errorf("room version %s: rule %s (%s) is missing", version, name, number)
			}
		}
	}
}

func TestEachRuleOnBothSides(t *testing.T) {
	for _, rules := range roomversion.All() {
		t.Run("v"+string(rules.Version), func(t *testing.T) {
			seen := map[string]bool{}
			specs := map[string]string{}
			for rule := range All(rules) {
				if _, twice := specs[rule.Name]; twice {
					t.Errorf("two rules are called %s", rule.Name)
				}
				specs[rule.Name] = rule.Spec
			}
			for _, c := range ruleCases() {
				if c.in != nil && !c.in(rules) {
					continue
				}
				seen[c.rule] = true
				spec, ok := specs[c.rule]
				if !ok {
					t.Errorf("%s (%s): no such rule in this version", c.rule, c.why)
					continue
				}
				if err := c.good(newWorld(t, rules)); err != nil {
					t.Errorf("%s (%s): the allowed side: %v", c.rule, c.why, err)
				}
				err := c.bad(newWorld(t, rules))
				var r *Rejection
				switch {
				case err == nil:
					t.Errorf("%s (%s): the forbidden side is allowed", c.rule, c.why)
				case !errors.As(err, &r):
					t.Errorf("%s (%s): %v", c.rule, c.why, err)
				case r.Rule != c.rule || r.Spec != spec || r.Reason == "":
					t.Errorf("%s (%s): rejected by %v, want %s", c.rule, c.why, r, spec)
				}
			}
			for name := range specs {
				if !seen[name] {
					t.Errorf("rule %s is not tested", name)
				}
			}
		})
	}
}

// ruleCase is a rule with an event (or a state) that it allows and one, as like as can be, that it rejects.
type ruleCase struct {
	rule      string // the rule that rejects the bad side
	why       string
	in        func(*roomversion.Rules) bool // nil: every version
	good, bad func(w *world) error
}

func ruleCases() []ruleCase {
	var all []ruleCase
	for _, cases := range [][]ruleCase{createCases(), authEventCases(), roomCases(), joinCases(), inviteCases(), leaveAndBanCases(),
		knockCases(), powerLevelCases(), redactionCases()} {
		all = append(all, cases...)
	}
	return all
}
