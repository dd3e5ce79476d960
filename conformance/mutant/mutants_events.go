package mutant

import (
	"net/http"
	"slices"
	"strings"
)

// isEvent tells whether a client asks for one event.
func isEvent(x *Exchange) bool {
	return x.is(http.MethodGet, clientV3+"rooms/") && strings.Contains(x.URI, "/event/")
}

func isMessages(x *Exchange) bool {
	return x.is(http.MethodGet, clientV3+"rooms/") && strings.Contains(x.URI, "/messages?")
}

// showsAll shows clients every event that a peer sent, whatever was made of it.
func showsAll(x *Exchange) {
	switch {
	case isEvent(x) && x.Status == http.StatusNotFound && x.seen(pathText(x)):
		x.say(http.StatusOK, `{"type":"m.room.message","content":{},"event_id":"$x"}`)
	case isMessages(x) && !strings.Contains(x.URI, "from="):
		x.front.mu.Lock()
		seen := slices.Clone(x.front.seen)
		x.front.mu.Unlock()
		x.answer(func(f map[string]any) {
			for _, eventID := range seen {
				if !strings.Contains(string(x.Answer), eventID) {
					f["chunk"] = append([]any{map[string]any{"event_id": eventID, "type": "m.room.message", "content": map[string]any{}, "sender": "@x:y"}}, f["chunk"].([]any)...)
				}
			}
		})
	}
}

// hidesAll shows clients no event that a peer sent.
func hidesAll(x *Exchange) {
	switch {
	case isEvent(x) && x.Status == http.StatusOK && x.seen(pathText(x)):
		x.refuse(http.StatusNotFound, "M_NOT_FOUND")
	case isMessages(x):
		x.answer(func(f map[string]any) {
			f["chunk"] = slices.DeleteFunc(f["chunk"].([]any), func(e any) bool {
				eventID, _ := e.(map[string]any)["event_id"].(string)
				return x.seen(eventID)
			})
		})
	}
}

