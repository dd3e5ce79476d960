package room_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// TestScenarios plays testdata/*.room. A scenario is a text: what happens, a line each, and below it, behind ">", what came of it.
// "go test -run Scenarios -rewrite" writes the latter anew, to be reviewed as a diff. The lines:
//
//	version V                     the room version, first
//	self SERVER                   whose machine it is, second
//	event NAME @user WHAT…        an event made elsewhere; WHAT is create, join, leave, knock, invite @u, ban @u, kick @u, nick X,
//	                              rules R, topic X, power {…}, message X. Options: prev=A,B (default: the event of the line before),
//	                              auth=A,B (default: what the spec selects), ts=N, depth=N, {…} content
//	copy NAME A                   A as it comes with content that doesn't fit its hash: redacted. It has A's ID, and is shown as A
//	propose NAME @user WHAT…      an own event
//	refuse @user WHAT…            an own event that should be refused
//	receive SERVER A B …          a transaction
//	accept SERVER A               send_join and its like come to us
//	adopt A [without=B,C]         the answer to our send_join: the true state and auth chain; "partial": without the members
//	part A B …                    parts of the true state before a join whose state was partial
//	complete                      the true state before a join whose state was partial
//	lost                          nobody has that state
//	backfill SERVER A B …         history
//	answer                        the true answer to the oldest open fetch; with names: these events; "without=A": not those;
//	                              "fail": nobody answered; "refused": all do; "nothing": an empty answer; "#2" first: to the second oldest one;
//	                              "lacks=A": of a state, one without A;
//	                              "from=SERVER" before names: those asked before that one didn't answer
//	restart                       the machine is loaded anew from what is stored
//	state                         shows the current state
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.room")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".room"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(text); got != want {
				t.Errorf("%s: what came of it differs:\n%s", file, difference(want, got))
			}
		})
	}
}

var rewrite = flag.Bool("rewrite", false, "write the expectations of testdata/*.room anew")

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n want %s\n got  %s\n\nall of it:\n%s", i+1, a, b, got)
		}
	}
	return ""
}

// scene is a scenario being played.
type scene struct {
	t       *testing.T
	w       *world
	self    id.ServerName
	m       *room.Machine
	store   *memory
	names   map[string]*event.Event
	name    map[id.EventID]string
	last    string // name of the last event made
	fetches []room.Fetch
	now     time.Time
	out     bytes.Buffer
}

func play(t *testing.T, text string) string {
	s := &scene{t: t, names: make(map[string]*event.Event), name: make(map[id.EventID]string), store: newMemory(), now: time.UnixMilli(2000)}
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, ">") {
			continue
		}
		s.out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.line(line); err != nil {
			t.Fatalf("line %d: %s: %v", n+1, line, err)
		}
	}
	return s.out.String()
}

func (s *scene) line(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	switch verb {
	case "version":
		s.w = newWorld(s.t, roomversion.Version(rest))
		return nil
	case "self":
		s.self = id.ServerName(rest)
		s.m = room.New(s.self, s.w.rules)
		return nil
	case "event":
		return s.event(args)
	case "copy":
		events, err := s.events(args[1:])
		if err != nil {
			return err
		}
		s.names[args[0]] = events[0].Redacted()
		return nil
	case "propose":
		d, err := s.draft(args[1:])
		if err != nil {
			return err
		}
		return s.propose(args[0], d)
	case "refuse":
		d, err := s.draft(args)
		if err != nil {
			return err
		}
		return s.step(room.Propose{Drafts: []event.Draft{d}, Key: testKey()})
	case "receive":
		events, err := s.events(args[1:])
		if err != nil {
			return err
		}
		return s.step(room.Receive{Origin: id.ServerName(args[0]), Events: events})
	case "backfill":
		events, err := s.events(args[1:])
		if err != nil {
			return err
		}
		return s.step(room.Backfill{Origin: id.ServerName(args[0]), Events: events})
	case "accept":
		events, err := s.events(args[1:])
		if err != nil {
			return err
		}
		return s.step(room.Accept{Origin: id.ServerName(args[0]), Event: events[0]})
	case "adopt":
		return s.adopt(args)
	case "part":
		events, err := s.events(args)
		if err != nil {
			return err
		}
		return s.step(room.Outliers{Events: events})
	case "complete":
		return s.complete()
	case "lost":
		return s.step(room.Complete{Join: s.m.Partial().Join, Lost: true})
	case "answer":
		return s.answer(args)
	case "restart":
		s.m = room.Load(s.self, s.store.snapshot())
		s.fetches = nil
		return s.step(room.Resume{})
	case "state":
		s.showState()
		return nil
	}
	return fmt.Errorf("no verb %q", verb)
}

