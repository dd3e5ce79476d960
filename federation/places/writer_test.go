package places

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// reader is a connection whose other end takes so long for each piece, or doesn't read at all.
type reader struct {
	*httptest.ResponseRecorder
	takes time.Duration // 0: for ever
	read  int

	mu    sync.Mutex
	until time.Time
	moved chan struct{} // closed when the deadline is another one
}

func newReader(takes time.Duration) *reader {
	return &reader{ResponseRecorder: httptest.NewRecorder(), takes: takes, moved: make(chan struct{})}
}

// SetWriteDeadline is for [http.ResponseController].
func (r *reader) SetWriteDeadline(until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = until
	close(r.moved)
	r.moved = make(chan struct{})
	return nil
}

func (r *reader) deadline() (time.Time, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until, r.moved
}

func (r *reader) Write(data []byte) (int, error) {
	var done <-chan time.Time
	if r.takes > 0 {
		done = time.After(r.takes)
	}
	for {
		until, moved := r.deadline()
		var late <-chan time.Time
		if !until.IsZero() {
			late = time.After(time.Until(until))
		}
		select {
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-moved:
		case <-done:
			r.read += len(data)
			return len(data), nil
		}
	}
}

var usual = Pace{Patience: time.Minute, BytesPerSecond: 16 << 10}

// Who reads slowly gets all of an answer, but who reads a little now and then doesn't have it for hours. What the server does between the
// writes doesn't count.
func TestWhoReadsKeepsThePace(t *testing.T) {
	for takes, whole := range map[time.Duration]bool{time.Millisecond: true, 4 * time.Second: true, 30 * time.Second: false, 0: false} {
		synctest.Test(t, func(t *testing.T) {
			r := newReader(takes)
			w := Paced(r, usual)
			var err error
			for range 100 {
				time.Sleep(time.Hour)
				if _, err = w.Write(make([]byte, piece)); err != nil {
					break
				}
			}
			if (err == nil) != whole {
				t.Errorf("who takes %s for a piece has read %d bytes: %v", takes, r.read, err)
			}
			if until, _ := r.deadline(); !until.IsZero() {
				t.Error("the time of a piece is that of the connection")
			}
			w.End()
			if until, _ := r.deadline(); until != time.Now().Add(usual.Patience) {
				t.Error("what is left has no time")
			}
		})
	}
}

// answers has a server begin so many answers of so many pieces; ended is told of each.
func answers(t *testing.T, p *Places[id.ServerName], server id.ServerName, n, pieces int, takes time.Duration, ended func(error)) {
	for range n {
		go func() {
			release, err := p.Take(context.Background(), server)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			_, err = p.Writer(newReader(takes), usual, server).Write(make([]byte, pieces*piece))
			ended(err)
		}()
	}
}

// Servers that have all the places and hardly read keep nobody out.
func TestSlowReadersLendTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, all = 4, 32
		p := New[id.ServerName](each, all)
		var mu sync.Mutex
		trickled := 0
		for i := range all / each {
			answers(t, p, id.ServerName(fmt.Sprintf("trickling%d.example", i)), each, 100, 4*time.Second, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					trickled++
				}
			})
		}
		synctest.Wait()
		done := make(chan error, 8)
		answers(t, p, "good.example", 8, 10, time.Millisecond, func(err error) { done <- err })
		time.Sleep(time.Second)
		if len(done) != 8 {
			t.Errorf("%d answers of 8 were read, as others trickle", len(done))
		}
		time.Sleep(time.Hour)
		if p.Owners() != 0 || len(p.all) != 0 || p.unread.Weight() != 0 {
			t.Errorf("%d servers, %d places, %d answers that aren't read in the end", p.Owners(), len(p.all), p.unread.Weight())
		}
		if trickled != all {
			t.Errorf("%d of %d were read slowly", trickled, all)
		}
	})
}

// When too many don't read, those who have the most such answers lose their oldest.
func TestWhoHasMostUnreadAnswersLosesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[id.ServerName](8, 8)
		good, bad := make(chan error, 1), make(chan error, 100)
		answers(t, p, "slow.example", 1, 10, 4*time.Second, func(err error) { good <- err })
		time.Sleep(lendAfter + time.Millisecond)
		for i := range 8 {
			answers(t, p, id.ServerName(fmt.Sprintf("bad%d.example", i%2)), 4, 1000, 50*time.Second, func(err error) { bad <- err })
			time.Sleep(time.Second)
			if p.unread.Weight() > 8 {
				t.Errorf("%d answers aren't read", p.unread.Weight())
			}
		}
		if len(bad) < 8 {
			t.Errorf("%d of those who don't read were given up", len(bad))
		}
		if err := <-good; err != nil {
			t.Errorf("the slow reader lost its answer to others: %v", err)
		}
		time.Sleep(time.Hour)
		if p.Owners() != 0 || len(p.all) != 0 || p.unread.Weight() != 0 {
			t.Errorf("%d servers, %d places, %d answers that aren't read in the end", p.Owners(), len(p.all), p.unread.Weight())
		}
	})
}

// Of those who have as many the one goes whose answer has stood still for longest, which isn't who reads slowly.
func TestTheOldestUnreadAnswerGoes(t *testing.T) {
	const most = 4
	u := NewUnread[int](most)
	var gone []int
	for who := range 20 {
		u.add(who, 1, func() { gone = append(gone, who) })
	}
	if len(gone) != 20-most || !slices.IsSorted(gone) || u.Weight() != most {
		t.Errorf("these went, of 20: %v", gone)
	}
	gone = nil
	u.add(20, most-1, func() { gone = append(gone, 20) })
	if !slices.Equal(gone, []int{20}) {
		t.Errorf("%v went, not the one who has most by weight", gone)
	}
}

// Many who read nothing of a little don't cost a slow reader a large answer; those go who have stood still.
func TestWhoIsStuckGoesBeforeWhoHasMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const honest, most = 0, 100
		u := NewUnread[int](most)
		var gone []int
		add := func(who int, weight int64) *unreadPart {
			return u.add(who, weight, func() { gone = append(gone, who) })
		}
		for who := range 20 {
			add(1+who, 4)
		}
		for range 10 { // a piece of the large answer after the other is read
			part := add(honest, 20)
			time.Sleep(4 * time.Second)
			u.remove(honest, part)
		}
		add(honest, 20)
		add(21, 4)
		if !slices.Equal(gone, []int{1}) {
			t.Errorf("%v went, not the one that has stood still for longest", gone)
		}
		gone = nil
		u = NewUnread[int](most)
		for who := range 20 {
			add(1+who, 4)
		}
		add(honest, 24)
		if !slices.Equal(gone, []int{honest}) {
			t.Errorf("%v went, but nobody is stuck", gone)
		}
	})
}