func receipts() []Mutant {
	var list []Mutant
	shows := func(name, test string) { list = append(list, Mutant{Name: name, Test: test, Answer: showsAll}) }
	hides := func(name, test string) { list = append(list, Mutant{Name: name, Test: test, Answer: hidesAll}) }
	const dropped, format = "Checks on receipt: dropped an event without a good signature is dropped, the rest of its transaction handled ",
		"Checks on receipt: dropped an event that does not have its room version's format is dropped, the rest of its transaction handled "
	for _, kind := range []string{
		"signed with a key that is not published", "signed with another key under a published ID", "not signed", "signed by another server than the sender's",
		"in the name of a user of another server", "with a protected field changed after it was signed",
	} {
		shows("takes events: "+kind, dropped+kind)
	}
	for _, kind := range []string{
		"no type", "a type that is no text", "a type of 256 bytes", "a state key of 256 bytes", "a state key that is no text", "no sender", "a sender that is no user ID",
		"no content", "content that is a text", "no prev_events", "prev_events of numbers", "21 prev_events", "11 auth_events", "no auth_events", "no depth", "a depth that is a text",
		"a negative depth", "a depth beyond canonical JSON", "a time that is a text", "a fraction in the content", "an exponent in the content",
		"a number beyond 2^53 in the content", "more than 65536 bytes",
	} {
		shows("takes events with "+kind, format+kind)
	}
	const all = "Checks on receipt: dropped of the signatures of an event's server those by keys that are known and not expired must all be good, and no others "
	for _, kind := range []string{"a forged one by a second key", "one that is no Base64 by a second key"} {
		shows("takes events with a good signature and "+kind, all+kind)
	}
	for _, kind := range []string{"a forged one by an unknown key", "a forged one by an expired key", "one by an unknown algorithm"} {
		hides("drops events with a good signature and "+kind, all+kind)
	}
	const rejected = "Checks on receipt: rejected "
	shows("takes events that rest on rejected ones", rejected+"an event that rests on a rejected one is rejected")
	shows("takes events of banned users", rejected+"a banned user's events are rejected")
	shows("takes events with auth events of other rooms", rejected+"an event with an auth event of another room is rejected")
	const soft = "Checks on receipt: soft-failed "
	shows("shows what evades a ban", soft+"an event that evades a ban is neither shown nor referred to")
	shows("shows what is referred to later", soft+"an event that refers to it is handled as normal")
	hides("drops what refers to a soft-failed event", soft+"an event that refers to it is handled as normal")
	hides("drops events that are right", "Checks on receipt: dropped an event that was made the same way, but right, is taken")
	hides("drops the largest events", "Checks on receipt: dropped takes an event of exactly 65536 bytes")
	hides("wants canonical JSON in version 5", "Checks on receipt: dropped takes fractions in a room of version 5, whose servers must not enforce canonical JSON")
	hides("drops the rest of a transaction with unknown rooms", "Checks on receipt: dropped does not stumble over events of rooms that it doesn't know")
	hides("drops events whose content hash is wrong", "Checks on receipt: redacted an event whose content hash is wrong is redacted")
	hides("drops events that come late", "Messages takes an event that is sent long after it was made")
	hides("loses what comes after a gap", "Missing events: a gap is filled from the server that sent what comes after it in room version 10")
	list = append(list, answering("refuses full transactions", "Checks on receipt: dropped takes a transaction of 50 PDUs and 100 EDUs", http.MethodPut, federationV1+"send/", status(http.StatusBadRequest, "M_BAD_JSON")))
	for _, kind := range []string{"a list", "pdus that are a text", "51 PDUs", "101 EDUs"} {
		list = append(list, answering("takes as a transaction "+kind, "Checks on receipt: dropped what is no transaction is refused "+kind, http.MethodPut, federationV1+"send/", lets))
	}
	list = append(list,
		answering("answers a repeated transaction otherwise", "Checks on receipt: dropped handles a transaction once", http.MethodPut, federationV1+"send/", func(x *Exchange) {
			if x.count("sent") == 2 {
				x.say(http.StatusOK, `{"pdus":{}}`)
			}
		}),
		answering("fails a transaction for one wrong event", rejected+"an event that the state before it forbids is rejected a topic without the power", http.MethodPut, federationV1+"send/", status(http.StatusBadRequest, "M_BAD_JSON")),
		Mutant{Name: "shows redacted what it should have redacted", Test: "Checks on receipt: redacted an event whose content hash is wrong is redacted", Answer: func(x *Exchange) {
			if isEvent(x) {
				x.answer(func(f map[string]any) { f["content"] = map[string]any{"body": "changed on the way"} })
			}
		}},
		Mutant{Name: "keeps what a redaction takes away", Test: "Messages go both ways, with their redactions in room version 10", Answer: func(x *Exchange) {
			if isEvent(x) {
				x.answer(func(f map[string]any) { f["content"] = map[string]any{"body": "still here"} })
			}
		}},
		Mutant{Name: "applies redactions without the power", Test: "Messages a redaction without the power is not applied version 11", Answer: func(x *Exchange) {
			if isEvent(x) {
				x.answer(func(f map[string]any) { f["content"] = map[string]any{} })
			}
		}},
		Mutant{Name: "takes rejected state", Test: rejected + "an event that the state before it forbids is rejected the state of another user", Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"rooms/") && strings.Contains(x.URI, "/state/org.example.mood/") {
				x.say(http.StatusOK, `{"mood":"good"}`)
			}
		}})
	for version, what := range map[string]string{"1": "version 1", "9": "version 2", "12": "version 2.1"} {
		list = append(list, answering("resolves state to another by "+what+" of the algorithm", "State resolution in room version "+version+" a ban against a change of power levels by who is banned", "", federationV1+"state_ids/",
			func(x *Exchange) {
				x.answer(func(f map[string]any) { f["pdu_ids"] = f["pdu_ids"].([]any)[1:] })
			}))
	}
	return list
}

