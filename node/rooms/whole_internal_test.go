package rooms

import (
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// TestWhoSpeaksButCannotAnswerIsAskedSeldom: a server that sends something every second is not asked for a room's members as often, when it
// never can give them.
func TestWhoSpeaksButCannotAnswerIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const there id.ServerName = "there.example"
		g := &gettingWhole{anew: make(chan struct{}, 1)}
		r := &Rooms{partial: map[id.RoomID]*gettingWhole{"!room:there.example": g}}
		asks := 0
		go func() { // what makeWhole does
			for pause := wholePause; ; pause = min(2*pause, wholePauseMost) {
				asks++
				r.mu.Lock()
				g.out, g.pause = map[id.ServerName]time.Time{there: time.Now()}, pause
				r.mu.Unlock()
				select {
				case <-time.After(pause):
				case <-g.anew:
				case <-t.Context().Done():
					return
				}
			}
		}()
		for range 3600 {
			time.Sleep(time.Second)
			r.Retry(there)
		}
		if asks < 30 || asks > 60 {
			t.Errorf("it was asked %d times in an hour", asks)
		}
	})
}
