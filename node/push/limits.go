package push

// All bounds of the rules, each with its reason.
const (
	// maxRuleID is the length of the longest room or user ID, which are the IDs of rules for a room or sender.
	maxRuleID = 255
	// maxRule bounds one rule: some dozens of conditions.
	maxRule = 16 << 10
	// maxOwnRules and maxRuleset bound what a user may have: the whole is told to each device at every change, and kept in
	// memory while the user is online. Who mutes a thousand rooms has that many rules of some hundred bytes.
	maxOwnRules = 2000
	maxRuleset  = 512 << 10
	// maxSteps bounds how long patterns are held against one event for one user: some milliseconds. Patterns beyond it
	// don't match. Some thousand words of a user's, in messages of the usual length, stay below.
	maxSteps = 2_000_000
	// maxPropertyDepth bounds how deep into an event conditions can look.
	maxPropertyDepth = 16
)