func sending() []Mutant {
	const both, formats, odd = "Messages go both ways, with their redactions in room version 10", "Events of each room version in room version 10 have the ID, the hash, the signature and the auth events that the specification computes",
		"Events of each room version in room version 10 have canonical JSON where it is hard to get right, both ways"
	message := func(name, test string, change func(fields map[string]any)) Mutant {
		return Mutant{Name: name, Test: test, Sends: func(x *Exchange) { x.forgeEach("m.room.message", change) }}
	}
	const ephemeral = "Messages typing and receipts go both ways"
	without := func(eduType string) func(x *Exchange) {
		return func(x *Exchange) {
			if x.is(http.MethodPut, federationV1+"send/") {
				x.body(func(txn map[string]any) {
					edus, _ := txn["edus"].([]any)
					txn["edus"] = slices.DeleteFunc(edus, func(e any) bool { return e.(map[string]any)["edu_type"] == eduType })
				})
			}
		}
	}
	const shown = "Presence of another server's user is shown to those who share a room"
	return []Mutant{
		{Name: "tells nobody who is there", Test: "Presence is told to the servers in a user's rooms, and to no others", Sends: without("m.presence")},
		fields("shows everybody as online", shown, clientV3+"presence/", func(f map[string]any) { f["presence"] = "online" }),
		fields("leaves presence out of a client's sync", shown, clientV3+"sync", func(f map[string]any) { delete(f, "presence") }),
		{Name: "sends no events", Test: both, Sends: func(x *Exchange) { x.Dropped = x.is(http.MethodPut, federationV1+"send/") }},
		{Name: "hashes events wrongly", Test: formats, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, federationV1+"send/") {
				x.body(func(txn map[string]any) {
					for _, pdu := range txn["pdus"].([]any) {
						pdu.(map[string]any)["hashes"] = map[string]any{"sha256": "AAAA"}
					}
				})
			}
		}},
		message("refers to no auth events", formats, func(f map[string]any) { f["auth_events"] = []any{} }),
		message("refers to one auth event too many", formats, func(f map[string]any) {
			f["auth_events"] = append(f["auth_events"].([]any), f["prev_events"].([]any)...)
		}),
		message("gives the client another event's ID", formats, func(f map[string]any) { f["depth"] = 99 }),
		{Name: "signs events wrongly", Test: odd, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, federationV1+"send/") {
				x.body(func(txn map[string]any) {
					for _, pdu := range txn["pdus"].([]any) {
						for _, keys := range pdu.(map[string]any)["signatures"].(map[string]any) {
							for keyID := range keys.(map[string]any) {
								keys.(map[string]any)[keyID] = strings.Repeat("A", 86)
							}
						}
					}
				})
			}
		}},
		message("loses odd characters", odd, func(f map[string]any) { f["content"].(map[string]any)["body"] = "plain" }),
		message("refers to one end of the room only", "Messages refers to all ends of the room", func(f map[string]any) { f["prev_events"] = f["prev_events"].([]any)[:1] }),
		{Name: "sends no typing", Test: ephemeral, Sends: without("m.typing")},
		{Name: "sends no receipts", Test: ephemeral, Sends: without("m.receipt")},
		{Name: "types for another user", Test: ephemeral, Sends: func(x *Exchange) {
			x.Body = []byte(strings.Replace(string(x.Body), `"typing":true`, `"typing":false`, 1))
			x.signRequest()
		}},
		{Name: "shows typing of forged users", Test: ephemeral, Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.Answer = []byte(strings.Replace(string(x.Answer), `"user_ids":[`, `"user_ids":["@forged:elsewhere.test",`, 1))
			}
		}},
		{Name: "sends events in another order", Test: "Restart sends a room's events in their order, at most 50 at a time", Sends: func(x *Exchange) {
			if x.is(http.MethodPut, federationV1+"send/") {
				x.body(func(txn map[string]any) { slices.Reverse(txn["pdus"].([]any)) })
			}
		}},
		{Name: "does not try again", Test: "Restart goes on where the other server was down for a while", Sends: func(x *Exchange) {
			x.Dropped = x.is(http.MethodPut, federationV1+"send/") && x.count("sent") > 1
		}},
		{Name: "asks no policy server", Test: "Policy servers are asked before an event is sent, and their signature goes with it", Sends: func(x *Exchange) {
			x.forgeEach("m.room.message", func(map[string]any) {})
		}},
		{Name: "tells clients nothing of a policy server's refusal", Test: "Policy servers that refuse are obeyed, and the client is told", Answer: func(x *Exchange) {
			if x.is(http.MethodPut, clientV3+"rooms/") {
				x.refuse(http.StatusInternalServerError, "M_UNKNOWN")
			}
		}},
		{Name: "shows what a policy server does not sign", Test: "Policy servers make that an event with their signature is taken, and one that they don't sign is soft-failed", Answer: showsAll},
		{Name: "does not ask a policy server for what is missing", Test: "Policy servers are asked for a signature that is missing", Answer: hidesAll},
	}
}