func (s *scene) events(names []string) ([]*event.Event, error) {
	var list []*event.Event
	for _, name := range names {
		e := s.names[name]
		if e == nil {
			return nil, fmt.Errorf("no event %q", name)
		}
		list = append(list, e)
	}
	return list, nil
}

func (s *scene) ids(names string) ([]id.EventID, error) {
	list := []id.EventID{}
	for _, name := range strings.Split(names, ",") {
		if name == "" {
			continue
		}
		if s.names[name] == nil {
			return nil, fmt.Errorf("no event %q", name)
		}
		list = append(list, s.names[name].ID())
	}
	return list, nil
}

// draft reads "@user WHAT [options] [{…}]".
func (s *scene) draft(args []string) (event.Draft, error) {
	line := strings.Join(args[1:], " ")
	content := ""
	if i := strings.IndexByte(line, '{'); i >= 0 {
		line, content = line[:i], line[i:]
	}
	var what []string
	var options []string
	for _, word := range strings.Fields(line) {
		if strings.Contains(word, "=") {
			options = append(options, word)
		} else {
			what = append(what, word)
		}
	}
	d, err := s.w.draft(id.UserID(args[0]), strings.Join(what, " "), content)
	if err != nil {
		return d, err
	}
	if s.last != "" {
		d.PrevEvents = []id.EventID{s.names[s.last].ID()}
	}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "prev":
			d.PrevEvents, err = s.ids(value)
		case "auth":
			d.AuthEvents, err = s.ids(value)
		case "ts":
			_, err = fmt.Sscan(value, &d.OriginServerTS)
		case "depth":
			_, err = fmt.Sscan(value, &d.Depth)
		default:
			err = fmt.Errorf("no option %q", key)
		}
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

func (s *scene) event(args []string) error {
	d, err := s.draft(args[1:])
	if err != nil {
		return err
	}
	s.called(args[0], s.w.make(d))
	return nil
}

func (s *scene) called(name string, e *event.Event) {
	s.names[name], s.name[e.ID()], s.last = e, name, name
}

func (s *scene) propose(name string, d event.Draft) error {
	if s.m.RoomID() == "" {
		d.RoomID = s.w.room
	}
	s.now = s.now.Add(10 * time.Millisecond)
	result, err := s.m.Step(s.now, room.Propose{Drafts: []event.Draft{d}, Key: testKey()}, s.store)
	if err != nil {
		return err
	}
	for _, c := range result.Commit.Events {
		if c.Event.Sender() == d.Sender && s.name[c.Event.ID()] == "" {
			s.w.add(c.Event, s.w.stateAfterAll(c.Event.PrevEvents()))
			s.called(name, c.Event)
		}
	}
	s.show(result)
	return nil
}

func (s *scene) step(in room.Input) error {
	s.now = s.now.Add(10 * time.Millisecond)
	result, err := s.m.Step(s.now, in, s.store)
	if err != nil {
		return err
	}
	s.show(result)
	return nil
}

