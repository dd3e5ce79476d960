package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/conformance/literal"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/peer"
)

// forks is a room whose events branch. Its state is by the suite's own reading alone.
type forks struct {
	*court
	made  []*event.Event
	clock time.Time
}

// openForks makes a room and the place where it branches.
func openForks(ctx context.Context, c *court) (f *forks, base []string) {
	return &forks{court: c, clock: time.Now()}, texts(c.Ends())
}

// try makes an event on top of some others and adds it to the suite's own graph; nil where it is not allowed there.
func (f *forks) try(at []string, sender, eventType, stateKey string, content map[string]any) *event.Event {
	GinkgoHelper()
	f.clock = f.clock.Add(time.Second)
	return f.tryAt(f.clock, at, sender, eventType, stateKey, content)
}

func (f *forks) tryAt(when time.Time, at []string, sender, eventType, stateKey string, content map[string]any) *event.Event {
	GinkgoHelper()
	d := peer.StateDraft(f.peer.User(sender), eventType, stateKey, content)
	d.OriginServerTS = when.UnixMilli()
	for _, prev := range at {
		d.PrevEvents = append(d.PrevEvents, id.EventID(prev))
		depth, _ := f.graph.Events[prev].Fields["depth"].(json.Number)
		n, _ := depth.Int64()
		d.Depth = max(d.Depth, n+1)
	}
	d.AuthEvents = f.selected(d, f.graph.At(at))
	e, err := f.Build(d)
	Expect(err).NotTo(HaveOccurred())
	if f.graph.Add(f.read(e)) != nil {
		return nil
	}
	Expect(f.Add(e)).To(Succeed())
	f.made = append(f.made, e)
	return e
}

// on makes an event that is allowed, and gives its ID as a place to go on from.
func (f *forks) on(at []string, sender, eventType, stateKey string, content map[string]any) []string {
	GinkgoHelper()
	e := f.try(at, sender, eventType, stateKey, content)
	Expect(e).NotTo(BeNil(), "%s's %s is not allowed where the shape has it", sender, eventType)
	return []string{string(e.ID())}
}

// is makes a membership.
func (f *forks) is(at []string, sender, target, membership string, pairs ...any) []string {
	GinkgoHelper()
	content := map[string]any{"membership": membership}
	for i := 0; i < len(pairs); i += 2 {
		content[pairs[i].(string)] = pairs[i+1]
	}
	return f.on(at, sender, "m.room.member", string(f.peer.User(target)), content)
}

// levelsAt makes a change of the power levels.
func (f *forks) levelsAt(at []string, sender string, change func(content, users map[string]any)) []string {
	GinkgoHelper()
	return f.on(at, sender, "m.room.power_levels", "", f.changed(at, change))
}

func (f *forks) changed(at []string, change func(content, users map[string]any)) map[string]any {
	GinkgoHelper()
	var content map[string]any
	levels := f.graph.At(at)[literal.Key{Type: "m.room.power_levels"}]
	Expect(json.Unmarshal(literal.Canonical(levels.Content()), &content)).To(Succeed())
	change(content, content["users"].(map[string]any))
	return content
}

func (f *forks) user(name string) string { return string(f.peer.User(name)) }

