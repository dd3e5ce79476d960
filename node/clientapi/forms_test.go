package clientapi

import (
	. "github.com/onsi/ginkgo/v2"
)

// What is kept and given to others must have the form that the specification gives it, or they would get what they can't read.
var _ = Describe("wrong forms", func() {
	DescribeTable("in a body are refused", func(method, path string, body obj, code string) {
		alice := newWorld(nil).register("alice")
		if keys, ok := body["device_keys"].(obj); ok {
			keys["user_id"], keys["device_id"] = alice.id, fine(alice.get("/account/whoami")).text("device_id")
		}
		refused(alice.do(method, path, body), 400, code)
	},
		Entry("signatures of a device", "POST", "/keys/upload", obj{"device_keys": obj{"algorithms": []any{}, "keys": obj{}, "signatures": "x"}}, "M_BAD_JSON"),
		Entry("a signature of a device", "POST", "/keys/upload", obj{"device_keys": obj{"algorithms": []any{}, "keys": obj{}, "signatures": obj{"@a:b": obj{"ed25519:x": 7}}}}, "M_BAD_JSON"),
		Entry("a one-time key", "POST", "/keys/upload", obj{"one_time_keys": obj{"signed_curve25519:a": 7}}, "M_BAD_JSON"),
		Entry("what a one-time key is", "POST", "/keys/upload", obj{"one_time_keys": obj{"signed_curve25519:a": obj{"key": obj{}}}}, "M_BAD_JSON"),
		Entry("a fallback key's signatures", "POST", "/keys/upload", obj{"fallback_keys": obj{"signed_curve25519:a": obj{"key": "k", "signatures": []any{}}}}, "M_BAD_JSON"),
		Entry("a pusher's format", "POST", "/pushers/set", pusher("https://gateway.test/_matrix/push/v1/notify", obj{"data": obj{"url": "https://gateway.test/_matrix/push/v1/notify", "format": 7}}), "M_INVALID_PARAM"),
		Entry("a backup without rooms", "PUT", "/room_keys/keys?version=1", obj{}, "M_MISSING_PARAM"),
		Entry("a backup of a room without sessions", "PUT", "/room_keys/keys/!r:hanse.test?version=1", obj{}, "M_MISSING_PARAM"),
	)

	DescribeTable("in a query are refused", func(path string) {
		alice := newWorld(nil).register("alice")
		refused(alice.get(path), 400, "M_INVALID_PARAM")
	},
		Entry("full_state", "/sync?full_state=x"),
		Entry("use_state_after", "/sync?use_state_after=x"),
		Entry("suggested_only", "/_matrix/client/v1/rooms/!r:hanse.test/hierarchy?suggested_only=x"),
		Entry("membership", "/rooms/!r:hanse.test/members?membership=x"),
		Entry("not_membership", "/rooms/!r:hanse.test/members?not_membership=x"),
	)
})
