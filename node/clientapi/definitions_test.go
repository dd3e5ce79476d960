package clientapi

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/spec"
	"hanse/node/appservice"
	"hanse/node/media"
)

// tour is a world in which every operation of the client-server API can be asked for.
type tour struct {
	*world
	alice, bob, root                  *person
	room, event, rule, alias, version string // alice's; made anew for each operation
}

func newTour() *tour {
	GinkgoHelper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<title>Tea</title>") }))
	DeferCleanup(web.Close)
	t := &tour{world: newMediaWorld(nil, func(files *media.Config, c *Config) {
		files.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
		}
		c.BaseURL, c.OAuth, c.Services = "https://hanse.test", true, bridge()
	})}
	Expect(t.users.EnsureServiceUser(context.Background(), "@ircbot:hanse.test")).To(Succeed())
	t.alice, t.bob, t.root = t.register("alice"), t.register("bob"), t.administrator("root")
	fine(t.alice.post("/user/"+esc(t.alice.id)+"/filter", obj{}))
	return t
}

// bridge is an application service that bridges irc, where there is one room and one user.
func bridge() *appservice.Services {
	GinkgoHelper()
	const location, user = `{"alias": "#irc_a:hanse.test", "protocol": "irc", "fields": {}}`, `{"userid": "@irc_a:hanse.test", "protocol": "irc", "fields": {}}`
	answers := map[string]string{
		"/ping":                    `{}`,
		"/thirdparty/protocol/irc": `{"user_fields": [], "location_fields": [], "icon": "", "field_types": {}, "instances": []}`,
		"/thirdparty/location":     "[" + location + "]",
		"/thirdparty/location/irc": "[" + location + "]",
		"/thirdparty/user":         "[" + user + "]",
		"/thirdparty/user/irc":     "[" + user + "]",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, answers[strings.TrimPrefix(r.URL.Path, "/_matrix/app/v1")])
	}))
	DeferCleanup(server.Close)
	file := filepath.Join(GinkgoT().TempDir(), "irc.yaml")
	Expect(os.WriteFile(file, fmt.Appendf(nil, `{id: irc, url: %q, as_token: the_token, hs_token: its_token, sender_localpart: ircbot, rate_limited: false,
		protocols: [irc], namespaces: {users: [{exclusive: true, regex: "@irc_.*"}], aliases: [{exclusive: true, regex: "#irc_.*"}]}}`, server.URL), 0o600)).To(Succeed())
	registrations, problems := appservice.Load([]string{file}, self)
	Expect(problems).To(BeEmpty())
	made, err := appservice.New(appservice.Config{Self: self, Registrations: registrations})
	Expect(err).NotTo(HaveOccurred())
	return made
}

