package mutant

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hanse/conformance/spec"
	"hanse/conformance/suite"
)

const (
	federationV1 = "/_matrix/federation/v1/"
	federationV2 = "/_matrix/federation/v2/"
	clientV3     = "/_matrix/client/v3/"
)

// All are the mutants.
func All() []Mutant {
	return slices.Concat(signing(), keysAndQueries(), discovery(), joins(), invites(), history(), receipts(), sending(), access(), devices(), clients(), further(), ruleMutants(), definitions())
}

// answering makes a mutant of answers to requests for a path.
func answering(name, test, method, path string, change func(x *Exchange)) Mutant {
	return Mutant{Name: name, Test: test, Answer: func(x *Exchange) {
		if x.is(method, path) {
			change(x)
		}
	}}
}

// fields makes a mutant of the members of answers to requests for a path.
func fields(name, test, path string, change func(fields map[string]any)) Mutant {
	return answering(name, test, "", path, func(x *Exchange) { x.answer(change) })
}

func status(code int, matrix string) func(x *Exchange) {
	return func(x *Exchange) { x.refuse(code, matrix) }
}

// lets turns refusals into success.
func lets(x *Exchange) {
	if x.Status >= 400 {
		x.say(http.StatusOK, `{}`)
	}
}

func signing() []Mutant {
	const profile = federationV1 + "query/profile"
	var list []Mutant
	for _, attempt := range []string{
		"no signature", "garbage", "a client's token", "a signature that is no Base64", "a signature of another request", "a signature for another method",
		"a key that the server does not publish", "another key under the same ID", "in the name of another server", "in the name of a server that can't be found",
		"in the name of the server itself",
	} {
		list = append(list, answering("takes requests signed so: "+attempt, "Request signing requests that are not signed rightly are refused "+attempt, http.MethodGet, profile, lets))
	}
	list = append(list, answering("takes a body other than the signed one", "Request signing requests that are not signed rightly are refused a body other than the signed one", http.MethodPut, federationV1+"send/", lets),
		answering("takes requests with old keys", "Request signing refuses a key that its server lists as old", http.MethodGet, profile, lets),
		answering("takes key documents that nobody signed", "Request signing refuses a key document that is not signed by its own key", http.MethodGet, profile, lets),
		answering("refuses without an errcode", "Request signing requests that are not signed rightly are refused no signature", http.MethodGet, profile, func(x *Exchange) { x.say(http.StatusUnauthorized, `{}`) }),
		answering("refuses with 403 in place of 401", "Request signing requests that are not signed rightly are refused garbage", http.MethodGet, profile, status(http.StatusForbidden, "M_FORBIDDEN")),
		answering("never asks for a key again", "Request signing takes a new key once the server publishes it", http.MethodGet, profile, func(x *Exchange) {
			if x.count("asked") > 1 {
				x.refuse(http.StatusUnauthorized, "M_UNAUTHORIZED")
			}
		}))
	for _, destination := range []string{"another server", "the server's name with a port", "the host behind the name"} {
		list = append(list, answering("takes requests for another destination: "+destination, "Request signing requests for another destination are refused with 401 "+destination, http.MethodGet, profile, lets))
	}
	list = append(list, answering("wants the destination", "Request signing requests that are signed rightly are taken without the destination, as older servers send", http.MethodGet, profile, func(x *Exchange) {
		if !strings.Contains(x.Header.Get("Authorization"), "destination") {
			x.refuse(http.StatusUnauthorized, "M_UNAUTHORIZED")
		}
	}))
	for kind, pattern := range map[string]string{
		"with an unknown parameter": `colour=`, "with blanks and tabs around the commas": `\t`,
		"with several blanks after the scheme": `X-Matrix  `, "with names in capital letters": `ORIGIN=`, "in another order": `X-Matrix (sig|destination)`,
		"with values that are not quoted, colons included": `key=ed25519`, "with a value that has an escaped character": `\\`, "as usual": `.`,
	} {
		matches := regexp.MustCompile(pattern).MatchString
		list = append(list, answering("does not read the header "+kind, "Request signing requests that are signed rightly are taken "+kind, http.MethodGet, profile, func(x *Exchange) {
			if matches(x.Header.Get("Authorization")) {
				x.refuse(http.StatusUnauthorized, "M_UNAUTHORIZED")
			}
		}))
	}
	const own = "Request signing signs its own requests in the form that every server understands"
	for name, change := range map[string]func(header string) string{
		"sends names in capital letters":       func(h string) string { return strings.Replace(h, "origin=", "Origin=", 1) },
		"sends blanks around the commas":       func(h string) string { return strings.ReplaceAll(h, ",", ", ") },
		"sends no destination":                 func(h string) string { return regexp.MustCompile(`,?destination="[^"]*"`).ReplaceAllString(h, "") },
		"sends another server as its origin":   func(h string) string { return strings.Replace(h, `origin="`, `origin="x`, 1) },
		"sends a signature of another request": func(h string) string { return regexp.MustCompile(`sig="..`).ReplaceAllString(h, `sig="AA`) },
	} {
		list = append(list, Mutant{Name: name, Test: own, Sends: func(x *Exchange) { x.Header.Set("Authorization", change(x.Header.Get("Authorization"))) }})
	}
	return list
}

