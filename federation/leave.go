package federation

// SendLeaveResponse is the answer of PUT /send_leave (v2): an empty object.
//
// spec:server-server-api#leaving-rooms-rejecting-invites
type SendLeaveResponse struct{}