// merged joins the branches, sends everything, and holds the state that the server under test resolves against the
// suite's own.
func (f *forks) merged(ctx SpecContext, branches ...[]string) {
	GinkgoHelper()
	ends := slices.Concat(branches...)
	slices.Sort(ends)
	ends = slices.Compact(ends)
	d := peer.MessageDraft(f.peer.User("bob"), "the branches meet")
	for _, end := range ends {
		d.PrevEvents = append(d.PrevEvents, id.EventID(end))
	}
	state := f.graph.At(ends)
	d.AuthEvents = f.selected(d, state)
	merge, err := f.Build(d)
	Expect(err).NotTo(HaveOccurred())
	Expect(f.graph.Add(f.read(merge))).To(Succeed())
	Expect(f.Add(merge)).To(Succeed())
	var raws []json.RawMessage
	for _, e := range f.made {
		raws = append(raws, e.JSON())
	}
	f.delivered(ctx, append(raws, merge.JSON())...)
	f.sees(ctx, merge.ID())

	given, err := f.peer.Client.StateIDs(ctx, sut.name, f.ID, merge.ID())
	Expect(err).NotTo(HaveOccurred())
	var wanted []string
	for _, e := range f.graph.Before(string(merge.ID())) {
		wanted = append(wanted, e.ID)
	}
	slices.Sort(wanted)
	got := texts(given.PDUIDs)
	slices.Sort(got)
	Expect(got).To(Equal(wanted), "the resolved state is another:\n%s", f.difference(got, wanted))
	for key, e := range state {
		content, err := stateContent(ctx, alice, f.ID, key.Type, key.StateKey)()
		Expect(err).NotTo(HaveOccurred(), "%v", key)
		Expect(encode(content)).To(MatchJSON(literal.Canonical(e.Content())), "what alice sees at %v", key)
	}
}

func (f *forks) difference(got, wanted []string) string {
	text := ""
	for _, one := range got {
		if !slices.Contains(wanted, one) {
			text += fmt.Sprintf("too many: %s\n", f.show(one))
		}
	}
	for _, one := range wanted {
		if !slices.Contains(got, one) {
			text += fmt.Sprintf("missing: %s\n", f.show(one))
		}
	}
	return text
}

func (f *forks) show(eventID string) string {
	e := f.graph.Events[eventID]
	if e == nil {
		return eventID
	}
	stateKey, _ := e.StateKey()
	return fmt.Sprintf("%s %s %q by %s: %s", eventID, e.Type(), stateKey, e.Sender(), literal.Canonical(e.Content()))
}

func topic(text string) map[string]any { return map[string]any{"topic": text} }

// shape is a room that branches in a way that is known to be hard.
type shape struct {
	name  string
	build func(f *forks, base []string) (branches [][]string)
}

