package sim

import (
	"flag"
	"testing"
	"time"

	"hanse/federation/roomversion"
)

var (
	seeds = flag.Int("seeds", 40, "runs of each room version")
	seed  = flag.Uint64("seed", 0, "run this seed alone, and tell what happens")
	only  = flag.String("version", "", "run this room version alone")
)

func TestSim(t *testing.T) {
	begin := uint64(time.Now().UnixNano()) % 1_000_000_000
	var total Report
	runs := 0
	for _, rules := range roomversion.All() {
		if *only != "" && *only != string(rules.Version) {
			continue
		}
		for i := range *seeds {
			cfg := Config{Seed: begin + uint64(i), Version: rules.Version}
			if *seed != 0 {
				cfg.Seed, cfg.Trace = *seed, t.Logf
			}
			report, err := Run(cfg)
			if err != nil {
				t.Errorf("%v\nagain: go test ./testnet/sim -run TestSim -version %s -seed %d", err, cfg.Version, cfg.Seed)
			}
			total.Add(report)
			runs++
			if *seed != 0 || t.Failed() {
				break
			}
		}
	}
	t.Logf("%d runs from seed %d: %+v", runs, begin, total)
}
