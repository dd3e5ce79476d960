// Package interop proves Hanse against somebody else's work: it starts Hanse and Synapse through their adapters and lets
// users of both meet, in both directions. Its tests run where HANSE_INTEROP is set (`make interop`).
package interop