func history() []Mutant {
	const asked, between, back = "Missing events: asked for ", "Missing events: asked for get_missing_events gives what lies between", "Missing events: asked for backfill gives events and those before them"
	const state = "Missing events: asked for state, state_ids and event_auth give the state before an event in room version 10"
	list := []Mutant{
		fields("gives missing events beyond the limit", between, federationV1+"get_missing_events/", func(f map[string]any) { f["events"] = append(f["events"].([]any), f["events"].([]any)...) }),
		fields("gives no missing events", between, federationV1+"get_missing_events/", func(f map[string]any) { f["events"] = []any{} }),
		fields("backfills without the event that was asked for", back, federationV1+"backfill/", func(f map[string]any) { f["pdus"] = f["pdus"].([]any)[1:] }),
		fields("backfills with a wrong hash", back, federationV1+"backfill/", func(f map[string]any) {
			for _, pdu := range f["pdus"].([]any) {
				pdu.(map[string]any)["origin_server_ts"] = 1
			}
		}),
		answering("gives events that are not there", asked+"event gives one event", "", federationV1+"event/", func(x *Exchange) {
			if x.Status == http.StatusNotFound {
				x.say(http.StatusOK, `{"pdus":[{}]}`)
			}
		}),
		fields("gives state without an event", state, federationV1+"state_ids/", func(f map[string]any) { f["pdu_ids"] = f["pdu_ids"].([]any)[1:] }),
		fields("gives the state after in place of before", state, federationV1+"state_ids/", func(f map[string]any) { f["pdu_ids"] = append(f["pdu_ids"].([]any), "$after") }),
		fields("gives state that is not that of state_ids", state, federationV1+"state/", func(f map[string]any) { f["pdus"] = f["pdus"].([]any)[1:] }),
		fields("gives an auth chain that lacks an event", state, federationV1+"event_auth/", func(f map[string]any) { f["auth_chain"] = f["auth_chain"].([]any)[1:] }),
		answering("knows the state at unknown events", state, "", federationV1+"state_ids/", func(x *Exchange) {
			if x.Status == http.StatusNotFound {
				x.say(http.StatusOK, `{"pdu_ids":[],"auth_chain_ids":[]}`)
			}
		}),
		answering("gives in clear what a server may not see", asked+"what a server may not see of the time before it came is not given in clear", "", federationV1, func(x *Exchange) {
			if x.is("", federationV1+"backfill/") {
				x.say(http.StatusOK, `{"pdus":[{"content":{"body":"before you came"}}]}`)
			}
		}),
		fields("finds another event by time", "History by time timestamp_to_event finds the closest event, forwards and backwards", federationV1+"timestamp_to_event/", func(f map[string]any) { f["event_id"] = "$other" }),
		answering("finds an event in the future", "History by time timestamp_to_event finds the closest event, forwards and backwards", "", federationV1+"timestamp_to_event/", lets),
		answering("tells strangers of a room's time", "History by time timestamp_to_event tells nothing to who is not in the room", "", federationV1+"timestamp_to_event/", lets),
		{Name: "does not ask for what is before a join", Test: "Missing events: a gap before the join is filled when a user looks back", Answer: func(x *Exchange) {
			if isMessages(x) {
				x.answer(func(f map[string]any) { f["chunk"] = []any{} })
			}
		}},
		{Name: "fills a gap with lies", Test: "Missing events: a gap that is filled with lies is not filled", Sends: func(x *Exchange) { x.Dropped = x.is("", federationV1+"get_missing_events") }, Answer: hidesAll},
		{Name: "asks for no missing events", Test: "Missing events: a gap of state is filled, and the state counts", Sends: func(x *Exchange) { x.Dropped = true }},
	}
	for _, endpoint := range []string{"event", "state", "state_ids", "event_auth", "backfill", "get_missing_events"} {
		path := federationV1 + endpoint + "/"
		list = append(list,
			answering("gives strangers: "+endpoint, asked+"a server that is not in the room gets nothing Entry: "+endpoint, "", path, lets),
			answering("gives something of another room: "+endpoint, asked+"an event of another room gives nothing of it Entry: "+endpoint, "", path, func(x *Exchange) { x.say(http.StatusOK, `{"pdus":[{"content":{"body":"a secret"}}]}`) }))
	}
	return list
}

