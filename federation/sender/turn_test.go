package sender

import (
	"fmt"
	"testing"
	"time"

	"hanse/federation/id"
)

// TestTurns: few sends compute at a time, while many wait for an answer; and one that can't get its request out keeps the others waiting
// for no more than its turn. None begins before who said it can have the answer.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name            string
		writes          time.Duration
		crowded, atOnce int
		within          time.Duration // of the first, the last send begins
	}{
		{"written at once", time.Millisecond, 2, 50, 50 * time.Millisecond},
		{"hanging", time.Minute, 50, 50, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Limits{Computing: 2}, func(t *testing.T, s *Sender, b *box, w *wire) {
				w.writes, w.takes = c.writes, 10*time.Minute
				began := time.Now()
				var servers []id.ServerName
				for n := range 50 {
					servers = append(servers, id.ServerName(fmt.Sprintf("s%d.example", n)))
					b.put(servers[n], n)
				}
				s.Wake(servers...)
				sleep(time.Hour)
				log := w.takeLog()
				if len(log) != 50 || w.crowded != c.crowded || w.most != c.atOnce {
					t.Errorf("%d sent, %d computing and %d under way at once", len(log), w.crowded, w.most)
				}
				for _, d := range log {
					if waited := d.at.Sub(began); waited < moment || waited > moment+c.within {
						t.Errorf("%s had to wait for %v", d.to, waited)
					}
				}
			})
		})
	}
}