func keysAndQueries() []Mutant {
	const own, notary = "Keys publishes its keys, signed with them, without being asked who wants to know", "Keys answers for another server's keys, with its own signature besides"
	const server, query = "/_matrix/key/v2/server", "/_matrix/key/v2/query"
	const unknown = "Queries what it doesn't know is answered as the specification says "
	return []Mutant{
		fields("publishes another name", own, server, func(f map[string]any) { f["server_name"] = "other.test" }),
		fields("does not sign its keys", own, server, func(f map[string]any) { f["signatures"] = map[string]any{} }),
		fields("publishes keys that are not valid any more", own, server, func(f map[string]any) { f["valid_until_ts"] = 1 }),
		fields("publishes no key", own, server, func(f map[string]any) { f["verify_keys"] = map[string]any{} }),
		answering("wants a signature of who asks for keys", own, "", server, status(http.StatusUnauthorized, "M_UNAUTHORIZED")),
		answering("publishes keys as text", own, "", server, func(x *Exchange) { x.AnswerHeader.Set("Content-Type", "text/plain") }),
		fields("signs nothing as a notary", notary, query, func(f map[string]any) {
			for _, one := range f["server_keys"].([]any) {
				document := one.(map[string]any)
				name := document["server_name"].(string)
				document["signatures"] = map[string]any{name: document["signatures"].(map[string]any)[name]}
			}
		}),
		fields("forgets old keys as a notary", notary, query, func(f map[string]any) {
			for _, one := range f["server_keys"].([]any) {
				delete(one.(map[string]any), "old_verify_keys")
			}
		}),
		fields("answers for the first of several servers only", "Keys answers for several servers at once", query, func(f map[string]any) { f["server_keys"] = f["server_keys"].([]any)[:1] }),
		answering("fails for servers that don't answer", "Keys leaves out servers that don't answer", "", query, status(http.StatusInternalServerError, "M_UNKNOWN")),
		answering("vouches for unsigned keys", "Keys does not vouch for keys that their server has not signed", "", query, func(x *Exchange) { x.say(http.StatusOK, `{"server_keys":[{"server_name":"x"}]}`) }),
		answering("forgets keys of servers that are offline", "Keys answers from its cache for a server that is offline", "", query, func(x *Exchange) {
			if x.count("asked") > 1 {
				x.say(http.StatusOK, `{"server_keys":[]}`)
			}
		}),
		fields("tells no name", "Queries tells its name and version", federationV1+"version", func(f map[string]any) { f["server"] = map[string]any{} }),
		answering("answers unknown endpoints with 400", unknown+"an unknown endpoint", "", federationV1+"nonsense", status(http.StatusBadRequest, "M_UNRECOGNIZED")),
		answering("answers unknown endpoints without a code", unknown+"an unknown version", "", "/_matrix/federation/v9", func(x *Exchange) { x.say(http.StatusNotFound, "not found") }),
		answering("answers unknown methods with 404", unknown+"another method", http.MethodDelete, federationV1, status(http.StatusNotFound, "M_UNRECOGNIZED")),
		fields("tells the wrong display name", "Queries answers for the profiles of its users", federationV1+"query/profile", func(f map[string]any) { f["displayname"] = "Nobody" }),
		fields("tells more of a profile than was asked", "Queries answers for the profiles of its users", federationV1+"query/profile", func(f map[string]any) { f["avatar_url"] = "mxc://x/y" }),
		answering("knows users who are not there", "Queries answers for the profiles of its users", "", federationV1+"query/profile", lets),
		fields("leads aliases to another room", "Queries answers where its aliases lead", federationV1+"query/directory", func(f map[string]any) { f["room_id"] = "!other:x.test" }),
		fields("leaves itself out of an alias's servers", "Queries answers where its aliases lead", federationV1+"query/directory", func(f map[string]any) { f["servers"] = []any{} }),
		fields("publishes no room", "Queries publishes its public rooms", federationV1+"publicRooms", func(f map[string]any) { f["chunk"] = []any{} }),
		{Name: "asks for the profile of another user", Test: "Queries asks other servers for the profiles of theirs", Sends: func(x *Exchange) {
			x.URI = strings.Replace(x.URI, "bob", "rob", 1)
			x.signRequest()
		}},
		{Name: "asks for another alias", Test: "Queries follows the aliases of other servers", Sends: func(x *Exchange) {
			x.URI = strings.Replace(x.URI, "harbour", "haven", 1)
			x.signRequest()
		}},
		fields("gives openid tokens to the wrong user", "OpenID a token that a user got tells who it is, and no other", federationV1+"openid/", func(f map[string]any) { f["sub"] = "@mallory:x.test" }),
		answering("takes any openid token", "OpenID a token that a user got tells who it is, and no other", "", federationV1+"openid/userinfo?access_token=nonsense", lets),
		answering("gives openid tokens for other users", "OpenID a token for another user is not given", http.MethodPost, clientV3+"user/", lets),
		answering("gives media without a signature", "Media is not given where there is none, nor without a signature", "", federationV1+"media/download/", func(x *Exchange) {
			if x.Status == http.StatusUnauthorized {
				x.say(http.StatusOK, "secret")
			}
		}),
		answering("gives media without its JSON part", "Media is given to other servers", "", federationV1+"media/", func(x *Exchange) {
			x.AnswerHeader.Set("Content-Type", "text/plain")
			x.Answer = []byte("a note")
		}),
		answering("gives other media", "Media is given to other servers", "", federationV1+"media/", func(x *Exchange) { x.Answer = []byte(strings.Replace(string(x.Answer), "a note", "a nope", 1)) }),
		answering("loses media of other servers", "Media of other servers is fetched for users here", "", "/_matrix/client/v1/media/", status(http.StatusNotFound, "M_NOT_FOUND")),
		answering("passes on what is no media", "Media an answer that is no media is not passed on plain JSON", "", "/_matrix/client/v1/media/", lets),
		fields("shows closed rooms of a space", "Spaces are shown to other servers, as far as they may see", federationV1+"hierarchy/", func(f map[string]any) { f["inaccessible_children"] = []any{} }),
		fields("shows a space without its children", "Spaces are shown to other servers, as far as they may see", federationV1+"hierarchy/", func(f map[string]any) { f["children"] = []any{} }),
		answering("shows closed spaces", "Spaces that are closed are not shown", "", federationV1+"hierarchy/", lets),
		fields("does not follow spaces to other servers", "Spaces of other servers are shown to users here", "/_matrix/client/v1/rooms/", func(f map[string]any) { f["rooms"] = f["rooms"].([]any)[:1] }),
	}
}

