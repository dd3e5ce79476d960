package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

func TestRefusedEventIsFoundAndGivenUp(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.answer = func(d delivery) error {
			if slices.Contains(d.pdus, 37) {
				return refused{federation.BadJSON("I don't like 37")}
			}
			return nil
		}
		b.put(peer, numbers(0, 60)...)
		s.Wake(peer)
		sleep(time.Hour)
		var got []int
		for _, d := range w.takeLog() {
			if d.err == nil {
				got = append(got, d.pdus...)
			}
		}
		want := slices.DeleteFunc(numbers(0, 60), func(n int) bool { return n == 37 })
		if !slices.Equal(got, want) {
			t.Errorf("delivered %v", got)
		}
		if got := s.Stats(); got.GivenUp != 1 {
			t.Errorf("stats %+v", got)
		}
		if len(s.queues) != 0 || len(b.backoff) != 0 {
			t.Errorf("something is left: %v %v", s.queues, b.backoff)
		}
	})
}

func TestRefusedPairOfKinds(t *testing.T) {
	bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
		w.answer = func(d delivery) error {
			if len(d.edus) > 0 {
				return refused{federation.TooLarge("no EDUs")}
			}
			return nil
		}
		b.put(peer, 1, 2)
		b.putEDU(peer, 1, 2, 3)
		s.Wake(peer)
		sleep(time.Hour)
		if len(b.pdus[peer]) != 0 || len(b.edus[peer]) != 0 {
			t.Errorf("left: %v %v", b.pdus[peer], b.edus[peer])
		}
		if got := s.Stats(); got.GivenUp != 3 || got.PDUs != 2 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestRefusedEDUBeforeAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := &ordered{box: newBox(), rows: []int{-1, 2, 3, -4, 5}}, &wire{}
		w.answer = func(d delivery) error {
			if len(d.edus) > 0 {
				return refused{federation.BadJSON("no EDUs")}
			}
			return nil
		}
		s := New(Config{Origin: self, Client: w, Outbox: o})
		stop := run(t, s)
		s.Wake(peer)
		sleep(time.Hour)
		if got := s.Stats(); len(o.rows) != 0 || got.PDUs != 3 || got.GivenUp != 2 {
			t.Errorf("left %v, stats %+v", o.rows, got)
		}
		stop()
	})
}

func TestRefusalOfWhoWeAreIsNoVerdictOnEvents(t *testing.T) {
	for _, status := range []int{401, 403, 404, 405, 408, 429, 500, 502} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, Limits{}, func(t *testing.T, s *Sender, b *box, w *wire) {
				w.says(refused{federation.NewError(status, "M_X", "no")})
				b.put(peer, 1)
				s.Wake(peer)
				sleep(24 * time.Hour)
				if got := s.Stats(); got.GivenUp != 0 || got.BackingOff != 1 || len(b.pdus[peer]) != 1 {
					t.Errorf("stats %+v", got)
				}
			})
		})
	}
}

type ordered struct {
	*box
	rows []int
}

func (o *ordered) Next(_ context.Context, _ id.ServerName, maxPDUs, maxEDUs int) (Batch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := Batch{Upto: int64(100 - len(o.rows))}
	for _, n := range o.rows {
		if text := json.RawMessage(fmt.Sprint(n)); n > 0 && len(batch.PDUs) < maxPDUs {
			batch.PDUs = append(batch.PDUs, text)
		} else if n < 0 && len(batch.EDUs) < maxEDUs {
			batch.EDUs = append(batch.EDUs, federation.EDU{Type: "m.durable", Content: text})
		} else {
			break
		}
	}
	return batch, nil
}

func (o *ordered) Done(_ context.Context, _ id.ServerName, batch Batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows = o.rows[len(batch.PDUs)+len(batch.EDUs):]
	return nil
}