func shapes() []shape {
	return []shape{
		{"a ban against a change of power levels by who is banned", func(f *forks, base []string) [][]string {
			return [][]string{f.is(base, "bob", "ian", "ban"), f.levelsAt(base, "ian", func(_, users map[string]any) { users[f.user("carol")] = 75 })}
		}},
		{"concurrent changes of power levels", func(f *forks, base []string) [][]string {
			return [][]string{
				f.levelsAt(base, "ian", func(_, users map[string]any) { users[f.user("dave")] = 60 }),
				f.levelsAt(base, "jo", func(_, users map[string]any) { users[f.user("dave")] = 70 }),
			}
		}},
		{"a demotion against a ban by who is demoted", func(f *forks, base []string) [][]string {
			return [][]string{
				f.levelsAt(base, "bob", func(_, users map[string]any) { users[f.user("ian")] = 0 }),
				f.is(base, "ian", "dave", "ban"),
			}
		}},
		{"a ban against a ban by who is banned", func(f *forks, base []string) [][]string {
			return [][]string{f.is(base, "ian", "dave", "ban"), f.is(base, "dave", "carol", "leave")}
		}},
		{"a door that closes against a join", func(f *forks, base []string) [][]string {
			return [][]string{f.on(base, "bob", "m.room.join_rules", "", map[string]any{"join_rule": "invite"}), f.is(base, "gina", "gina", "join")}
		}},
		{"a door that closes against an invite and its join", func(f *forks, base []string) [][]string {
			closed := f.on(base, "bob", "m.room.join_rules", "", map[string]any{"join_rule": "invite"})
			return [][]string{closed, f.is(f.is(base, "dave", "gina", "invite"), "gina", "gina", "join")}
		}},
		{"two topics, the later one wins", func(f *forks, base []string) [][]string {
			return [][]string{f.on(base, "dave", "m.room.topic", "", topic("one")), f.on(base, "ian", "m.room.topic", "", topic("two"))}
		}},
		{"two topics, the one above newer power levels wins, whatever the time", func(f *forks, base []string) [][]string {
			raised := f.levelsAt(base, "bob", func(content, _ map[string]any) { content["redact"] = 91 })
			first := f.on(raised, "dave", "m.room.topic", "", topic("above"))
			return [][]string{first, f.on(base, "ian", "m.room.topic", "", topic("later, below"))}
		}},
		{"times that lie", func(f *forks, base []string) [][]string {
			old := f.tryAt(time.UnixMilli(1), base, "ian", "m.room.topic", "", topic("from 1970"))
			far := f.tryAt(f.clock.Add(12*time.Hour), base, "dave", "m.room.topic", "", topic("from tomorrow"))
			return [][]string{{string(old.ID())}, {string(far.ID())}}
		}},
		{"one who leaves and comes back against a change of name", func(f *forks, base []string) [][]string {
			back := f.is(f.is(base, "carol", "carol", "leave"), "carol", "carol", "join")
			return [][]string{back, f.is(base, "carol", "carol", "join", "displayname", "Carol")}
		}},
		{"a withdrawn invite against its join", func(f *forks, base []string) [][]string {
			return [][]string{f.is(base, "bob", "frank", "leave"), f.is(base, "frank", "frank", "join")}
		}},
		{"power that was given by one who was banned, and used", func(f *forks, base []string) [][]string {
			given := f.levelsAt(base, "ian", func(_, users map[string]any) { users[f.user("carol")] = 75 })
			return [][]string{f.is(base, "bob", "ian", "ban"), f.is(given, "carol", "dave", "ban")}
		}},
		{"a ban against the ban of who banned", func(f *forks, base []string) [][]string {
			return [][]string{f.is(f.is(base, "ian", "carol", "ban"), "ian", "carol", "leave"), f.is(base, "bob", "ian", "ban"), f.is(base, "ian", "dave", "leave")}
		}},
		{"three branches: levels, door and ban", func(f *forks, base []string) [][]string {
			return [][]string{
				f.levelsAt(base, "bob", func(content, users map[string]any) { content["kick"], users[f.user("dave")] = 60, 0 }),
				f.is(f.on(base, "dave", "m.room.join_rules", "", map[string]any{"join_rule": "invite"}), "dave", "gina", "invite"),
				f.is(f.is(base, "gina", "gina", "join"), "dave", "gina", "leave"),
			}
		}},
		{"members who came by an open door that is closed now, in conflict (the reset that version 2.1 ends)", func(f *forks, base []string) [][]string {
			joined := f.is(base, "gina", "gina", "join")
			closed := f.on(joined, "bob", "m.room.join_rules", "", map[string]any{"join_rule": "invite"})
			renamed := f.is(closed, "gina", "gina", "join", "displayname", "Gina")
			other := f.on(closed, "dave", "m.room.topic", "", topic("beside"))
			again := f.is(other, "gina", "gina", "join", "displayname", "Regina")
			return [][]string{f.is(renamed, "carol", "carol", "join", "displayname", "C"), f.is(again, "carol", "carol", "leave")}
		}},
		{"power levels in between that only the auth chains know (the subgraph of version 2.1)", func(f *forks, base []string) [][]string {
			one := f.levelsAt(base, "bob", func(_, users map[string]any) { users[f.user("carol")] = 60 })
			two := f.levelsAt(one, "ian", func(content, _ map[string]any) { content["kick"] = 40 })
			three := f.levelsAt(two, "ian", func(content, _ map[string]any) { content["kick"] = 30 })
			left := f.on(three, "carol", "m.room.topic", "", topic("by carol's new power"))
			return [][]string{left, f.is(base, "bob", "ian", "ban"), f.on(one, "dave", "m.room.topic", "", topic("beside"))}
		}},
		{"branches of different length that end alike", func(f *forks, base []string) [][]string {
			long := base
			for i := range 6 {
				long = f.on(long, "dave", "m.room.topic", "", topic(fmt.Sprint("step ", i)))
			}
			return [][]string{long, f.on(base, "ian", "m.room.name", "", map[string]any{"name": "The other"})}
		}},
		{"state that one branch alone has", func(f *forks, base []string) [][]string {
			return [][]string{f.on(base, "carol", "org.example.free", "a", map[string]any{"x": 1}), f.on(base, "carol", "org.example.free", "b", map[string]any{"x": 2})}
		}},
	}
}