func discovery() []Mutant {
	var list []Mutant
	for _, test := range []string{
		"Discovery 1. takes an IP address with its port as it is", "Discovery 1. takes port 8448 of an IP address without a port", "Discovery 2. looks up the address of a name with a port",
		"Discovery 4. follows a service record _matrix-fed._tcp", "Discovery 5. follows a service record _matrix._tcp", "Discovery 6. takes port 8448 of a name's address otherwise",
		"Discovery by well-known 3.1 takes an IP address", "Discovery by well-known 3.2 looks up the address of a name with a port",
		"Discovery by well-known 3.3 follows a service record of the delegated name", "Discovery: well-known, further 3.4 follows a deprecated service record of the delegated name",
		"Discovery by well-known 3.5 takes port 8448 of the delegated name otherwise",
	} {
		list = append(list, Mutant{Name: "sends the machine as Host, at step " + strings.Fields(strings.TrimPrefix(strings.TrimPrefix(test, "Discovery: well-known, further "), "Discovery by well-known "))[0] + " " + test, Test: test,
			Sends: func(x *Exchange) { x.Host = "machine.test" }})
	}
	for _, test := range []string{
		"Discovery 2. looks up the address of a name with a port", "Discovery 4. follows a service record _matrix-fed._tcp", "Discovery 6. takes port 8448 of a name's address otherwise",
		"Discovery by well-known 3.2 looks up the address of a name with a port", "Discovery by well-known 3.3 follows a service record of the delegated name",
	} {
		list = append(list, Mutant{Name: "asks for another certificate: " + test, Test: test, Sends: func(x *Exchange) { x.SNI = "machine.test" }})
	}
	const found = clientV3 + "profile/"
	for _, test := range []string{
		"Discovery sends nothing to a server whose certificate is for another name", "Discovery sends nothing to an IP address whose certificate is for another",
		"Discovery sends nothing to a server whose certificate is by an authority that it does not know", "Discovery answers with an error for a server that does not exist",
		"Discovery: many targets 2. sends nothing where the certificate is for the machine, not for the name",
	} {
		list = append(list, answering("trusts anybody: "+test, test, http.MethodGet, found, func(x *Exchange) { x.say(http.StatusOK, `{"displayname":"Bob"}`) }))
	}
	for _, test := range []string{
		"Discovery 4. tries the next service record when the first leads nowhere", "Discovery: many targets 4. tries all the records of a priority before the next",
		"Discovery: many targets 6. tries another address of a name when the first is dead", "Discovery: many targets 2. finds a name by its AAAA record",
		"Discovery by well-known 3. follows redirects", "Discovery by well-known 3. goes on with service records where the answer is not valid bad JSON",
		"Discovery by well-known 3. goes on with service records where the answer is not valid without end",
	} {
		list = append(list, answering("does not find a server: "+test, test, http.MethodGet, found, status(http.StatusBadGateway, "M_UNKNOWN")))
	}
	return list
}

