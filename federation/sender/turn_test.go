package sender

import (
	"fmt"
	"testing"
	"time"

	"hanse/federation/id"
)

// TestTurns: few sends compute at a time, while many wait for an answer; and one that can't get its request out keeps the others waiting
// for no more than its turn. Where events gather for servers, more compute. To many servers none begins before who said it can have the answer.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		name            string
		servers, events int
		writes, takes   time.Duration
		crowded, atOnce int           // that compute at once, that are under way (0: whichever)
		after, within   time.Duration // of when it was said, the first and the last send begin
	}{
		{"written at once", 50, 1, time.Millisecond, 10 * time.Minute, 2, 50, 0, 25 * time.Millisecond},
		{"hanging", 50, 1, time.Minute, 10 * time.Minute, 50, 50, 0, 50 * time.Millisecond},
		{"many", 150, 1, time.Millisecond, 10 * time.Minute, 2, 150, moment, 76 * time.Millisecond},
		{"behind", 50, 100, time.Millisecond, 0, 6, 0, 0, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Limits{Computing: 2, Behind: 6}, func(t *testing.T, s *Sender, b *box, w *wire) {
				w.writes, w.takes = c.writes, c.takes
				began := time.Now()
				var servers []id.ServerName
				for n := range c.servers {
					servers = append(servers, id.ServerName(fmt.Sprintf("s%d.example", n)))
					b.put(servers[n], numbers(0, c.events)...)
				}
				s.Wake(servers...)
				sleep(time.Hour)
				log := w.takeLog()
				if want := c.servers * ((c.events + 49) / 50); len(log) != want || w.crowded != c.crowded || c.atOnce > 0 && w.most != c.atOnce {
					t.Errorf("%d sent, %d computing and %d under way at once", len(log), w.crowded, w.most)
				}
				for _, d := range log {
					if waited := d.at.Sub(began); waited < c.after || waited > c.within {
						t.Errorf("%s had to wait for %v", d.to, waited)
					}
				}
			})
		})
	}
}

// TestTurnsOfServersThatFailed: servers for which events gather don't keep all turns from one that failed the last time.
func TestTurnsOfServersThatFailed(t *testing.T) {
	const failed = id.ServerName("failed.example")
	bubble(t, Limits{Computing: 1, Behind: 4, MinBackoff: 40 * time.Millisecond}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.says(errDown)
		b.put(failed, 0)
		s.Wake(failed)
		sleep(time.Millisecond)
		w.says(nil)
		w.writes = time.Millisecond
		for n := range 8 {
			server := id.ServerName(fmt.Sprintf("s%d.example", n))
			b.put(server, numbers(0, 40*50)...)
			s.Wake(server)
		}
		sleep(time.Minute)
		log := w.takeLog()
		if len(log) != 2+8*40 {
			t.Fatalf("%d sent", len(log))
		}
		for _, d := range log[1:] {
			if waited := d.at.Sub(log[0].at); d.to == failed && waited > 45*time.Millisecond {
				t.Errorf("it had to wait for %v", waited)
			}
		}
	})
}
