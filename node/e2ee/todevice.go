package e2ee

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/id"
	"hanse/node/store"
)

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
			return federation.InvalidParam("messages are not all for users")
		}
		for _, content := range devices {
			if !isObject(content) {
				return federation.BadJSON("a message's content is not an object")
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
	deliver, err := e.expand(ctx, sender, typ, local)
	if err != nil {
		return err
	}
	var edus []store.QueuedEDU
	var servers []id.ServerName
	for server, messages := range remote {
		content, err := canonicaljson.Marshal(federation.DirectToDevice{
			Sender: sender, Type: typ, MessageID: rand.Text(), Messages: messages,
		})
		if err != nil {
			return federation.BadJSON("a message's content is not JSON as Matrix has it")
		}
		servers = append(servers, server)
		edus = append(edus, store.QueuedEDU{
			Type: federation.EDUDirectToDevice, Content: content, Destinations: []id.ServerName{server}, Keep: true,
		})
	}
	seen := store.SeenHash("client", string(sender), device, typ, txn)
	if err := e.store.SaveToDevice(ctx, seen, deliver, edus...); err != nil {
		return err
	}
	e.config.Wake(servers...)
	return nil
}

func isObject(raw json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(raw, &object) == nil && object != nil
}

// expand makes what each device of ours gets.
func (e *E2EE) expand(ctx context.Context, sender id.UserID, typ string, messages Messages) ([]store.ToDevice, error) {
	var all []store.ToDevice
	size := 0
	for user, devices := range messages {
		for device, content := range devices {
			message, err := json.Marshal(map[string]any{"sender": sender, "type": typ, "content": content})
			if err != nil {
				return nil, federation.BadJSON("a message's content is not JSON")
			}
			names := []string{device}
			if device == "*" {
				list, err := e.store.Devices(ctx, user)
				if err != nil {
					return nil, err
				}
				names = nil
				for _, d := range list {
					names = append(names, d.ID)
				}
			}
			size += len(names) * len(message)
			if len(all)+len(names) > maxDelivered || size > maxDeliveredBytes {
				return nil, federation.TooLarge("these are too many messages at once")
			}
			for _, name := range names {
				all = append(all, store.ToDevice{User: user, Device: name, Message: message})
			}
		}
	}
	return all, nil
}

// receiveToDevice takes m.direct_to_device. A message_id that was taken is not taken again.
//
// spec:server-server-api#send-to-device-messaging
func (e *E2EE) receiveToDevice(ctx context.Context, origin id.ServerName, content json.RawMessage) error {
	var edu federation.DirectToDevice
	if json.Unmarshal(content, &edu) != nil || edu.MessageID == "" || edu.Type == "" || len(edu.Type) > maxNameBytes {
		return nil
	}
	sender, err := id.ParseUserID(string(edu.Sender))
	if err != nil || sender.Server() != origin {
		return nil
	}
	ours := Messages{}
	for text, devices := range edu.Messages {
		user, err := id.ParseUserID(string(text))
		if err != nil || user.Server() != e.config.Self {
			continue
		}
		ours[user] = map[string]json.RawMessage{}
		for device, content := range devices {
			if isObject(content) {
				ours[user][device] = content
			}
		}
	}
	deliver, err := e.expand(ctx, sender, edu.Type, ours)
	if refused, ok := err.(*federation.Error); ok {
		e.log.Warn("messages to devices are refused", "origin", origin, "reason", refused.Message)
		return nil
	}
	if err != nil || len(deliver) == 0 {
		return err
	}
	return e.store.SaveToDevice(ctx, store.SeenHash("server", string(origin), edu.MessageID), deliver)
}
