package roomversion

import (
	"strings"
	"testing"
)

// facts is the table of the specification, one line a fact and a column a version, written
// down apart from the code that builds the versions on each other.
const facts = `
                     1 2 3 4 5 6 7 8 9 10 11 12
EventIDGiven         x x . . . . . . . .  .  .
EventIDHash          . . x . . . . . . .  .  .
EventIDURLSafeHash   . . . x x x x x x x  x  x
ReferencesWithHashes x x . . . . . . . .  .  .
RoomIDIsCreateEvent  . . . . . . . . . .  .  x
CreateInAuthEvents   x x x x x x x x x x  x  .
StateResolutionV1    x . . . . . . . . .  .  .
StateResolutionV2    . x x x x x x x x x  x  .
StateResolutionV21   . . . . . . . . . .  .  x
StrictCanonicalJSON  . . . . . x x x x x  x  x
SmallDepth           . . . . . x x x x x  x  x
KeysInCharacters     x x x x x x x x x x  .  .
EnforceKeyValidity   . . . . x x x x x x  x  x
AliasesAuthRule      x x x x x . . . . .  .  .
RedactionAuthRule    x x . . . . . . . .  .  .
NotificationLevels   . . . . . x x x x x  x  x
Knock                . . . . . . x x x x  x  x
RestrictedJoins      . . . . . . . x x x  x  x
KnockRestricted      . . . . . . . . . x  x  x
IntegerPowerLevels   . . . . . . . . . x  x  x
ImplicitCreator      . . . . . . . . . .  x  x
RedactsInContent     . . . . . . . . . .  x  x
PrivilegedCreators   . . . . . . . . . .  .  x
Origin               x x x x x x x x x x  .  .
Membership           x x x x x x x x x x  .  .
PrevState            x x x x x x x x x x  .  .
Aliases              x x x x x . . . . .  .  .
JoinRulesAllow       . . . . . . . x x x  x  x
MemberAuthorisedVia  . . . . . . . . x x  x  x
MemberSignedInvite   . . . . . . . . . .  x  x
CreateContent        . . . . . . . . . .  x  x
PowerLevelsInvite    . . . . . . . . . .  x  x
RedactionRedacts     . . . . . . . . . .  x  x
`

func factsOf(r *Rules) map[string]bool {
	return map[string]bool{
		"EventIDGiven":         r.EventIDs == EventIDGiven,
		"EventIDHash":          r.EventIDs == EventIDHash,
		"EventIDURLSafeHash":   r.EventIDs == EventIDURLSafeHash,
		"ReferencesWithHashes": r.ReferencesWithHashes,
		"RoomIDIsCreateEvent":  r.RoomIDIsCreateEvent,
		"CreateInAuthEvents":   r.CreateInAuthEvents,
		"StateResolutionV1":    r.StateResolution == StateResolutionV1,
		"StateResolutionV2":    r.StateResolution == StateResolutionV2,
		"StateResolutionV21":   r.StateResolution == StateResolutionV21,
		"StrictCanonicalJSON":  r.StrictCanonicalJSON,
		"SmallDepth":           r.MaxDepth == 1<<53-1,
		"KeysInCharacters":     r.KeysInCharacters,
		"EnforceKeyValidity":   r.EnforceKeyValidity,
		"AliasesAuthRule":      r.AliasesAuthRule,
		"RedactionAuthRule":    r.RedactionAuthRule,
		"NotificationLevels":   r.NotificationLevels,
		"Knock":                r.Knock,
		"RestrictedJoins":      r.RestrictedJoins,
		"KnockRestricted":      r.KnockRestricted,
		"IntegerPowerLevels":   r.IntegerPowerLevels,
		"ImplicitCreator":      r.ImplicitCreator,
		"RedactsInContent":     r.RedactsInContent,
		"PrivilegedCreators":   r.PrivilegedCreators,
		"Origin":               r.Redaction.Origin,
		"Membership":           r.Redaction.Membership,
		"PrevState":            r.Redaction.PrevState,
		"Aliases":              r.Redaction.Aliases,
		"JoinRulesAllow":       r.Redaction.JoinRulesAllow,
		"MemberAuthorisedVia":  r.Redaction.MemberAuthorisedVia,
		"MemberSignedInvite":   r.Redaction.MemberSignedInvite,
		"CreateContent":        r.Redaction.CreateContent,
		"PowerLevelsInvite":    r.Redaction.PowerLevelsInvite,
		"RedactionRedacts":     r.Redaction.RedactionRedacts,
	}
}

func TestFacts(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(facts), "\n")
	versions := strings.Fields(lines[0])
	for i, version := range versions {
		rules, ok := Lookup(Version(version))
		if !ok || rules != All()[i] {
			t.Fatalf("version %s: %v, %v", version, rules, ok)
		}
		got := factsOf(rules)
		if len(got) != len(lines)-1 {
			t.Fatalf("%d facts, %d lines", len(got), len(lines)-1)
		}
		for _, line := range lines[1:] {
			columns := strings.Fields(line)
			if got[columns[0]] != (columns[i+1] == "x") {
				t.Errorf("version %s: %s is %v", version, columns[0], got[columns[0]])
			}
		}
	}
	if len(All()) != len(versions) {
		t.Errorf("%d versions", len(All()))
	}
}

func TestLookup(t *testing.T) {
	for _, v := range []Version{"", "0", "13", "1.0", "01", "org.matrix.msc1"} {
		if rules, ok := Lookup(v); ok {
			t.Errorf("%q: %v", v, rules)
		}
	}
	if _, ok := Lookup(Default); !ok {
		t.Error("the default version is unknown")
	}
	All()[0] = nil
	if _, ok := Lookup(V1); !ok {
		t.Error("All gives away its own slice")
	}
}

func TestValid(t *testing.T) {
	for v, want := range map[Version]bool{
		"1": true, "1.2-beta": true, "com.example.version": true, Version(strings.Repeat("1", 32)): true,
		"": false, "V1": false, "1_0": false, "1 ": false, "ü": false, Version(strings.Repeat("1", 33)): false,
	} {
		if v.Valid() != want {
			t.Errorf("%q", v)
		}
	}
}
