package sim

import (
	"fmt"
	"slices"
	"strings"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
)

// teller writes down what one server's machine is stepped with, as federation/room's tests read it. A nil one does nothing.
type teller struct {
	n     *network
	of    *server
	out   strings.Builder
	names map[id.EventID]string
	open  []room.Fetch // fetches that the machine waits for, oldest first
}

func newTeller(n *network, of *server) *teller {
	t := &teller{n: n, of: of, names: make(map[id.EventID]string)}
	t.line("# room version %s, seed %d, %d servers, %d steps", n.rules.Version, n.cfg.Seed, len(n.servers), len(n.cfg.steps))
	t.line("version %s", n.rules.Version)
	t.line("self %s", of.name)
	return t
}

func (t *teller) String() string { return t.out.String() }

func (t *teller) line(format string, args ...any) { fmt.Fprintf(&t.out, format+"\n", args...) }

// restarts tells that the machine is loaded anew, which takes up what is staged.
func (t *teller) restarts(s *server) {
	if t == nil || s != t.of || s.store.roomID == "" {
		return
	}
	t.open = nil
	t.line("restart")
}

// stepped tells of a step whose commit is durable, and of one that failed.
func (t *teller) stepped(s *server, in room.Input, r room.Result) {
	if t == nil || s != t.of {
		return
	}
	switch in := in.(type) {
	case room.Propose:
		t.proposed(in, r)
	case room.Receive:
		t.line("receive %s%s", in.Origin, t.called(in.Events))
	case room.Backfill:
		t.line("backfill %s%s", in.Origin, t.called(in.Events))
	case room.Accept:
		t.line("accept %s%s", in.Origin, t.called([]*event.Event{in.Event}))
	case room.Adopt:
		part := ""
		if in.Partial {
			part = " partial"
		}
		t.line("adopt%s%s", t.called([]*event.Event{in.Event}), part)
	case room.Outliers:
		t.line("part%s", t.called(in.Events))
	case room.Complete:
		t.line("complete")
	case room.Provide:
		t.provided(in)
	}
	t.open = append(t.open, r.Fetch...)
}

func (t *teller) proposed(in room.Propose, r room.Result) {
	made := slices.Clone(r.Commit.Events)
	for _, d := range in.Drafts {
		i := slices.IndexFunc(made, func(c room.Committed) bool {
			return c.Event.Type() == d.Type && c.Event.Sender() == d.Sender && !t.known(c.Event.ID())
		})
		if i < 0 {
			t.line("refuse %s %s", d.Sender, words(d.Sender, d.Type, d.StateKey, d.Content))
			continue
		}
		t.line("propose %s ts=%d %s", t.describe(made[i].Event, "", ""), made[i].Event.OriginServerTS(), made[i].Event.Content())
	}
}

func (t *teller) provided(in room.Provide) {
	at := slices.IndexFunc(t.open, func(f room.Fetch) bool { return f.Ticket == in.Fetch.Ticket })
	if at < 0 {
		return // of before a restart: nobody waits for it
	}
	t.open = slices.Delete(t.open, at, at+1)
	what := t.called(in.Events)
	switch {
	case in.Err != nil:
		what = " fail"
	case in.State != nil:
		what = "" // the true one
	case len(in.Events) == 0:
		what = " nothing"
	}
	if at > 0 {
		what = fmt.Sprintf(" #%d%s", at+1, what)
	}
	t.line("answer%s", what)
}

func (t *teller) known(e id.EventID) bool { return t.names[e] != "" }

// called are the names of events, which are described before, parents first; copies that are redacted get names of their own.
func (t *teller) called(events []*event.Event) string {
	var list strings.Builder
	for _, e := range events {
		name := t.name(e.ID())
		if !e.ContentHashMatches() && t.n.events[e.ID()].ContentHashMatches() {
			t.line("copy %s* %s", name, name)
			name += "*"
		}
		list.WriteString(" " + name)
	}
	return list.String()
}

// name is an event's name. One without a name is described.
func (t *teller) name(e id.EventID) string {
	if name, ok := t.names[e]; ok {
		return name
	}
	made := t.n.events[e]
	var prev, auth []string
	for _, p := range made.PrevEvents() {
		prev = append(prev, t.name(p))
	}
	for _, a := range made.AuthEvents() {
		auth = append(auth, t.name(a))
	}
	head := t.describe(made, " prev="+strings.Join(prev, ","), " auth="+strings.Join(auth, ","))
	t.line("event %s ts=%d depth=%d %s", head, made.OriginServerTS(), made.Depth(), made.Content())
	return t.names[e]
}

// describe gives an event a name, and says whose it is and what.
func (t *teller) describe(e *event.Event, prev, auth string) string {
	name := fmt.Sprint("e", len(t.names)+1)
	t.names[e.ID()] = name
	var stateKey *string
	if key, ok := e.StateKey(); ok {
		stateKey = &key
	}
	return fmt.Sprintf("%s %s %s%s%s", name, e.Sender(), words(e.Sender(), e.Type(), stateKey, e.Content()), prev, auth)
}

// words are what the scenarios call an event's type.
func words(sender id.UserID, typ string, stateKey *string, content []byte) string {
	switch typ {
	case "m.room.create":
		return "create"
	case "m.room.power_levels":
		return "power"
	case "m.room.join_rules":
		return "rules"
	case "m.room.topic":
		return "topic"
	case "m.room.member":
		switch membership := membershipIn(content); {
		case membership == "ban" || membership == "invite":
			return membership + " " + *stateKey
		case *stateKey != string(sender):
			return "kick " + *stateKey
		default:
			return membership
		}
	}
	return "message"
}