func joins() []Mutant {
	const theirs, ours = "Joins another server joins a room here in room version 10", "Joins a user here joins a room on another server in room version 10"
	const sendJoin, makeJoin = federationV2 + "send_join/", federationV1 + "make_join/"
	const letIn = "Restricted rooms a user here joins a room of another server whose join rule is restricted, in room version 10"
	without := func(list, eventType string) func(f map[string]any) {
		return func(f map[string]any) {
			f[list] = slices.DeleteFunc(f[list].([]any), func(e any) bool { return e.(map[string]any)["type"] == eventType })
		}
	}
	template := func(change func(e map[string]any)) func(f map[string]any) {
		return func(f map[string]any) { change(f["event"].(map[string]any)) }
	}
	signedJoin := func(name string, change func(fields map[string]any)) Mutant {
		return Mutant{Name: name, Test: ours, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, sendJoin) {
				x.body(func(f map[string]any) { x.forge(f, change) })
			}
		}}
	}
	list := []Mutant{
		fields("leaves an event out of the state", theirs, sendJoin, without("state", "m.room.name")),
		fields("leaves the create event out of everything", theirs, sendJoin, func(f map[string]any) {
			without("state", "m.room.create")(f)
			without("auth_chain", "m.room.create")(f)
		}),
		fields("sends no auth chain and no memberships", theirs, sendJoin, func(f map[string]any) {
			f["auth_chain"] = []any{}
			without("state", "m.room.member")(f)
		}),
		fields("sends state with a wrong hash", theirs, sendJoin, func(f map[string]any) {
			for _, e := range f["state"].([]any) {
				if fields := e.(map[string]any); fields["type"] == "m.room.topic" {
					fields["content"].(map[string]any)["topic"] = "changed"
				}
			}
		}),
		fields("sends state without signatures", theirs, sendJoin, func(f map[string]any) {
			for _, e := range f["state"].([]any) {
				e.(map[string]any)["signatures"] = map[string]any{}
			}
		}),
		fields("says another room version", theirs, makeJoin, func(f map[string]any) { f["room_version"] = "9" }),
		fields("makes a template for another user", theirs, makeJoin, template(func(e map[string]any) { e["state_key"] = "@other:x.test" })),
		fields("makes a template of another type", theirs, makeJoin, template(func(e map[string]any) { e["type"] = "m.room.topic" })),
		fields("makes a template with more in its content", theirs, makeJoin, template(func(e map[string]any) { e["content"].(map[string]any)["displayname"] = "X" })),
		fields("lets who joins a restricted room go without its signature", "Joins a restricted room version 10", sendJoin, template(func(e map[string]any) {
			signatures := e["signatures"].(map[string]any)
			for server := range signatures {
				if !strings.Contains(e["sender"].(string), server) {
					delete(signatures, server)
				}
			}
		})),
		fields("names nobody who lets one into a restricted room", "Joins a restricted room version 10", makeJoin, template(func(e map[string]any) { delete(e["content"].(map[string]any), "join_authorised_via_users_server") })),
		answering("takes a join under another event's ID", "Joins checks that the event is the one in the path", "", sendJoin, lets),
		fields("tells no room version with its refusal", "Joins without ver the joining server supports version 1", makeJoin, func(map[string]any) {}),
		signedJoin("signs a leave in place of a join", func(f map[string]any) { f["content"] = map[string]any{"membership": "leave"} }),
		signedJoin("joins somebody else", func(f map[string]any) { f["state_key"] = "@other:one.test" }),
		signedJoin("leaves the auth events out of its join", func(f map[string]any) { f["auth_events"] = []any{} }),
		{Name: "hashes its join wrongly", Test: ours, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, sendJoin) {
				x.body(func(f map[string]any) { f["content"].(map[string]any)["displayname"] = "after the hash" })
			}
		}},
		{Name: "does not sign its join", Test: ours, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, sendJoin) {
				x.body(func(f map[string]any) { f["signatures"] = map[string]any{} })
			}
		}},
		{Name: "does not say which room versions it supports", Test: ours, Sends: func(x *Exchange) {
			if x.is(http.MethodGet, makeJoin) {
				x.URI = strings.ReplaceAll(x.URI, "ver=10", "ver=99")
				x.signRequest()
			}
		}},
		{Name: "joins rooms of versions that it doesn't know", Test: "Joins does not join a room of a version that it doesn't know", Answer: func(x *Exchange) {
			if x.is(http.MethodPost, clientV3+"join/") {
				x.say(http.StatusOK, `{"room_id":"!x:y"}`)
			}
		}},
		answering("believes who lies about letting a user in", "Restricted rooms who lies about letting the user in is not believed the signature is wrong", http.MethodPost, clientV3+"join/", lets),
		answering("gives up where a resident server can't let a user in", "Restricted rooms the next resident server is asked where one answers make_join with M_UNABLE_TO_GRANT_JOIN", http.MethodPost, clientV3+"join/", status(http.StatusForbidden, "M_FORBIDDEN")),
		fields("keeps a join without the signature that lets it in", letIn, federationV1+"event/", func(f map[string]any) {
			e := f["pdus"].([]any)[0].(map[string]any)
			for server := range e["signatures"].(map[string]any) {
				if !strings.HasSuffix(e["sender"].(string), ":"+server) {
					delete(e["signatures"].(map[string]any), server)
				}
			}
		}),
		{Name: "does not name who lets it in", Test: letIn, Sends: func(x *Exchange) {
			if x.is(http.MethodPut, sendJoin) {
				x.body(func(f map[string]any) {
					x.forge(f, func(fields map[string]any) {
						delete(fields["content"].(map[string]any), "join_authorised_via_users_server")
					})
				})
			}
		}},
	}
	list[12] = answering("tells no room version with its refusal", "Joins without ver the joining server supports version 1", "", makeJoin, func(x *Exchange) {
		if x.Status == http.StatusBadRequest {
			x.refuse(http.StatusBadRequest, "M_INCOMPATIBLE_ROOM_VERSION")
		}
	})
	for _, refusal := range []string{"for a version that the joining server doesn't support", "to a room that is for invited users", "to a room that isn't there", "for a user of another server", "for a banned user"} {
		list = append(list, answering("makes a template "+refusal, "Joins make_join is refused "+refusal, "", makeJoin, func(x *Exchange) { x.say(http.StatusOK, `{"room_version":"10","event":{}}`) }))
	}
	for _, refusal := range []string{"with a bad signature", "with a message", "with a leave", "for somebody else", "for another room", "with something that is no event"} {
		list = append(list, answering("takes in send_join what is wrong: "+refusal, "Joins send_join is refused "+refusal, "", sendJoin, lets))
	}
	for _, lie := range []string{"no create event", "a create event with a bad signature", "a state in which the room is for invited users", "a room of another version"} {
		list = append(list, answering("believes a resident server: "+lie, "Joins a resident server that lies about the room is not believed "+lie, http.MethodPost, clientV3+"join/", func(x *Exchange) { x.say(http.StatusOK, `{"room_id":"!x:y"}`) }))
	}
	for kind, change := range map[string]func(f map[string]any){
		"another type": func(f map[string]any) { f["type"] = "m.room.power_levels" }, "a ban": func(f map[string]any) { f["content"] = map[string]any{"membership": "ban"} },
		"another user's state": func(f map[string]any) { f["state_key"] = "@other:one.test" }, "another sender": func(f map[string]any) { f["sender"] = "@other:one.test" },
	} {
		list = append(list, Mutant{Name: "signs whatever template it gets: " + kind, Test: "Joins a template that is not what was asked for is not signed " + kind, Sends: func(x *Exchange) {
			x.signs("make_join", sendJoin, change)
		}})
	}
	for _, refusal := range []string{"where nobody may knock", "for a version that the other server doesn't support", "at a room that isn't there", "for who is banned"} {
		list = append(list, answering("lets knock "+refusal, "Knocks make_knock is refused "+refusal, "", federationV1+"make_knock/", lets))
	}
	list = append(list,
		fields("makes a join of a knock", "Knocks another server's user knocks here, and is let in, in room version 10", federationV1+"make_knock/", template(func(e map[string]any) { e["content"] = map[string]any{"membership": "join"} })),
		fields("shows who knocks nothing of the room", "Knocks another server's user knocks here, and is let in, in room version 10", federationV1+"send_knock/", func(f map[string]any) { f["knock_room_state"] = []any{} }))
	for kind, change := range map[string]func(f map[string]any){
		"a join": func(f map[string]any) { f["content"] = map[string]any{"membership": "join"} }, "another type": func(f map[string]any) { f["type"] = "m.room.power_levels" },
		"another room": func(f map[string]any) { f["room_id"] = "!other:elsewhere.test" }, "another user": func(f map[string]any) { f["state_key"] = "@other:elsewhere.test" },
	} {
		list = append(list, Mutant{Name: "signs whatever knock template it gets: " + kind, Test: "Knocks a template that is no knock is not signed " + kind, Sends: func(x *Exchange) {
			x.signs("make_knock", federationV1+"send_knock/", change)
		}})
	}
	for _, refusal := range []string{"with a bad signature", "with a join", "with a message", "for somebody else"} {
		list = append(list, answering("takes in send_leave what is wrong: "+refusal, "Leaves send_leave is refused "+refusal, "", federationV2+"send_leave/", lets))
	}
	return list
}