func (s *scene) adopt(args []string) error {
	join := s.names[args[0]]
	if join == nil {
		return errors.New("no such event")
	}
	without, err := s.without(args)
	if err != nil {
		return err
	}
	state := s.w.before[join.ID()]
	in := room.Adopt{Event: join, Partial: slices.Contains(args, "partial")}
	if in.Partial {
		for key, e := range wholestate.All(state) {
			if key.Type == "m.room.member" && s.w.events[e].Membership() == "join" {
				in.Servers = append(in.Servers, id.UserID(key.StateKey).Server())
			}
		}
		user, _ := join.StateKey()
		state = s.w.without(state, user)
	}
	for _, e := range s.w.stateEvents(state) {
		if !without[e.ID()] {
			in.State = append(in.State, e)
		}
	}
	of := []id.EventID{join.ID()}
	for _, e := range wholestate.All(state) {
		of = append(of, e)
	}
	for _, e := range s.w.authChain(of) {
		if !without[e.ID()] {
			in.AuthChain = append(in.AuthChain, e)
		}
	}
	return s.step(in)
}

func (s *scene) complete() error {
	partial := s.m.Partial()
	if partial == nil {
		return errors.New("the state is whole")
	}
	state := s.w.before[partial.Join]
	return s.step(room.Complete{Join: partial.Join, States: [][]id.EventID{stateIDs(state)}, Events: s.w.wholeState(state, partial.Join)})
}

func (s *scene) without(args []string) (map[id.EventID]bool, error) {
	without := make(map[id.EventID]bool)
	for _, arg := range args {
		if names, ok := strings.CutPrefix(arg, "without="); ok {
			ids, err := s.ids(names)
			if err != nil {
				return nil, err
			}
			for _, e := range ids {
				without[e] = true
			}
		}
	}
	return without, nil
}

func (s *scene) answer(args []string) error {
	if len(s.fetches) == 0 {
		return errors.New("no fetch is open")
	}
	at := 0
	if len(args) > 0 && args[0][0] == '#' {
		if _, err := fmt.Sscanf(args[0], "#%d", &at); err != nil || at < 1 || at > len(s.fetches) {
			return fmt.Errorf("no fetch %s is open", args[0])
		}
		at, args = at-1, args[1:]
	}
	f := s.fetches[at]
	s.fetches = slices.Delete(s.fetches, at, at+1)
	in := room.Provide{Fetch: f, From: f.From[0]}
	if len(args) > 0 {
		if from, ok := strings.CutPrefix(args[0], "from="); ok {
			in.From, args = id.ServerName(from), args[1:]
		}
	}
	without, err := s.without(args)
	if err != nil {
		return err
	}
	lacks := id.EventID("")
	if len(args) > 0 {
		if name, ok := strings.CutPrefix(args[0], "lacks="); ok {
			lacks, args = s.names[name].ID(), nil
		}
	}
	switch {
	case len(args) > 0 && args[0] == "fail":
		in.Err = errors.New("connection refused")
	case len(args) > 0 && args[0] == "refused":
		in.Err, in.Refused = errors.New("not found"), true
	case len(args) > 0 && args[0] == "nothing":
	case len(args) > 0 && len(without) == 0:
		in.Events, err = s.events(args)
	case f.Kind == room.FetchMissing:
		in.Events = s.w.between(f.Latest, f.Earliest, 20)
	case f.Kind == room.FetchAuth:
		in.Events = s.w.authChain([]id.EventID{f.At})
	case s.w.events[f.At] != nil:
		state := s.w.before[f.At]
		in.State = &room.StateAt{At: f.At}
		for _, e := range wholestate.All(state) {
			if e != lacks {
				in.State.State = append(in.State.State, e)
			}
		}
		in.Events = append(s.w.authChain(in.State.State), s.w.stateEvents(state)...)
		for _, e := range in.Events {
			in.State.AuthChain = append(in.State.AuthChain, e.ID())
		}
		in.Events = append(in.Events, s.w.events[f.At])
	}
	in.Events = slices.DeleteFunc(in.Events, func(e *event.Event) bool { return without[e.ID()] })
	if err != nil {
		return err
	}
	return s.step(in)
}

func (s *scene) named(e id.EventID) string {
	if name, ok := s.name[e]; ok {
		return name
	}
	if e == "" {
		return "-"
	}
	return "?"
}

