package push

import "time"

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

// All bounds of pushing.
const (
	// maxAppID (characters) and maxPushKey (bytes) are the specification's. spec:client-server-api#post_matrixclientv3pushersset
	maxAppID   = 64
	maxPushKey = 512
	// maxPusherText and maxPusherData bound the rest of what a client gives, maxPushers how many a user has: one a device.
	maxPusherText = 1000
	maxPusherData = 16 << 10
	maxPushers    = 100
	// feedBuffer is how many notices may wait; when they are more, all pushers look for what is new.
	feedBuffer = 8192
	// maxLooking is how many pushers find out at a time what they are to push: a message in a room of many of our users concerns all
	// theirs at once, and where nothing is counted yet each goes through all rooms of its user.
	maxLooking = 8
	// maxGateways is how many calls are under way at a time.
	maxGateways = 64
	// gatewayTimeout bounds one call, maxGatewayAnswer what is read of its answer.
	gatewayTimeout   = 30 * time.Second
	maxGatewayAnswer = 64 << 10
	// maxPushedContent is how large a content gateways get; they pass on a few KiB at most.
	maxPushedContent = 16 << 10
	// maxBacklog is how many notifications are pushed of what came while a gateway, or this server, was away: the newest.
	maxBacklog = 20
	// A gateway that fails is tried again after firstRetry, then each time twice as late up to lastRetry; after maxTries,
	// some 12 hours, what it was to be told is dropped.
	firstRetry = time.Second
	lastRetry  = time.Hour
	maxTries   = 24
	// retryRead is the wait after trouble of our own.
	retryRead = 5 * time.Second
	// saveCursors is how often it is written down how far the pushers are.
	saveCursors = 5 * time.Second
	// loadPause is the wait between two tries to read the pushers at the start.
	loadPause = 5 * time.Second
)