func further() []Mutant {
	var list []Mutant
	for _, endpoint := range []string{"backfill", "get_missing_events", "event"} {
		for _, visibility := range []string{"invited", "joined"} {
			list = append(list, answering("shows by "+endpoint+" what is not to be seen: "+visibility, "History visibility a server sees by "+endpoint+" what its users may see: "+visibility, "", federationV1+endpoint+"/", func(x *Exchange) {
				x.say(http.StatusOK, `{"pdus":[{"content":{"body":"said-early said-invited said-joined"}}],"events":[]}`)
			}))
		}
		list = append(list, answering("hides by "+endpoint+" what is to be seen", "History visibility a server sees by "+endpoint+" what its users may see: shared", "", federationV1+endpoint+"/", func(x *Exchange) {
			x.Answer = []byte(strings.ReplaceAll(string(x.Answer), "said-early", ""))
		}))
	}
	for _, wrong := range []string{"with another key", "for another user", "with an unknown token"} {
		list = append(list, answering("exchanges invites by address "+wrong, "Third-party invites are exchanged for invites "+wrong, "", federationV1+"exchange_third_party_invite/", lets))
	}
	return append(list,
		answering("gives those who left what came after", "History visibility what was said after a server's users left is not given to it", "", federationV1+"state/", lets),
		Mutant{Name: "asks for no invite of a user whose address was invited", Test: "Third-party invites are asked for once an identity server tells that an address is a user's", Sends: func(x *Exchange) {
			x.Dropped = strings.Contains(x.URI, "exchange_third_party_invite")
		}},
		Mutant{Name: "has power levels that are texts", Test: "Power levels are no texts in a new room, and clients can't make them so, in room version 9", Answer: func(x *Exchange) {
			if x.is(http.MethodGet, clientV3+"rooms/") && strings.Contains(x.URI, "/state/m.room.power_levels") {
				x.answer(func(f map[string]any) { f["ban"] = "50" })
			}
		}},
		answering("exchanges no invites by address", "Third-party invites are exchanged for invites a right one", "", federationV1+"exchange_third_party_invite/", status(http.StatusForbidden, "M_FORBIDDEN")),
		answering("gives whole pictures as thumbnails", "Further endpoints a thumbnail is given to other servers", "", federationV1+"media/thumbnail/", status(http.StatusNotFound, "M_NOT_FOUND")),
		answering("answers queries of unknown types", "Further endpoints a query of an unknown type is refused", "", federationV1+"query/", lets),
		Mutant{Name: "takes events by keys that are not valid any more", Test: "Validity of signing keys is enforced in room version 11", Answer: showsAll},
		Mutant{Name: "enforces the validity of keys in version 4", Test: "Validity of signing keys is not enforced in room version 4", Answer: hidesAll},
		Mutant{Name: "takes events by old keys from after their end", Test: "Validity of signing keys lets an old key's events from before its end count, and none from after it", Answer: showsAll},
		answering("lets others into rooms that do not federate", "Rooms that do not federate let nobody of another server in", "", federationV1+"make_join/", func(x *Exchange) { x.say(http.StatusOK, `{"room_version":"10","event":{}}`) }),
		answering("takes hostile requests", "Life hostile requests are refused, and the server goes on nothing", http.MethodPut, federationV1+"send/", lets))
}