func (s *scene) namedAll(list []id.EventID) string {
	var names []string
	for _, e := range list {
		names = append(names, s.named(e))
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func (s *scene) print(format string, args ...any) {
	line := fmt.Sprintf("> "+format, args...)
	for e, name := range s.name {
		line = strings.ReplaceAll(line, string(e), name)
	}
	s.out.WriteString(line + "\n")
}

// show makes a result durable and prints it.
func (s *scene) show(r room.Result) {
	before := s.store.forward
	s.store.apply(r.Commit)
	s.fetches = append(s.fetches, r.Fetch...)
	for _, v := range r.Verdicts {
		line := s.named(v.EventID) + " " + v.Status.String()
		if v.Duplicate {
			line += " duplicate"
		}
		if v.Rejection != nil {
			line += " by " + v.Rejection.Rule
		}
		if v.Reason != "" {
			line += ": " + v.Reason
		}
		s.print("%s", line)
	}
	for _, c := range r.Commit.Events {
		var marks []string
		for _, mark := range []struct {
			on   bool
			word string
		}{{c.Outlier, "outlier"}, {c.Backfilled, "backfilled"}, {c.Gap, "gap"}, {c.Event.IsRedacted(), "redacted"}} {
			if mark.on {
				marks = append(marks, mark.word)
			}
		}
		if marks != nil {
			s.print("stored %s %s", s.named(c.Event.ID()), strings.Join(marks, " "))
		}
	}
	for _, e := range r.Commit.Filled {
		s.print("filled %s", s.named(e.ID()))
	}
	for _, f := range r.Fetch {
		switch f.Kind {
		case room.FetchMissing:
			s.print("fetch %s from %s: below %s, down to %s", f.Kind, joinNames(f.From), s.namedAll(f.Latest), s.namedAll(f.Earliest))
		case room.FetchAuth:
			s.print("fetch %s from %s: of %s, missing %s", f.Kind, joinNames(f.From), s.named(f.At), s.namedAll(f.Events))
		case room.FetchState:
			s.print("fetch %s from %s: at %s", f.Kind, joinNames(f.From), s.named(f.At))
		}
	}
	for _, out := range r.Send {
		s.print("send %s to %s", s.named(out.Event.ID()), joinNames(out.Servers))
	}
	for _, e := range r.Commit.Stage {
		s.print("stage %s", s.named(e.ID()))
	}
	for _, e := range r.Commit.Unstage {
		s.print("unstage %s", s.named(e))
	}
	for _, c := range r.Commit.Changes {
		s.print("now %s: %s, was %s", keyText(c.Key), s.named(c.New), s.named(c.Old))
	}
	for _, server := range slices.Sorted(maps.Keys(r.Commit.Servers)) {
		s.print("members of %s: %d", server, r.Commit.Servers[server])
	}
	if !slices.Equal(before, r.Commit.Forward) {
		s.print("forward %s, depth %d", s.namedAll(r.Commit.Forward), r.Commit.Depth)
	}
	if slices.Compare(s.m.Forward(), r.Commit.Forward) != 0 || !s.m.Current().Equal(r.Commit.Current) {
		s.t.Error("the machine and its commit differ")
	}
}

func joinNames(list []id.ServerName) string {
	var names []string
	for _, s := range list {
		names = append(names, string(s))
	}
	return strings.Join(names, ",")
}

func keyText(k roomstate.Key) string {
	return strings.TrimSuffix(strings.TrimPrefix(k.Type, "m.room.")+" "+k.StateKey, " ")
}

func (s *scene) showState() {
	var lines []string
	for key, e := range wholestate.All(s.m.Current()) {
		lines = append(lines, keyText(key)+": "+s.named(e))
	}
	slices.Sort(lines)
	for _, line := range lines {
		s.print("%s", line)
	}
}

// cut splits at the first space.
func cut(s string) (before, after string, found bool) { return strings.Cut(s, " ") }