func invites() []Mutant {
	const theirs, ours, v2 = "Invites a user of another server is invited in room version 10", "Invites a user here is invited in room version 10", federationV2 + "invite/"
	body := func(name string, change func(fields map[string]any)) Mutant {
		return Mutant{Name: name, Test: theirs, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, v2) {
				x.body(change)
			}
		}}
	}
	list := []Mutant{
		body("invites without the create event", func(f map[string]any) {
			f["invite_room_state"] = slices.DeleteFunc(f["invite_room_state"].([]any), func(e any) bool { return e.(map[string]any)["type"] == "m.room.create" })
		}),
		body("invites with state that is stripped", func(f map[string]any) {
			for _, e := range f["invite_room_state"].([]any) {
				delete(e.(map[string]any), "signatures")
				delete(e.(map[string]any), "hashes")
				delete(e.(map[string]any), "depth")
			}
		}),
		body("invites with another room version", func(f map[string]any) { f["room_version"] = "9" }),
		body("invites with an event that is not signed", func(f map[string]any) { f["event"].(map[string]any)["signatures"] = map[string]any{} }),
		body("invites to another room", func(f map[string]any) { f["event"].(map[string]any)["room_id"] = "!other:x.test" }),
		fields("answers an invite without its signature", ours, v2, func(f map[string]any) {
			signatures := f["event"].(map[string]any)["signatures"].(map[string]any)
			for server := range signatures {
				if !strings.HasPrefix(server, "peer") {
					delete(signatures, server)
				}
			}
		}),
		fields("answers an invite with another event", ours, v2, func(f map[string]any) { f["event"].(map[string]any)["depth"] = 99 }),
		answering("answers invites in the first form by the second", "Invites takes an invite in the first form of the request", "", federationV1+"invite/", func(x *Exchange) { x.say(http.StatusOK, `{"event":{}}`) }),
		answering("takes invites to rooms of unknown versions", "Invites refuses an invite to a room of a version that it doesn't know", "", v2, lets),
		answering("refuses unknown versions with another code", "Invites refuses an invite to a room of a version that it doesn't know", "", v2, status(http.StatusBadRequest, "M_UNSUPPORTED_ROOM_VERSION")),
		answering("takes invites without the create event in version 12", "Invites checks the create event of a room whose ID it is", "", v2, lets),
		{Name: "shows no invites", Test: ours, Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.answer(func(f map[string]any) { delete(f, "rooms") })
			}
		}},
		{Name: "tells nobody that an invite is rejected", Test: "Invites a user here rejects an invite", Sends: func(x *Exchange) {
			x.Dropped = x.is("", federationV1+"make_leave/") || x.is("", federationV2+"send_leave/")
		}},
	}
	for _, kind := range []string{"a bad signature", "a message", "a join", "another type", "a user of another server", "a sender of another server"} {
		list = append(list, answering("signs what is no good invite: "+kind, "Invites an event that is no good invite is not signed "+kind, "", v2, lets))
	}
	for _, kind := range []string{"it refuses", "it answers with another event", "it answers with something that is no event"} {
		list = append(list, answering("invites though the other server does not sign: "+kind, "Invites an invite that the other server does not sign does not happen "+kind, http.MethodPost, clientV3+"rooms/", lets))
	}
	return list
}