var _ = Describe("State resolution", Label("s2s:state-resolution"), func() {
	const section = "server-server-api#room-state-resolution"
	for _, version := range peer.Versions() {
		Context("in room version "+string(version), Label(labelVersion+string(version)), says("rooms/v"+string(version)+"#state-resolution",
			"The room state S(E) before E is the resolution of the set of states {S′(E1), S′(E2), …} after the prev_events {E1, E2, …} of E."), func() {
			for _, s := range shapes() {
				It(s.name, says(section, "The state resolution algorithm … ensures that all servers agree on the state of the room"), func(ctx SpecContext) {
					c := openCourt(ctx, version, courtOptions{})
					f, base := openForks(ctx, c)
					f.merged(ctx, s.build(f, base)...)
				})
			}
			for i := range 4 {
				It(fmt.Sprintf("a room that branches at random, %d", i+1), func(ctx SpecContext) {
					seed := uint64(GinkgoRandomSeed()) + uint64(i)
					AddReportEntry("the random room's seed", seed)
					c := openCourt(ctx, version, courtOptions{})
					f, base := openForks(ctx, c)
					f.merged(ctx, f.wander(rand.New(rand.NewPCG(seed, 1)), base)...)
				})
			}
		})
	}
})

// wander makes three branches at random, which now and then meet.
func (f *forks) wander(random *rand.Rand, base []string) [][]string {
	GinkgoHelper()
	branches := [][]string{base, base, base}
	names := []string{"bob", "ian", "jo", "dave", "carol", "frank", "gina", "erin"}
	pick := func() string { return names[random.IntN(len(names))] }
	for made := 0; made < 16; {
		i := random.IntN(len(branches))
		at := branches[i]
		if random.IntN(6) == 0 {
			at = slices.Concat(at, branches[random.IntN(len(branches))])
			slices.Sort(at)
			at = slices.Compact(at)
		}
		eventType, stateKey, content := f.chance(random, at, pick)
		sender := pick()
		if random.IntN(3) == 0 {
			sender = names[random.IntN(3)]
		}
		if eventType == "m.room.member" && content["membership"] == "join" {
			sender = stateKey
			stateKey = f.user(stateKey)
		}
		when := f.clock.Add(time.Duration(random.IntN(20)-10) * time.Second)
		if e := f.tryAt(when, at, sender, eventType, stateKey, content); e != nil {
			branches[i] = []string{string(e.ID())}
			made++
		}
	}
	return branches
}

// chance is an event of some kind; a join's state key is the name of who joins.
func (f *forks) chance(random *rand.Rand, at []string, pick func() string) (eventType, stateKey string, content map[string]any) {
	GinkgoHelper()
	switch random.IntN(8) {
	case 0:
		return "m.room.topic", "", topic(fmt.Sprint(random.IntN(1000)))
	case 1:
		return "m.room.join_rules", "", map[string]any{"join_rule": []string{"public", "invite"}[random.IntN(2)]}
	case 2, 3:
		return "m.room.power_levels", "", f.changed(at, func(content, users map[string]any) {
			users[f.user([]string{"ian", "jo", "dave", "carol", "gina"}[random.IntN(5)])] = []int{0, 50, 60, 75}[random.IntN(4)]
		})
	case 4:
		return "m.room.member", pick(), map[string]any{"membership": "join", "displayname": fmt.Sprint(random.IntN(1000))}
	}
	membership := []string{"ban", "leave", "invite"}[random.IntN(3)]
	target := pick()
	if target == "bob" { // who must be there to the end
		target = "carol"
	}
	return "m.room.member", f.user(target), map[string]any{"membership": membership}
}
