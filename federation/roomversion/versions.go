package roomversion

const (
	maxInt53 = 1<<53 - 1
	maxInt63 = 1<<63 - 1
)

// all is immutable. Each version is the one before plus its change, as the specification
// builds them.
var all = [...]*Rules{v1(), v2(), v3(), v4(), v5(), v6(), v7(), v8(), v9(), v10(), v11(), v12()}

// spec:rooms/v1#server-implementation-components
func v1() *Rules {
	return &Rules{
		Version:              V1,
		EventIDs:             EventIDGiven,
		ReferencesWithHashes: true,
		CreateInAuthEvents:   true,
		StateResolution:      StateResolutionV1,
		MaxDepth:             maxInt63,
		KeysInCharacters:     true,
		Redaction:            Redaction{Origin: true, Membership: true, PrevState: true, Aliases: true},
		AliasesAuthRule:      true,
		RedactionAuthRule:    true,
	}
}

// spec:rooms/v2#server-implementation-components
func v2() *Rules {
	r := v1()
	r.Version = V2
	r.StateResolution = StateResolutionV2
	return r
}

// spec:rooms/v3#server-implementation-components
func v3() *Rules {
	r := v2()
	r.Version = V3
	r.EventIDs = EventIDHash
	r.ReferencesWithHashes = false
	r.RedactionAuthRule = false
	return r
}

// spec:rooms/v4#server-implementation-components
func v4() *Rules {
	r := v3()
	r.Version = V4
	r.EventIDs = EventIDURLSafeHash
	return r
}

// spec:rooms/v5#server-implementation-components
func v5() *Rules {
	r := v4()
	r.Version = V5
	r.EnforceKeyValidity = true
	return r
}

// spec:rooms/v6#server-implementation-components
func v6() *Rules {
	r := v5()
	r.Version = V6
	r.StrictCanonicalJSON = true
	r.MaxDepth = maxInt53
	r.AliasesAuthRule = false
	r.Redaction.Aliases = false
	r.NotificationLevels = true
	return r
}

// spec:rooms/v7#server-implementation-components
func v7() *Rules {
	r := v6()
	r.Version = V7
	r.Knock = true
	return r
}

// spec:rooms/v8#server-implementation-components
func v8() *Rules {
	r := v7()
	r.Version = V8
	r.RestrictedJoins = true
	r.Redaction.JoinRulesAllow = true
	return r
}

// spec:rooms/v9#server-implementation-components
func v9() *Rules {
	r := v8()
	r.Version = V9
	r.Redaction.MemberAuthorisedVia = true
	return r
}

// spec:rooms/v10#server-implementation-components
func v10() *Rules {
	r := v9()
	r.Version = V10
	r.KnockRestricted = true
	r.IntegerPowerLevels = true
	return r
}

// spec:rooms/v11#server-implementation-components
func v11() *Rules {
	r := v10()
	r.Version = V11
	r.KeysInCharacters = false
	r.ImplicitCreator = true
	r.RedactsInContent = true
	r.Redaction = Redaction{
		JoinRulesAllow:      true,
		MemberAuthorisedVia: true,
		MemberSignedInvite:  true,
		CreateContent:       true,
		PowerLevelsInvite:   true,
		RedactionRedacts:    true,
	}
	return r
}

// spec:rooms/v12#server-implementation-components
func v12() *Rules {
	r := v11()
	r.Version = V12
	r.RoomIDIsCreateEvent = true
	r.CreateInAuthEvents = false
	r.StateResolution = StateResolutionV21
	r.PrivilegedCreators = true
	return r
}
