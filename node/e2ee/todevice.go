package e2ee

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// allDevices stands for all of a user's devices.
const allDevices = "*"

var errNoUser = federation.InvalidParam("messages are not all for users")

// Messages are contents by user and device, "*" for all of a user's devices.
type Messages map[id.UserID]map[string]json.RawMessage

// Send sends messages of a user of ours to devices; the same device and txn is the same request, which is done once.
//
// spec:client-server-api#put_matrixclientv3sendtodeviceeventtypetxnid
func (e *E2EE) Send(ctx context.Context, sender id.UserID, device, typ, txn string, messages Messages) error {
	local, remote := Messages{}, map[id.ServerName]Messages{}
	for text, devices := range messages {
		user, err := id.ParseUserID(string(text))
		if err != nil {
			return errNoUser
		}
		for _, content := range devices {
			if !isObject(content) {
				return federation.BadJSON("a message's content is not an object")
			}
			if len(content) > maxMessageBytes {
				return federation.TooLarge("a message to a device is too long")
			}
		}
		if user.Server() == e.config.Self {
			local[user] = devices
			continue
		}
		if remote[user.Server()] == nil {
			remote[user.Server()] = Messages{}
		}
		remote[user.Server()][user] = devices
	}
	request := store.ToDeviceRequest{Seen: sentBy(sender, device, typ, txn)}
	var err error
	if request.Messages, err = forDevices(sender, typ, local); err != nil {
		return err
	}
	var servers []id.ServerName
	for server, messages := range remote {
		content, err := canonicaljson.Marshal(federation.DirectToDevice{
			Sender: sender, Type: typ, MessageID: rand.Text(), Messages: messages,
		})
		if err != nil {
			return federation.BadJSON("a message's content is not JSON as Matrix has it")
		}
		servers = append(servers, server)
		request.EDUs = append(request.EDUs, store.QueuedEDU{
			Type: federation.EDUDirectToDevice, Content: content, Destinations: []id.ServerName{server}, Keep: true,
		})
	}
	refused, err := e.store.SaveToDevice(ctx, request)
	switch {
	case err != nil:
		return err
	case len(refused) > 0:
		return federation.TooLarge("these are too many messages at once")
	}
	e.config.Wake(servers...)
	return nil
}

// Sent tells whether Send has done a request of a user of ours already.
func (e *E2EE) Sent(ctx context.Context, sender id.UserID, device, typ, txn string) (bool, error) {
	return e.store.SeenToDevice(ctx, sentBy(sender, device, typ, txn))
}

// sentBy names a request of a user of ours.
func sentBy(sender id.UserID, device, typ, txn string) [sha256.Size]byte {
	return store.SeenHash("client", string(sender), device, typ, txn)
}

// messageOverhead is about what a message that waits takes beside its content, in bytes.
const messageOverhead = 256

// Weigh tells how many bytes messages are for each user, each device of ours counted that gets one.
func (e *E2EE) Weigh(ctx context.Context, messages Messages) (map[id.UserID]int, error) {
	var all []id.UserID // those of ours with messages for all of their devices
	for user, devices := range messages {
		if _, err := id.ParseUserID(string(user)); err != nil {
			return nil, errNoUser
		}
		if _, told := devices[allDevices]; told && user.Server() == e.config.Self {
			all = append(all, user)
		}
	}
	counts, err := e.store.DeviceCounts(ctx, all...)
	if err != nil {
		return nil, err
	}
	weights := map[id.UserID]int{}
	for user, devices := range messages {
		for device, content := range devices {
			count := 1
			if device == allDevices && user.Server() == e.config.Self {
				count = counts[user]
			}
			weights[user] += count * (len(content) + messageOverhead)
		}
	}
	return weights, nil
}

func isObject(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return exactjson.Unmarshal(raw, &object) == nil && object != nil
}

// forDevices makes of contents what devices of ours get.
func forDevices(sender id.UserID, typ string, messages Messages) ([]store.ToDevice, error) {
	var all []store.ToDevice
	for user, devices := range messages {
		for device, content := range devices {
			message, err := json.Marshal(map[string]any{"sender": sender, "type": typ, "content": content})
			if err != nil {
				return nil, federation.BadJSON("a message's content is not JSON")
			}
			all = append(all, store.ToDevice{User: user, Device: device, Message: message})
		}
	}
	return all, nil
}

// receiveToDevice takes EDUs of m.direct_to_device, in one transaction. A message_id that was taken is not taken again.
// The access control lists of rooms have no say: the messages are of no room.
//
// spec:server-server-api#send-to-device-messaging
func (e *E2EE) receiveToDevice(ctx context.Context, origin id.ServerName, edus []federation.EDU) error {
	var requests []store.ToDeviceRequest
	for _, edu := range edus {
		if request, ok := e.readDirectToDevice(origin, edu.Content); ok {
			requests = append(requests, request)
		}
	}
	if len(requests) == 0 {
		return nil
	}
	if err := e.markStrangers(ctx, origin, requests); err != nil {
		return err
	}
	refused, err := e.store.SaveToDevice(ctx, requests...)
	if len(refused) > 0 {
		e.log.Warn("messages to devices are dropped: each would become too many", "origin", origin, "edus", len(refused))
	}
	return err
}

// markStrangers marks the messages of a server for users with whom it shares no room.
func (e *E2EE) markStrangers(ctx context.Context, origin id.ServerName, requests []store.ToDeviceRequest) error {
	users := map[id.UserID]bool{}
	for _, request := range requests {
		for _, m := range request.Messages {
			users[m.User] = true
		}
	}
	strangers, err := e.store.Strangers(ctx, origin, slices.Collect(maps.Keys(users)))
	for _, request := range requests {
		for i := range request.Messages {
			request.Messages[i].Stranger = strangers[request.Messages[i].User]
		}
	}
	return err
}

// readDirectToDevice reads what of an EDU is for devices of ours; false if there is nothing, or the server may not say it.
func (e *E2EE) readDirectToDevice(origin id.ServerName, content json.RawMessage) (store.ToDeviceRequest, bool) {
	var edu federation.DirectToDevice
	if exactjson.Unmarshal(content, &edu) != nil || edu.MessageID == "" || edu.Type == "" || len(edu.Type) > maxNameBytes {
		return store.ToDeviceRequest{}, false
	}
	sender, err := id.ParseUserID(string(edu.Sender))
	if err != nil || sender.Server() != origin {
		return store.ToDeviceRequest{}, false
	}
	ours := Messages{}
	for text, devices := range edu.Messages {
		user, err := id.ParseUserID(string(text))
		if err != nil || user.Server() != e.config.Self {
			continue
		}
		ours[user] = map[string]json.RawMessage{}
		for device, content := range devices {
			if len(content) <= maxMessageBytes && isObject(content) {
				ours[user][device] = content
			}
		}
	}
	request := store.ToDeviceRequest{Seen: store.SeenHash("server", string(origin), edu.MessageID)}
	request.Messages, err = forDevices(sender, edu.Type, ours)
	for i := range request.Messages {
		request.Messages[i].Sender = sender
	}
	return request, err == nil && len(request.Messages) > 0
}