func backup() obj {
	return obj{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": obj{}}
}

func backedUpKey() obj {
	return obj{"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": obj{}}
}

// prepare makes what an operation is asked about, and gives its path and who asks.
func (t *tour) prepare(o spec.Operation) (path string, who *person) {
	GinkgoHelper()
	t.room = t.alice.room(obj{"preset": "public_chat"})
	t.event = fine(t.alice.put("/rooms/"+esc(t.room)+"/send/m.room.message/"+esc(t.room), obj{"msgtype": "m.text", "body": "tea"})).text("event_id")
	t.rule, t.alias = "rule of "+t.room, "#"+t.room[1:]+":hanse.test"
	fine(t.alice.put("/pushrules/global/override/"+esc(t.rule), obj{"actions": []any{}}))
	path, who, user := strings.TrimSpace(o.Path), t.alice, t.alice
	switch {
	case strings.Contains(path, "/admin/"):
		who, user = t.root, t.bob
	case strings.Contains(path, "/room_keys/"):
		t.version = fine(t.alice.post("/room_keys/version", backup())).text("version")
		fine(t.alice.put("/room_keys/keys/"+esc(t.room)+"/x?version="+t.version, backedUpKey()))
	case strings.Contains(path, "/appservice/"):
		who = &person{w: t.world, token: "the_token"}
	case strings.HasSuffix(path, "/kick"):
		fine(t.bob.post("/join/"+esc(t.room), obj{}))
	case strings.HasSuffix(path, "/unban"):
		fine(t.alice.post("/rooms/"+esc(t.room)+"/ban", obj{"user_id": t.bob.id}))
	}
	return strings.NewReplacer(
		"{userId}", esc(user.id), "{roomId}", esc(t.room), "{roomIdOrAlias}", esc(t.room), "{eventId}", esc(t.event), "{deviceId}", t.alice.device,
		"{txnId}", esc(t.rule), "{eventType}", "m.room.topic", "{stateKey}", "", "{roomAlias}", esc(t.alias), "{keyName}", "displayname",
		"{type}", "x.y", "{tag}", "u.x", "{receiptType}", "m.read", "{kind}", "override", "{ruleId}", esc(t.rule), "{relType}", "m.thread",
		"{filterId}", "1", "{version}", t.version, "{sessionId}", "x", "{serverName}", "hanse.test", "{mediaId}", "x", "{fileName}", "x",
		"{networkId}", "x", "{appserviceId}", "irc", "{protocol}", "irc", "{idpId}", "x",
	).Replace(path), who
}

// body is what an operation is asked with: mostly what its definition requires.
func (t *tour) body(o spec.Operation) any {
	switch operation(o) {
	case "PUT /_matrix/client/v3/profile/{userId}/{keyName}":
		return obj{"displayname": "A"}
	case "POST /_matrix/client/v3/pushers/set":
		return pusher("https://gateway.test/_matrix/push/v1/notify", obj{})
	case "PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}":
		return backedUpKey()
	case "PUT /_matrix/client/v3/room_keys/keys/{roomId}":
		return obj{"sessions": obj{"x": backedUpKey()}}
	case "PUT /_matrix/client/v3/room_keys/keys":
		return obj{"rooms": obj{"x": obj{"sessions": obj{"x": backedUpKey()}}}}
	case "POST /_matrix/client/v3/room_keys/version", "PUT /_matrix/client/v3/room_keys/version/{version}":
		return backup()
	case "POST /_matrix/client/v3/login":
		return passwordOf("alice")
	}
	return t.sample(o.Request, "")
}

// operation is its name in the lists here. Two have the same path, which a blank tells apart in the definitions.
func operation(o spec.Operation) string { return o.Method + " " + strings.TrimSpace(o.Path) }

// query has the parameters that an operation requires, without one.
func (t *tour) query(o spec.Operation, but string) url.Values {
	query := url.Values{}
	for _, p := range o.Query {
		switch {
		case p.Name == but:
		case p.Name == "timeout":
			query.Set(p.Name, "0") // it would wait for news
		case p.Name == "alias":
			query.Set(p.Name, "#irc_a:hanse.test") // needed, as is the next, though their definitions don't say so
		case p.Name == "userid":
			query.Set(p.Name, "@irc_a:hanse.test")
		case p.Required:
			query.Set(p.Name, fmt.Sprint(t.sample(p.Form, p.Name)))
		}
	}
	return query
}

// sample is a value of a form, with what is required alone.
func (t *tour) sample(form *spec.Schema, name string) any {
	switch name {
	case "user_id":
		return t.bob.id
	case "event_id", "m.fully_read":
		return t.event
	case "room_id":
		return t.room
	case "version":
		return t.version
	case "from", "to":
		return fine(t.alice.get("/sync")).text("next_batch")
	case "dir":
		return "f"
	case "new_version":
		return "11"
	case "url":
		return "http://hanse.test/"
	}
	form = definitions().Named(form)
	if form != nil && len(form.Any) > 0 {
		return t.sample(form.Any[0], name)
	}
	kind := ""
	if kinds := typesOf(form); len(kinds) > 0 {
		kind = kinds[0]
	}
	switch {
	case form != nil && len(form.Enum) > 0:
		return form.Enum[0]
	case kind == "string":
		return "x"
	case kind == "integer", kind == "number":
		return 1
	case kind == "boolean":
		return true
	case kind == "array":
		return []any{}
	}
	made := obj{}
	for _, part := range parts(form) {
		for _, member := range part.Required {
			made[member] = t.sample(part.Properties[member], member)
		}
	}
	return made
}

// parts are a form and those that it consists of.
func parts(form *spec.Schema) []*spec.Schema {
	if form = definitions().Named(form); form == nil {
		return nil
	}
	all := []*spec.Schema{form}
	for _, part := range form.All {
		all = append(all, parts(part)...)
	}
	return all
}

// typesOf are the types that a value may have.
func typesOf(form *spec.Schema) []string {
	var all []string
	for _, part := range parts(form) {
		all = append(all, part.Types...)
	}
	return all
}

// member is one that a body may have, at any depth: a name "*" stands for an element of a list.
type member struct {
	path []string
	form *spec.Schema
}

func (m member) String() string { return strings.Join(m.path, " ") }

// members are those of a form.
func members(form *spec.Schema, in ...string) []member {
	const deepest = 5
	var all []member
	add := func(name string, form *spec.Schema) {
		m := member{append(slices.Clone(in), name), definitions().Named(form)}
		all = append(append(all, m), members(form, m.path...)...)
	}
	for _, part := range parts(form) {
		for _, name := range slices.Sorted(maps.Keys(part.Properties)) {
			add(name, part.Properties[name])
		}
		if len(in) == 0 || len(in) >= deepest {
			continue
		}
		if part.Items != nil {
			add("*", part.Items)
		}
		if part.Others != nil {
			add("x", part.Others)
		}
	}
	return all
}

// wrong are values that the member can't have.
func (m member) wrong() []any {
	kinds := typesOf(m.form)
	if m.form == nil || len(kinds) == 0 {
		return nil
	}
	var wrong []any
	if len(m.form.Enum) > 0 {
		wrong = append(wrong, "nonsense")
	}
	if slices.Contains(kinds, "integer") {
		wrong = append(wrong, 1.5)
	}
	for _, other := range []struct {
		kind  string
		value any
	}{{"object", obj{}}, {"string", "nonsense"}, {"array", []any{}}, {"integer", 7}} {
		if len(wrong) < 2 && !slices.Contains(kinds, other.kind) && !(other.kind == "integer" && slices.Contains(kinds, "number")) {
			wrong = append(wrong, other.value)
		}
	}
	return wrong
}

// put sets a member, and gives the body.
func put(body any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	if path[0] == "*" {
		return []any{put(nil, path[1:], value)}
	}
	object, ok := body.(obj)
	if !ok {
		object = obj{}
	}
	object = maps.Clone(object)
	object[path[0]] = put(object[path[0]], path[1:], value)
	return object
}

// lenient are members of requests, by how what follows an operation begins, whose form isn't looked at.
var lenient = []string{
	"POST /_matrix/client/v3/account/3pid/unbind ",            // nothing is unbound, whatever it is
	"POST /_matrix/client/v3/keys/device_signing/upload auth", // it isn't needed here
	"POST /_matrix/client/v3/room_keys/version algorithm",     // clients of tomorrow may have another
	"POST /_matrix/client/v3/room_keys/version auth_data",     // deployed servers keep whatever it is, and tests of servers send texts
	"PUT /_matrix/client/v3/room_keys/version/{version} auth_data",
	"PUT /_matrix/client/v3/room_keys/keys/{roomId} sessions x session_data",
	"PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId} session_data",
	"PUT /_matrix/client/v3/room_keys/keys rooms x sessions x session_data",
	"POST /_matrix/client/v3/pushers/set data format", // it is the gateway's
	"POST /_matrix/client/v3/createRoom invite_3pid",  // not taken at all, nor are the next
	"POST /_matrix/client/v3/join/{roomIdOrAlias} third_party_signed",
	"POST /_matrix/client/v3/rooms/{roomId}/join third_party_signed",
	"GET /_matrix/client/v3/rooms/{roomId}/messages dir", // clients leave it out, and deployed servers take that
	"GET /_matrix/client/v1/media/preview_url ts",        // it may be before 1970; what is no number is refused
	"GET /_matrix/media/v3/preview_url ts",
	"GET /_matrix/client/v3/events room_id", // the operation without it has the same path
}

func isLenient(o spec.Operation, member string) bool {
	return slices.ContainsFunc(lenient, func(start string) bool { return strings.HasPrefix(operation(o)+" "+member, start) })
}

// Every operation is asked as its definition wants it, and as it forbids. Answers are held against the definitions wherever tests ask.
var _ = Describe("every operation", func() {
	// taken tells of a request that is not refused for its form, nor for what it would be refused for in any case.
	taken := func(got, rightly answered, what string) []string {
		if got.status == 400 || got.status == rightly.status && got.status > 400 && got.status < 500 {
			return nil
		}
		return []string{what + ": " + got.raw}
	}

	It("refuses bodies of another form than its definition gives them", func() {
		t, count, bad := newTour(), 0, []string{}
		t.alice.anyForm = true
		for _, o := range definitions().Operations() {
			if o.Request == nil {
				continue
			}
			path, who := t.prepare(o)
			path += "?" + t.query(o, "").Encode()
			type asked struct {
				answered
				what string
			}
			var wrong []asked
			for _, part := range parts(o.Request) {
				for _, name := range part.Required {
					if isLenient(o, name) {
						continue
					}
					body := maps.Clone(t.body(o).(obj))
					delete(body, name)
					wrong = append(wrong, asked{who.do(o.Method, path, body), name + " is missing"})
				}
			}
			for _, m := range members(o.Request) {
				if isLenient(o, m.String()) {
					continue
				}
				for _, value := range m.wrong() {
					wrong = append(wrong, asked{who.do(o.Method, path, put(t.body(o), m.path, value)), fmt.Sprintf("%v = %v", m, value)})
				}
			}
			rightly := who.do(o.Method, path, t.body(o)) // last, as it may change what the others are about
			for _, a := range wrong {
				count, bad = count+1, append(bad, taken(a.answered, rightly, a.what)...)
			}
		}
		Expect(bad).To(BeEmpty())
		Expect(count).To(BeNumerically(">", 300))
	})

	It("succeeds", func() {
		t := newTour()
		for _, o := range definitions().Operations() {
			if o.Request != nil || strings.Contains(o.Path, "/logout") {
				continue
			}
			path, who := t.prepare(o)
			who.do(o.Method, path+"?"+t.query(o, "").Encode(), nil) // which of them succeed is seen in the end
		}
	})

	It("refuses queries of another form than its definition gives them", func() {
		t, count, bad := newTour(), 0, []string{}
		t.alice.anyForm = true
		for _, o := range definitions().Operations() {
			if len(o.Query) == 0 {
				continue
			}
			path, who := t.prepare(o)
			var body any
			if o.Request != nil {
				body = t.body(o)
			}
			ask := func(query url.Values) answered { return who.do(o.Method, path+"?"+query.Encode(), body) }
			rightly := ask(t.query(o, ""))
			for _, p := range o.Query {
				form, kinds := definitions().Named(p.Form), typesOf(p.Form)
				var wrong []string
				switch {
				case len(form.Enum) > 0, slices.Contains(kinds, "boolean"):
					wrong = []string{"nonsense"}
				case slices.Contains(kinds, "integer"):
					wrong = []string{"nonsense", "1.5", "-1"}
				}
				if p.Required {
					wrong = append(wrong, "")
				}
				for _, value := range wrong {
					if isLenient(o, p.Name) {
						continue
					}
					query := t.query(o, p.Name)
					if value != "" {
						query.Set(p.Name, value)
					}
					count, bad = count+1, append(bad, taken(ask(query), rightly, p.Name+" = "+value)...)
				}
			}
		}
		Expect(bad).To(BeEmpty())
		Expect(count).To(BeNumerically(">", 60))
	})

	It("wants an access token if its definition says so", func() {
		t := newTour()
		for _, o := range definitions().Operations() {
			path, _ := t.prepare(o)
			response, body := t.nobody().ask(o.Method, path, nil)
			switch {
			case response.StatusCode == 404 && strings.Contains(body, "M_UNRECOGNIZED"): // not there: operations_test.go
			case o.Token == spec.MustToken:
				Expect(response.StatusCode).To(Equal(401), "%s: %s", operation(o), body)
				Expect(body).To(ContainSubstring(`"M_MISSING_TOKEN"`), operation(o))
			case operation(o) == "POST /_matrix/client/v3/account/deactivate": // of whom it would be asked otherwise needn't be said here
			default:
				Expect(body).NotTo(ContainSubstring("M_MISSING_TOKEN"), operation(o))
			}
		}
	})
})