func access() []Mutant {
	var list []Mutant
	for endpoint, path := range map[string]string{
		"make_join": "v1/make_join/", "make_leave": "v1/make_leave/", "make_knock": "v1/make_knock/", "send_join v1": "v1/send_join/", "send_join v2": "v2/send_join/",
		"send_leave v1": "v1/send_leave/", "send_leave v2": "v2/send_leave/", "send_knock": "v1/send_knock/", "state": "v1/state/", "state_ids": "v1/state_ids/",
		"event_auth": "v1/event_auth/", "backfill": "v1/backfill/", "get_missing_events": "v1/get_missing_events/",
	} {
		list = append(list, answering("applies no ACL at "+endpoint, "Server ACLs protect the endpoints of a room "+endpoint, "", "/_matrix/federation/"+path, func(x *Exchange) {
			if x.Status == http.StatusForbidden {
				x.say(http.StatusOK, `{}`)
			}
		}))
	}
	return append(list,
		answering("applies no ACL to events", "Server ACLs apply to each event of a transaction", http.MethodPut, federationV1+"send/", func(x *Exchange) {
			x.answer(func(f map[string]any) {
				for _, result := range f["pdus"].(map[string]any) {
					delete(result.(map[string]any), "error")
				}
			})
		}),
		Mutant{Name: "shows events that an ACL denies", Test: "Server ACLs apply to each event of a transaction", Answer: showsAll},
		Mutant{Name: "applies no ACL to typing", Test: "Server ACLs apply to typing", Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.answer(func(f map[string]any) {
					rooms, _ := f["rooms"].(map[string]any)
					joined, _ := rooms["join"].(map[string]any)
					for _, room := range joined {
						room.(map[string]any)["ephemeral"] = map[string]any{"events": []any{map[string]any{"type": "m.typing", "content": map[string]any{"user_ids": []any{x.typist()}}}}}
					}
				})
			}
		}})
}

func devices() []Mutant {
	const list, query, claim = "Devices and their keys user/devices tells a user's devices and their keys", "Devices and their keys user/keys/query tells the keys of users here, and nothing of others", "Devices and their keys a one-time key is given once"
	const come, change = "Messages to devices come from another server, once", "Devices and their keys a change of devices is told to the servers in the user's rooms"
	return []Mutant{
		fields("tells no devices", list, federationV1+"user/devices/", func(f map[string]any) { f["devices"] = []any{} }),
		fields("tells devices of another user", list, federationV1+"user/devices/", func(f map[string]any) { f["user_id"] = "@other:x.test" }),
		fields("tells no keys", query, federationV1+"user/keys/query", func(f map[string]any) { f["device_keys"] = map[string]any{} }),
		fields("claims no keys", claim, federationV1+"user/keys/claim", func(f map[string]any) { f["one_time_keys"] = map[string]any{} }),
		answering("gives a one-time key twice", claim, "", federationV1+"user/keys/claim", func(x *Exchange) {
			if x.count("claimed") > 1 {
				x.say(http.StatusOK, `{"one_time_keys":{"u":{"d":{"signed_curve25519:AAAAAQ":{}}}}}`)
			}
		}),
		{Name: "tells nobody of changed devices", Test: change, Sends: func(x *Exchange) {
			x.Body = []byte(strings.ReplaceAll(string(x.Body), "m.device_list_update", "m.something_else"))
			x.signRequest()
		}},
		{Name: "does not ask for other servers' devices", Test: "Devices and their keys another server's devices are asked for, and a change of them is seen", Sends: func(x *Exchange) {
			x.Dropped = strings.Contains(x.URI, "/user/")
		}},
		{Name: "does not tell whose devices need no keys any more", Test: "Devices and their keys a user with whom no encrypted room is shared any more is told of as one who left", Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.answer(func(f map[string]any) { delete(f, "device_lists") })
			}
		}},
		{Name: "shows messages to devices twice", Test: come, Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.answer(func(f map[string]any) {
					if toDevice, ok := f["to_device"].(map[string]any); ok {
						toDevice["events"] = append(toDevice["events"].([]any), toDevice["events"].([]any)...)
					}
				})
			}
		}},
		{Name: "loses messages to devices", Test: come, Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"sync") {
				x.answer(func(f map[string]any) { delete(f, "to_device") })
			}
		}},
		{Name: "sends no messages to devices", Test: "Messages to devices go to another server, after an outage too, in order", Sends: func(x *Exchange) {
			x.Body = []byte(strings.ReplaceAll(string(x.Body), "m.direct_to_device", "m.something_else"))
			x.signRequest()
		}},
	}
}