// pathText is a request's path and query without escapes.
func pathText(x *Exchange) string {
	text, err := url.PathUnescape(x.URI)
	if err != nil {
		return x.URI
	}
	return text
}

func definitions() []Mutant {
	var list []Mutant
	for _, o := range spec.Operations() {
		test, path := "Answers of the client-server API have the form of their definitions: ", strings.SplitN(o.Path, "{", 2)[0]
		if strings.HasPrefix(o.Anchor, "server-server") {
			test = "Answers of the server-server API have the form of their definitions: "
		}
		if o.Answer == nil || len(o.Answer.Required) == 0 || !tested[o.Method+" "+o.Path] {
			continue
		}
		required := o.Answer.Required[0]
		list = append(list, answering("leaves "+strconv.Quote(required)+" out of the answer to "+o.Method+" "+o.Path, test+o.Method+" "+o.Path, o.Method, path, func(x *Exchange) {
			x.answer(func(f map[string]any) { delete(f, required) })
		}))
	}
	return list
}

// tested are operations whose answers' forms are tested under the path of their definition.
var tested = map[string]bool{
	"GET /_matrix/client/versions": true, "GET /_matrix/client/v3/capabilities": true, "GET /_matrix/client/v3/account/whoami": true,
	"GET /_matrix/client/v3/joined_rooms": true, "GET /_matrix/client/v3/publicRooms": true, "POST /_matrix/client/v3/createRoom": true,
	"GET " + federationV1 + "backfill/{roomId}": true, "GET " + federationV1 + "event/{eventId}": true, "GET " + federationV1 + "event_auth/{roomId}/{eventId}": true,
	"GET " + federationV1 + "state/{roomId}": true, "GET " + federationV1 + "state_ids/{roomId}": true, "GET " + federationV1 + "timestamp_to_event/{roomId}": true,
	"GET " + federationV1 + "publicRooms": true, "GET " + federationV1 + "query/directory": true, "GET " + federationV1 + "hierarchy/{roomId}": true,
	"GET " + federationV1 + "user/devices/{userId}": true, "POST " + federationV1 + "user/keys/query": true, "POST " + federationV1 + "user/keys/claim": true,
	"GET " + federationV1 + "openid/userinfo": true, "PUT " + federationV2 + "send_join/{roomId}/{eventId}": true, "PUT " + federationV1 + "send_knock/{roomId}/{eventId}": true,
	"PUT " + federationV1 + "send/{txnId}": true,
}

func ruleMutants() []Mutant {
	var list []Mutant
	for _, version := range []int{10} {
		for _, t := range suite.RuleTests(version) {
			if t.Forbids {
				list = append(list, Mutant{Name: "does not apply a rule: " + t.Test, Test: t.Test, Answer: showsAll})
			}
			if t.Allows {
				list = append(list, Mutant{Name: "forbids what a rule allows: " + t.Test, Test: t.Test, Answer: hidesAll})
			}
		}
	}
	return list
}
