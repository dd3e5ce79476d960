// Package conformance asks any Matrix homeserver: does this server federate? It runs package suite, a black-box suite
// that knows nothing of what runs inside: it starts the server through an adapter (doc/adapter.md), plays its peers
// (testnet/peer) and its users (testnet/user), and looks at what peers and clients see.
//
// `hanse conformance run` is its command; `go test ./conformance` runs the same against this repository's hanse.
package conformance
