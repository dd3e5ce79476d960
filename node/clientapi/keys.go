package clientapi

import (
	"encoding/json"
	"net/http"
	"time"

	"hanse/federation/id"
	"hanse/node/e2ee"
	"hanse/node/stream"
)

func (a *API) keysRoutes() []route {
	if a.config.Encryption == nil {
		return nil
	}
	return []route{
		{http.MethodPost, "/keys/upload", formerlyUnstable, withUser, ordinary, a.uploadKeys},
		{http.MethodPost, "/keys/query", formerlyUnstable, withUser, ordinary, a.queryKeys},
		{http.MethodPost, "/keys/claim", formerlyUnstable, withUser, ordinary, a.claimKeys},
		{http.MethodGet, "/keys/changes", formerlyUnstable, withUser, ordinary, a.keyChanges},
		{http.MethodPost, "/keys/signatures/upload", formerlyUnstable, withUser, ordinary, a.uploadSignatures},
		{http.MethodPost, "/keys/device_signing/upload", formerlyUnstable, withUser, ordinary, a.uploadSigningKeys},
		{http.MethodPut, "/sendToDevice/{eventType}/{txnId}", formerlyUnstable, withUser, ordinary, a.sendToDevice},
	}
}

// spec:client-server-api#post_matrixclientv3keysupload
func (a *API) uploadKeys(r *request) (any, error) {
	var req e2ee.Upload
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if r.device == "" {
		return nil, missingParam("device_id, in the query,") // of an application service
	}
	counts, err := a.config.Encryption.UploadKeys(r.Context(), r.user, r.device, req)
	return map[string]any{"one_time_key_counts": counts}, err
}

// spec:client-server-api#post_matrixclientv3keysquery
func (a *API) queryKeys(r *request) (any, error) {
	var req struct {
		DeviceKeys map[id.UserID][]string `json:"device_keys"`
		Timeout    int64                  `json:"timeout"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.DeviceKeys == nil {
		return nil, missingParam("device_keys")
	}
	return a.config.Encryption.Query(r.Context(), r.user, req.DeviceKeys, milliseconds(req.Timeout))
}

// milliseconds is a client's timeout, whatever it says.
func milliseconds(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), maxSyncTimeout.Milliseconds())) * time.Millisecond
}

// spec:client-server-api#post_matrixclientv3keysclaim
func (a *API) claimKeys(r *request) (any, error) {
	var req struct {
		OneTimeKeys map[id.UserID]map[string]string `json:"one_time_keys"`
		Timeout     int64                           `json:"timeout"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.OneTimeKeys == nil {
		return nil, missingParam("one_time_keys")
	}
	return a.config.Encryption.Claim(r.Context(), req.OneTimeKeys, milliseconds(req.Timeout))
}

// spec:client-server-api#get_matrixclientv3keyschanges
func (a *API) keyChanges(r *request) (any, error) {
	from, err := stream.ParseToken(r.URL.Query().Get("from"))
	if err != nil {
		return nil, invalidParam("from: %v", err)
	}
	to, err := stream.ParseToken(r.URL.Query().Get("to"))
	if err != nil {
		return nil, invalidParam("to: %v", err)
	}
	lists, err := a.config.Sync.DeviceLists(r.Context(), r.user, from.Position, to.Position)
	return deviceListsForm(lists), err
}

// spec:client-server-api#post_matrixclientv3keyssignaturesupload
func (a *API) uploadSignatures(r *request) (any, error) {
	var req map[id.UserID]map[string]json.RawMessage
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	refused, err := a.config.Encryption.UploadSignatures(r.Context(), r.user, req)
	return map[string]any{"failures": refused}, err
}

// spec:client-server-api#post_matrixclientv3keysdevice_signingupload
func (a *API) uploadSigningKeys(r *request) (any, error) {
	var req struct {
		e2ee.SigningKeys
		Auth json.RawMessage `json:"auth"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	replaces, err := a.config.Encryption.Replaces(r.Context(), r.user, req.SigningKeys)
	if err != nil {
		return nil, err
	}
	upload := func() (any, error) {
		return nil, a.config.Encryption.UploadSigningKeys(r.Context(), r.user, req.SigningKeys)
	}
	switch {
	case !replaces || r.service != nil: // spec:application-service-api#cross-signing
		return upload()
	case r.oauth:
		return a.withAccountPage(r, req.Auth, upload)
	}
	return a.withPassword(r, req.Auth, upload)
}

// spec:client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
func (a *API) sendToDevice(r *request) (any, error) {
	typ, err := r.name("eventType")
	if err != nil {
		return nil, err
	}
	txn, err := r.txnID()
	if err != nil {
		return nil, err
	}
	var req struct {
		Messages e2ee.Messages `json:"messages"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if req.Messages == nil {
		return nil, missingParam("messages")
	}
	again, err := a.config.Encryption.Sent(r.Context(), r.user, r.txnDevice(), typ, txn)
	if err != nil || again {
		return nil, err
	}
	putBack, err := a.limitToDevice(r, req.Messages)
	if err != nil {
		return nil, err
	}
	if err := a.config.Encryption.Send(r.Context(), r.user, r.txnDevice(), typ, txn, req.Messages); err != nil {
		putBack()
		return nil, err
	}
	return nil, nil
}

// limitToDevice holds messages to devices against how many bytes one may send to another, and to all: they wait for as long as their device doesn't
// take them, and nobody drops them, so that anybody could fill the disk, and another's /sync for days. putBack is for who doesn't send them after all.
func (a *API) limitToDevice(r *request, messages e2ee.Messages) (putBack func(), err error) {
	if a.sharer(r) == "" {
		return func() {}, nil
	}
	weights, err := a.config.Encryption.Weigh(r.Context(), messages)
	if err != nil {
		return nil, err
	}
	all := 0
	for _, weight := range weights {
		all += weight
	}
	var taken []func()
	putBack = func() {
		for _, put := range taken {
			put()
		}
	}
	put, err := a.limiter.takeMany(toDevices, string(r.user), all)
	if err != nil {
		return nil, err
	}
	taken = append(taken, put)
	for recipient, weight := range weights {
		put, err := a.toDevices.takeMany(toDevice, string(r.user)+" to "+string(recipient), weight)
		if err != nil {
			putBack()
			return nil, err
		}
		taken = append(taken, put)
	}
	return putBack, nil
}