func clients() []Mutant {
	const api, form, strict = "The client-server API ", "The client-server API answers have the members that the specification requires", "The client-server API a sync is complete enough for strict clients"
	errors := api + "errors are standard errors "
	return []Mutant{
		answering("answers without a token with 403", errors+"no token", "", clientV3+"sync", status(http.StatusForbidden, "M_FORBIDDEN")),
		answering("answers unknown tokens as missing ones", errors+"an unknown token", "", clientV3+"sync", status(http.StatusUnauthorized, "M_MISSING_TOKEN")),
		answering("answers unknown paths with text", errors+"an unknown endpoint", "", clientV3+"nonsense", func(x *Exchange) { x.say(http.StatusNotFound, "nothing here") }),
		answering("answers unknown methods with 404 to clients", errors+"another method", http.MethodDelete, "/_matrix/client/versions", status(http.StatusNotFound, "M_UNRECOGNIZED")),
		answering("tells that a room is not there", errors+"a room that isn't there", "", clientV3+"rooms/", status(http.StatusNotFound, "M_NOT_FOUND")),
		answering("answers unknown aliases with 400", errors+"an unknown alias", "", clientV3+"directory/", status(http.StatusBadRequest, "M_INVALID_PARAM")),
		fields("gives members without a room_id", form, clientV3+"rooms/", func(f map[string]any) {
			chunk, _ := f["chunk"].([]any)
			for _, e := range chunk {
				delete(e.(map[string]any), "room_id")
			}
		}),
		fields("shows clients what is the federation's", form, clientV3+"rooms/", func(f map[string]any) {
			chunk, _ := f["chunk"].([]any)
			for _, e := range chunk {
				e.(map[string]any)["auth_events"] = []any{}
			}
		}),
		fields("syncs without next_batch", strict, clientV3+"sync", func(f map[string]any) { delete(f, "next_batch") }),
		fields("syncs without prev_batch", strict, clientV3+"sync", func(f map[string]any) {
			rooms, _ := f["rooms"].(map[string]any)
			joined, _ := rooms["join"].(map[string]any)
			for _, room := range joined {
				delete(room.(map[string]any)["timeline"].(map[string]any), "prev_batch")
			}
		}),
		answering("sends a repeated message twice", api+"a message is sent once per transaction ID", http.MethodPut, clientV3+"rooms/", func(x *Exchange) {
			if x.count("sent") == 2 {
				x.say(http.StatusOK, `{"event_id":"$second"}`)
			}
		}),
		answering("takes fractions from clients", api+"content that is not canonical JSON is refused where the room version says so", http.MethodPut, clientV3+"rooms/", lets),
		{Name: "upgrades rooms without a tombstone", Test: "Room upgrades leave a tombstone that other servers see, and a room that knows its predecessor", Sends: func(x *Exchange) { x.Dropped = x.is("", federationV1+"send/") }},
	}
}
