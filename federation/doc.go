// Package federation holds the wire types of the server-server API, a file a group of endpoints, the X-Matrix
// authorisation header, and the standard Matrix error. It says what requests and answers look like; it decides
// nothing and does no IO. Events travel as raw JSON, since only a room's version tells how to read them.
//
// Decoding is tolerant where deployed servers need it (null for an empty list, unknown members) and strict where a
// wrong value would do harm (identifiers). Every list that a peer fills is bounded: see limits.go.
package federation
