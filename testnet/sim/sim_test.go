package sim

import (
	"flag"
	"reflect"
	"sync"
	"testing"
	"time"

	"hanse/federation/roomversion"
)

var (
	seeds   = flag.Int("seeds", 5, "runs of each room version")
	seed    = flag.Uint64("seed", 0, "the first seed; 0: by the clock")
	version = flag.String("version", "", "only this room version")
	trace   = flag.Bool("trace", false, "tell everything that happens")
)

// TestRuns makes runs of all room versions. A failure says how to repeat it.
func TestRuns(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano()) % 1_000_000_000
	}
	t.Logf("seeds %d to %d", first, first+uint64(*seeds)-1)
	var mu sync.Mutex
	var total Report
	t.Run("versions", func(t *testing.T) {
		for _, rules := range roomversion.All() {
			if *version != "" && *version != string(rules.Version) {
				continue
			}
			t.Run(string(rules.Version), func(t *testing.T) {
				t.Parallel()
				report := runs(t, first, rules.Version)
				mu.Lock()
				defer mu.Unlock()
				total.Add(report)
			})
		}
	})
	t.Logf("%+v", total)
	if *version == "" && !t.Failed() {
		reached(t, total)
	}
}

func runs(t *testing.T, first uint64, v roomversion.Version) Report {
	var total Report
	for i := range *seeds {
		cfg := Config{Seed: first + uint64(i), Version: v}
		if *trace {
			cfg.Trace = t.Logf
		}
		report, err := Run(cfg)
		if err != nil {
			t.Fatalf("%v\nagain: go test ./testnet/sim -run Runs -version %s -seeds 1 -seed %d -trace -v", err, v, cfg.Seed)
		}
		total.Add(report)
	}
	return total
}

// reached fails if the runs together never came to something that they should come to: a simulation that goes nowhere proves nothing.
func reached(t *testing.T, r Report) {
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).Int() == 0 && name != "Reset" {
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
