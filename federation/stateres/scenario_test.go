package stateres

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/testnet/wholestate"
)

// The scenarios in testdata/*.room are rooms with forks and what their states resolve to, in each room version. A room
// begins with four events of @alice:a, one after the other: create, alice (her join), levels (she has 100), and public
// (the join rules). Then, one a line:
//
//	event NAME SENDER join|leave|ban TARGET|kick TARGET|unban TARGET|invite TARGET|rules RULE|levels USER=N …|topic TEXT
//
// options at its end: prev=A,B (otherwise the event of the line before), ts=N (seconds from the start, otherwise later
// than the line before), auth=A,B (otherwise what the state before selects), rejected (the state before forbids it).
//
//	resolve A B+x …
//
// resolves the state after A with the state after B into which x was put. Lines that begin with '>' are what comes of
// it: for room versions, the entries in which the states or the result differ. They are written by
//
//	go test ./federation/stateres -run Scenarios -rewrite
var rewrite = flag.Bool("rewrite", false, "write the results into testdata/*.room")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.room")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScenario(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal([]byte(got), text) {
				t.Errorf("%s is now (see -rewrite)\n%s", file, got)
			}
		})
	}
}

// playScenario returns the text with the results that it has now.
func playScenario(t *testing.T, text string) string {
	rooms := map[roomversion.Version]*scenario{}
	for _, rules := range roomversion.All() {
		rooms[rules.Version] = newScenario(t, rules)
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, ">"):
			continue
		case len(fields) == 0 || strings.HasPrefix(line, "#"):
			out.WriteString(line)
			continue
		}
		out.WriteString(line)
		switch fields[0] {
		case "event":
			for _, rules := range roomversion.All() {
				rooms[rules.Version].event(fields[1:])
			}
		case "resolve":
			out.WriteString(results(rooms, fields[1:]))
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return out.String()
}

// results resolves in all versions and puts those with the same result together.
func results(rooms map[roomversion.Version]*scenario, operands []string) string {
	var order []string
	versions := map[string][]string{}
	for _, rules := range roomversion.All() {
		result := rooms[rules.Version].resolve(operands)
		if versions[result] == nil {
			order = append(order, result)
		}
		versions[result] = append(versions[result], string(rules.Version))
	}
	var out strings.Builder
	for _, result := range order {
		list := versions[result]
		fmt.Fprintf(&out, "> in %s\n%s", ranges(list), result)
	}
	return out.String()
}

// ranges writes 2 3 4 6 as 2-4 6.
func ranges(versions []string) string {
	var parts []string
	for i := 0; i < len(versions); {
		j := i
		for j+1 < len(versions) && number(versions[j+1]) == number(versions[j])+1 {
			j++
		}
		if part := versions[i]; i == j {
			parts = append(parts, part)
		} else {
			parts = append(parts, part+"-"+versions[j])
		}
		i = j + 1
	}
	return strings.Join(parts, " ")
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// scenario is a room in one version.
type scenario struct {
	*world
	named map[string]id.EventID
	names map[id.EventID]string
	last  id.EventID
}

func newScenario(t *testing.T, rules *roomversion.Rules) *scenario {
	s := &scenario{world: newWorld(t, rules), named: map[string]id.EventID{}, names: map[id.EventID]string{}}
	s.last = s.start().ID()
	for i, name := range []string{"create", "alice", "levels", "public"} {
		s.named[name], s.names[s.order[i]] = s.order[i], name
	}
	return s
}

func (s *scenario) lookup(names string) []id.EventID {
	ids := []id.EventID{}
	for name := range strings.SplitSeq(names, ",") {
		e, ok := s.named[name]
		if !ok {
			s.t.Fatalf("no event is called %q", name)
		}
		if name != "create" || s.rules.CreateInAuthEvents {
			ids = append(ids, e)
		}
	}
	return ids
}

// event plays a line "event".
func (s *scenario) event(fields []string) {
	name, next, allowed := fields[0], step{sender: fields[1], after: []id.EventID{s.last}}, true
	var words []string
	for _, field := range fields[2:] {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "prev":
			next.after = s.lookup(value)
		case "auth":
			next.auth = s.lookup(value)
		case "ts":
			next.ts = 1_000_000 + 1000*int64(number(value))
		case "rejected":
			allowed = false
		default:
			words = append(words, field)
		}
	}
	s.fill(&next, words)
	e, ok := s.send(next)
	if ok != allowed {
		s.t.Fatalf("version %s: %s is allowed: %v", s.rules.Version, name, ok)
	}
	if s.named[name] != "" {
		s.t.Fatalf("two events are called %q", name)
	}
	s.named[name], s.names[e.ID()], s.last = e.ID(), name, e.ID()
	s.ts += 1000
}

// fill says what the event is.
func (s *scenario) fill(next *step, words []string) {
	argument := strings.Join(words[1:], " ")
	next.typ = typeMember
	membership := words[0]
	switch words[0] {
	case "join", "leave":
		next.stateKey = next.sender
	case "kick", "unban":
		next.stateKey, membership = argument, "leave"
	case "ban", "invite":
		next.stateKey = argument
	case "rules":
		next.typ, next.content = typeJoinRules, map[string]any{"join_rule": argument}
		return
	case "topic":
		next.typ, next.content = "m.room.topic", map[string]any{"topic": argument}
		return
	case "levels":
		users := map[string]any{"@alice:a": 100}
		for _, word := range words[1:] {
			user, level, _ := strings.Cut(word, "=")
			users[user] = number(level)
		}
		next.typ, next.content = typePowerLevels, s.levels(users)
		return
	default:
		s.t.Fatalf("no event is a %q", words[0])
	}
	next.content = map[string]any{"membership": membership}
}

// resolve plays a line "resolve".
func (s *scenario) resolve(operands []string) string {
	var states []roomstate.Map
	for _, operand := range operands {
		parts := strings.Split(operand, "+")
		state := s.after[s.lookup(parts[0])[0]]
		for _, put := range parts[1:] {
			e := s.events[s.lookup(put)[0]]
			key, _ := keyOf(e)
			state = wholestate.With(state, key.Type, key.StateKey, e.ID())
		}
		states = append(states, state)
	}
	result, err := Resolve(s.rules, states, s)
	if err != nil {
		s.t.Fatal(err)
	}
	var plains []plain
	for _, state := range states {
		plains = append(plains, maps.Collect(wholestate.All(state)))
	}
	if want := roomstate.Build(maps.All((&slow{s.world, s.events}).resolve(plains))); !result.Equal(want) {
		s.t.Errorf("version %s: resolve %v: the slow algorithm gives\n%s", s.rules.Version, operands, s.describe(want))
	}
	keys := map[roomstate.Key]id.EventID{}
	for _, state := range states {
		for change := range wholestate.Diff(state, result) {
			keys[change.Key] = change.New
		}
	}
	var out strings.Builder
	for _, key := range slices.SortedFunc(maps.Keys(keys), func(a, b roomstate.Key) int {
		return strings.Compare(a.Type+" "+a.StateKey, b.Type+" "+b.StateKey)
	}) {
		name := "nothing"
		if keys[key] != "" {
			name = s.names[keys[key]]
		}
		label := strings.TrimSpace(strings.TrimPrefix(key.Type, "m.room.") + " " + key.StateKey)
		fmt.Fprintf(&out, ">   %s: %s\n", label, name)
	}
	return out.String()
}
