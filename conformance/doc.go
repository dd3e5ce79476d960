// Package conformance is a black-box suite for Matrix homeservers: does this server federate? It knows nothing of what
// runs inside: it starts the server through an adapter (doc/adapter.md), plays its peers (testnet/peer) and its users
// (testnet/user), and looks at what peers and clients see.
//
// `go test ./conformance` builds this repository's hanse and tests it. HANSE_CONFORMANCE_ADAPTER names another
// adapter, and with it another server; -ginkgo.label-filter chooses sections: "s2s:joins", "rooms:v11".
//
// A failure is reported with the sentence of the specification, what the peers sent and got, and the end of the
// server's log.
package conformance
