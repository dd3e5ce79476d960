package places

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// piece is how many bytes are written at a time, so that it is seen whether they are read.
	piece = 64 << 10
	// lendAfter is after how long an answer that isn't read gives its place to others.
	lendAfter = 200 * time.Millisecond
	// stuckAfter is for how long a piece stands still of which even a slow line would have read all.
	stuckAfter = 10 * time.Second
)

// Pace is how fast an answer must be read, by who may be slow but must not keep others out.
type Pace struct {
	// Patience is how long an answer may stand still, and what it may take beside a second for each BytesPerSecond.
	Patience       time.Duration
	BytesPerSecond int64
}

// Time is how long an answer of so many bytes may take.
func (p Pace) Time(bytes int64) time.Duration {
	return p.Patience + time.Duration(bytes/p.BytesPerSecond)*time.Second
}

// Unread are the answers that are written but not read, which have given their places to others meanwhile. Each has a weight, and all
// together at most so much. When there is more, answers of whoever has most are given up, first the one that has stood still for longest: who
// makes many such answers loses their own. As long as anybody has one of which a piece has stood still for ten seconds, it is one of theirs: many
// who don't read at all, each of a little, don't cost a slow reader a large answer. Safe for concurrent use.
type Unread[Who comparable] struct {
	most int64 // immutable

	mu      sync.Mutex
	weight  int64           // guarded by mu; of all
	added   int             // guarded by mu; since the beginning
	answers map[Who]*unread // guarded by mu; those of each
}

// unread are the pieces of somebody's answers that aren't read, in the order in which they stood still.
type unread struct {
	parts  []*unreadPart
	weight int64
}

// unreadPart is a piece of an answer that isn't read.
type unreadPart struct {
	number int       // the first one is the oldest; immutable
	since  time.Time // immutable
	weight int64
	mu     sync.Mutex
	over   bool   // guarded by mu; it was read, or given up
	cut    func() // immutable
}

// NewUnread makes a set of answers that weigh so much at most.
func NewUnread[Who comparable](most int64) *Unread[Who] {
	return &Unread[Who]{most: most, answers: map[Who]*unread{}}
}

// Weight is what the answers weigh that aren't read now.
func (u *Unread[Who]) Weight() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.weight
}

// add takes in a piece that stands still, of an answer that weighs no more than all may; cut, called at most once and before remove returns, gives its answer up.
func (u *Unread[Who]) add(who Who, weight int64, cut func()) *unreadPart {
	u.mu.Lock()
	u.added++
	part := &unreadPart{number: u.added, since: time.Now(), weight: weight, cut: cut}
	of := u.answers[who]
	if of == nil {
		of = &unread{}
		u.answers[who] = of
	}
	of.parts = append(of.parts, part)
	of.weight += weight
	u.weight += weight
	var given []*unreadPart
	for u.weight > u.most {
		given = append(given, u.giveUp())
	}
	u.mu.Unlock()
	for _, p := range given {
		p.end(true)
	}
	return part
}

// giveUp takes the oldest one out of those of whoever has most, of those with a stuck one if there are any. mu is held.
func (u *Unread[Who]) giveUp() *unreadPart {
	now := time.Now()
	stuck := func(o *unread) bool { return now.Sub(o.parts[0].since) >= stuckAfter }
	before := func(a, b *unread) bool {
		switch {
		case stuck(a) != stuck(b):
			return stuck(a)
		case a.weight != b.weight:
			return a.weight > b.weight
		}
		return a.parts[0].number < b.parts[0].number
	}
	var first *unread
	var of Who
	for who, o := range u.answers {
		if first == nil || before(o, first) {
			first, of = o, who
		}
	}
	given := first.parts[0]
	u.drop(of, 0)
	return given
}

// drop takes a piece out. mu is held.
func (u *Unread[Who]) drop(who Who, i int) {
	of := u.answers[who]
	weight := of.parts[i].weight
	of.weight -= weight
	u.weight -= weight
	if of.parts = slices.Delete(of.parts, i, i+1); len(of.parts) == 0 {
		delete(u.answers, who)
	}
}

// remove takes out a piece that was read, or given up.
func (u *Unread[Who]) remove(who Who, part *unreadPart) {
	u.mu.Lock()
	if of := u.answers[who]; of != nil {
		if i := slices.Index(of.parts, part); i >= 0 {
			u.drop(who, i)
		}
	}
	u.mu.Unlock()
	part.end(false)
}

func (p *unreadPart) end(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cut && !p.over {
		p.cut()
	}
	p.over = true
}

// Writer writes an answer to who may read it slowly. It cuts off who doesn't keep the pace, which is about the time of writing alone, not about
// that between the writes. Of a piece that stands still the place is given to others until it was read. Made by [Unread.Writer] and [Paced].
type Writer struct {
	http.ResponseWriter
	control *http.ResponseController
	pace    Pace
	sent    int64
	took    time.Duration // by all writes
	lend    func(cut func()) (takeBack func())
}

// Writer is the writer of an answer to somebody. lend gives the place that the answer has to others, until takeBack is called, which waits for it.
func (u *Unread[Who]) Writer(w http.ResponseWriter, pace Pace, who Who, weight int64, lend func() (takeBack func())) *Writer {
	paced := Paced(w, pace)
	paced.lend = func(cut func()) func() {
		part := u.add(who, weight, cut)
		takeBack := lend()
		return func() { u.remove(who, part); takeBack() }
	}
	return paced
}

// Paced is the writer of an answer that holds no place.
func Paced(w http.ResponseWriter, pace Pace) *Writer {
	nothing := func(func()) func() { return func() {} }
	return &Writer{ResponseWriter: w, control: http.NewResponseController(w), pace: pace, lend: nothing}
}

// Write writes a part of the answer. The error is that of the connection, which is of no use after it.
func (w *Writer) Write(data []byte) (written int, err error) {
	for part := range slices.Chunk(data, piece) {
		n, err := w.write(part)
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

func (w *Writer) write(part []byte) (int, error) {
	w.sent += int64(len(part))
	began, lent := time.Now(), make(chan func(), 1)
	_ = w.control.SetWriteDeadline(began.Add(min(w.pace.Patience, w.pace.Time(w.sent)-w.took))) // not every connection has them, in tests
	wait := time.AfterFunc(lendAfter, func() {
		lent <- w.lend(func() { _ = w.control.SetWriteDeadline(began) }) // as above
	})
	n, err := w.ResponseWriter.Write(part)
	w.took += time.Since(began)
	if !wait.Stop() {
		(<-lent)()
	}
	_ = w.control.SetWriteDeadline(time.Time{}) // as above
	return n, err
}

// End bounds the time of what the server writes once the answer is made, the last few KiB. The connection's next answer has its own time.
func (w *Writer) End() { _ = w.control.SetWriteDeadline(time.Now().Add(w.pace.Patience)) } // as in write

// Unwrap is for [http.ResponseController].
func (w *Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
