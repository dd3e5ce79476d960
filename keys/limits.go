package keys

import "time"

const (
	// maxFileSize bounds a signing key file. A line has some 60 bytes; nobody has a thousand keys.
	maxFileSize = 64 << 10
	// maxDocumentSize bounds a key document. Real ones have less than 2 KiB; servers that publish years of old keys
	// stay below this.
	maxDocumentSize = 64 << 10
	// maxDocumentKeys bounds the keys of one document, current and old: each is held in memory per server.
	maxDocumentKeys = 128
	// maxNotaryServers bounds the servers in one notary request, in both directions: an answer costs a fetch each.
	maxNotaryServers = 100
	// maxNotaryDocuments bounds the documents read of a notary's answer: a few for each server asked for.
	maxNotaryDocuments = 4 * maxNotaryServers

	// maxServers bounds the servers whose keys are held in memory; the least recently used go first. A document
	// takes about 2 KiB here.
	maxServers = 10_000
	// maxExtraDocuments and maxExtraSize, in bytes of their text together, bound the older documents kept of one server, for keys that it
	// doesn't list any more: a server that replaces its key each year, and has forgotten the old ones each time, is known for sixteen.
	maxExtraDocuments = 15
	maxExtraSize      = 64 << 10
	// usesPrepared is after how many checks a key gets a table: it costs what four checks do, and saves two thirds of
	// each one after it.
	usesPrepared = 8
	// maxPrepared bounds the keys with a table, of 50 kB each: together some 6 MB.
	maxPrepared = 128
	// maxCounted bounds the keys whose uses are counted, of some 60 bytes each.
	maxCounted = 4096
	// groupSize is how many signatures by a key are checked at a time: more together hardly save more.
	groupSize = 16
	// minGroup is how many are not taken apart for the sake of another core.
	minGroup = 4
	// maxFetches bounds the requests for keys under way at once, those of the servers that ask us something, and those for events that one
	// server gave us; maxFetchesForOthers bounds the latter of all servers.
	maxFetches          = 64
	maxFetchesForOthers = 4 * maxFetches

	// validityCap is how far ahead a document counts as valid, however long its server says.
	//
	// spec:rooms/v5#signing-key-validity-period
	validityCap = 7 * 24 * time.Hour
	// fetchTimeout bounds one request for keys: more than a slow server on another continent needs, less than what
	// makes a peer give up its transaction because we wait for a third server.
	fetchTimeout = 10 * time.Second
	// minRefetch is the least time between two fetches from one server that answers: forged signatures with
	// invented key IDs must not make us flood it.
	minRefetch = time.Second
	// firstBackoff and maxBackoff bound the pause after a server that didn't answer; it doubles with each failure.
	firstBackoff = 10 * time.Second
	maxBackoff   = time.Hour
	// requestBackoff is the longest pause when the server itself sends us a request: it seems to be up.
	requestBackoff = 10 * time.Second
	// notaryPause is how long the notaries aren't asked again for a server of which they had nothing useful, and the longest pause of asking
	// one that doesn't answer.
	notaryPause = 5 * time.Minute
	// unlistedPause is the least time between two warnings of events of ours with an unknown key.
	unlistedPause = time.Hour
	// giverPause is how long who gave us events isn't asked again for the keys of the same server.
	giverPause = 10 * time.Second
)

// DocumentValidity is for how long our own key document says that it is good. Others fetch it again after half of
// that time.
//
// spec:server-server-api#publishing-keys
const DocumentValidity = 24 * time.Hour
