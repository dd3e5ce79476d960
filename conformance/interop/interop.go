// Package interop proves Hanse against somebody else's work: it starts Hanse and another homeserver through their adapters and
// lets users of both meet, in both directions. Its tests run where HANSE_INTEROP names the other one's adapter, as in
// `make interop` (Synapse) and `make interop-dendrite`.
package interop
