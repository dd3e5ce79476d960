package sim

import (
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hanse/federation/roomversion"
)

var (
	seeds   = flag.Int("seeds", 5, "runs of each room version")
	seed    = flag.Uint64("seed", 0, "the first seed; 0: by the clock")
	version = flag.String("version", "", "only this room version")
	rewrite = flag.Bool("rewrite", false, "write the scenario that is kept in federation/room anew")
	trace   = flag.Bool("trace", false, "tell everything that happens")
)

// TestRuns makes runs of all room versions. A failure says how to repeat it.
func TestRuns(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	t.Logf("seeds %d to %d", first, first+uint64(*seeds)-1)
	total := runs(t, first, *seeds)
	t.Logf("%+v", total)
	if *version == "" && !t.Failed() && *seeds >= certain {
		reached(t, total)
	}
}

// certain is how many runs of each room version come everywhere, whatever their seeds.
const certain = 200

// TestReached: the runs of some seeds come everywhere. The seeds are always the same, so that chance has no part in it: a few runs of
// other seeds may miss the rarest paths. When runs with these seeds have become others by a change and miss one, take more or other seeds.
func TestReached(t *testing.T) {
	if *version == "" {
		reached(t, runs(t, 1, 12))
	}
}

// runs makes runs of all room versions, or of the one asked for, from a first seed on.
func runs(t *testing.T, first uint64, count int) Report {
	var mu sync.Mutex
	var total Report
	t.Run("versions", func(t *testing.T) {
		for _, rules := range roomversion.All() {
			if *version != "" && *version != string(rules.Version) {
				continue
			}
			t.Run(string(rules.Version), func(t *testing.T) {
				t.Parallel()
				report := runsOf(t, rules.Version, first, count)
				mu.Lock()
				defer mu.Unlock()
				total.Add(report)
			})
		}
	})
	return total
}

func runsOf(t *testing.T, v roomversion.Version, first uint64, count int) Report {
	var total Report
	for i := range count {
		cfg := Config{Seed: first + uint64(i), Version: v}
		if *trace {
			cfg.Trace = t.Logf
		}
		report, err := Run(cfg)
		if err != nil {
			small, failure := Shrink(cfg, 400)
			t.Fatalf("%v\nagain: go test ./testnet/sim -run Runs -version %s -seeds 1 -seed %d -trace -v\nas a scenario (%v):\n%s",
				err, v, cfg.Seed, failure, Scenario(small, failure, 0))
		}
		total.Add(report)
	}
	return total
}

// hardlyEver do runs come to these.
var hardlyEver = []string{"Reset", "Stranded"}

// reached fails if runs together never came to something that they should come to: a simulation that goes nowhere proves nothing.
func reached(t *testing.T, r Report) {
	t.Helper()
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).Int() == 0 && !slices.Contains(hardlyEver, name) {
			t.Errorf("no run came to %s", name)
		}
	}
}

// The same configuration gives the same run.
func TestSame(t *testing.T) {
	for _, v := range []roomversion.Version{roomversion.V1, roomversion.V6, roomversion.V12} {
		a, errA := Run(Config{Seed: 7, Version: v})
		b, errB := Run(Config{Seed: 7, Version: v})
		if errA != nil || errB != nil || a != b {
			t.Errorf("version %s:\n%+v %v\n%+v %v", v, a, errA, b, errB)
		}
	}
}

// TestShrink: a run that breaks an invariant is made smaller and still breaks it. The invariant here is made up.
func TestShrink(t *testing.T) {
	cfg := Config{Seed: 2, Version: roomversion.V11, Actions: 40, Servers: 5}
	cfg.holds = func(n *network) error {
		s := n.servers[0]
		if e, ok := s.store.current.Get("m.room.topic", ""); ok {
			return n.failAt(s, "nobody sets a topic", "%s", e)
		}
		return nil
	}
	small, failure := Shrink(cfg, 500)
	if failure == nil || failure.Invariant != "nobody sets a topic" || len(small.steps) > 5 || small.Servers != 3 {
		t.Fatalf("%d steps of %d servers: %v", len(small.steps), small.Servers, failure)
	}
	if told := Scenario(small, failure, 1); !strings.Contains(told, "self s0\n") || !strings.Contains(told, " topic ") {
		t.Errorf("the scenario is not about it:\n%s", told)
	}
	cfg.holds = nil
	if _, failure := Shrink(cfg, 5); failure != nil {
		t.Errorf("a run that is fine fails: %v", failure)
	}
}

// TestScenarioIsRead: what a run brings to a server is a scenario that the tests of federation/room play; one of them is kept there, and
// is made anew by -rewrite, then by the same flag of that package.
func TestScenarioIsRead(t *testing.T) {
	const file = "../../federation/room/testdata/simulated.room"
	told := Scenario(Config{Seed: simulatedSeed, Version: roomversion.V8, Actions: 25, Servers: 3}, nil, 1)
	if *rewrite {
		if err := os.WriteFile(file, []byte(told), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(kept)) {
		if !strings.HasPrefix(line, ">") {
			lines = append(lines, line)
		}
	}
	if inputs := strings.Join(lines, ""); inputs != told {
		t.Errorf("%s has other lines than the run:\n%s", file, told)
	}
}

// simulatedSeed is of a run with a partial join, crashes, refusals and fetches.
const simulatedSeed = 10

// Without faults there is nothing to drop, and nobody disagrees for long.
func TestFairWeather(t *testing.T) {
	report, err := Run(Config{Seed: 1, Version: roomversion.V12, Servers: 4, Faults: Faults{Forge: 1}})
	if err != nil || report.Dropped > 0 && report.Rejoins == 0 || report.Crashes > 0 {
		t.Errorf("%+v %v", report, err)
	}
}

func BenchmarkRun(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		if _, err := Run(Config{Seed: uint64(i), Version: roomversion.V12}); err != nil {
			b.Fatal(err)
		}
	}
}
