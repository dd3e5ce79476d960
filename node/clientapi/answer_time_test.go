package clientapi

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
	"hanse/federation/places"
	"hanse/federation/roomversion"
)

// slowWriter is a writer of a connection, which notes the time that each write had.
type slowWriter struct {
	*httptest.ResponseRecorder
	until time.Time
	had   []time.Duration
}

// SetWriteDeadline is for [http.ResponseController].
func (w *slowWriter) SetWriteDeadline(until time.Time) error {
	w.until = until
	return nil
}

func (w *slowWriter) Write(data []byte) (int, error) {
	if w.until.IsZero() {
		w.had = append(w.had, 0)
	} else {
		w.had = append(w.had, time.Until(w.until))
	}
	return w.ResponseRecorder.Write(data)
}

var _ = Describe("a large answer to a client that doesn't read it", func() {
	var w *slowWriter
	BeforeEach(func() { w = &slowWriter{ResponseRecorder: httptest.NewRecorder()} })

	It("is given up, so that it keeps nobody from their turn", func() {
		writeJSON(w, http.StatusOK, json.RawMessage(`"`+strings.Repeat("x", 1<<20)+`"`))
		Expect(w.had).To(HaveLen(17)) // with the quotation marks
		Expect(w.had).To(HaveEach(And(BeNumerically(">", 0), BeNumerically("<=", reading.Patience))))
		Expect(time.Until(w.until)).To(And(BeNumerically(">", 0), BeNumerically("<=", reading.Patience)), "the server writes what is left")
	})

	It("is given up while it is written part by part", func() {
		rules, _ := roomversion.Lookup("11")
		e, err := event.Parse(rules, []byte(`{"type":"m.room.member","state_key":"@a:b","sender":"@a:b","room_id":"!r:b","content":{"membership":"join"},`+
			`"depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"hashes":{"sha256":""},"signatures":{}}`))
		Expect(err).NotTo(HaveOccurred())
		out := &laterWriter{w: places.Paced(w, reading)}
		Expect(out.list(&later{begin: '[', end: ']', each: func(add addLater) error {
			for range 3 * laterPart / 100 {
				Expect(add(func(dst []byte) ([]byte, error) { return appendPlain(dst, e, time.Now()) })).To(Succeed())
			}
			return nil
		}})).To(Succeed())
		Expect(len(w.had)).To(BeNumerically(">", 2))
		Expect(w.had).To(HaveEach(And(BeNumerically(">", 0), BeNumerically("<=", reading.Patience))))
		Expect(w.until.IsZero()).To(BeTrue())
	})
})

// Users who don't read their large answers keep nobody from theirs, whatever the kind of answer.
func TestSlowReadersLendTheirPlaces(t *testing.T) {
	large := strings.Repeat("x", 3*laterPart)
	for name, write := range map[string]func(a *API, w http.ResponseWriter, r *request, own *turn){
		"written at once": func(a *API, w http.ResponseWriter, r *request, own *turn) {
			a.write(w, r, own, http.StatusOK, large)
		},
		"written while it is read": func(a *API, w http.ResponseWriter, r *request, own *turn) {
			defer func() { _ = recover() }() // it is broken off
			list := r.later('[', 0, func(add addLater) error {
				return add(func(dst []byte) ([]byte, error) { return append(dst, `"`+large+`"`...), nil })
			})
			a.writeLater(w, r, list, own)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &API{lanes: newLanes(), log: slog.New(slog.DiscardHandler)}
				slots := cap(a.lanes.large.slots)
				for i := range slots + 200 {
					own, err := a.lanes.large.take(t.Context(), "@a:b")
					if err != nil {
						t.Fatalf("after %d who don't read: %v", i, err)
					}
					go func() {
						defer own.leave()
						r := &request{Request: httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), api: a, user: "@a:b"}
						write(a, &stuckWriter{ResponseRecorder: httptest.NewRecorder()}, r, own)
					}()
				}
				time.Sleep(time.Hour)
				if n := len(a.lanes.large.slots); n != 0 || a.lanes.unread.Weight() != 0 {
					t.Errorf("%d places are taken, %d lent, and nobody is there", n, a.lanes.unread.Weight())
				}
			})
		})
	}
}

// An answer that is written while it is read holds what else is in it, too: a /sync may have 32 MiB beside a large room's state.
func TestWhatIsBesideWhatComesLaterIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &API{lanes: newLanes(), log: slog.New(slog.DiscardHandler)}
		const beside = 8 << 20
		own, err := a.lanes.large.take(t.Context(), "@a:b")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer own.leave()
			defer func() { _ = recover() }() // it is broken off
			r := &request{Request: httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), api: a, user: "@a:b"}
			list := r.later('[', 0, func(addLater) error { return nil })
			a.writeLater(&stuckWriter{ResponseRecorder: httptest.NewRecorder()}, r, []any{strings.Repeat("x", beside), list}, own)
		}()
		time.Sleep(time.Second)
		if weight := a.lanes.unread.Weight(); weight < heldPerByte*beside {
			t.Errorf("an answer of %d bytes weighs %d", beside, weight)
		}
		time.Sleep(time.Hour)
	})
}

// stuckWriter is a connection whose client doesn't read.
type stuckWriter struct {
	*httptest.ResponseRecorder
	until atomic.Pointer[time.Time]
}

// SetWriteDeadline is for [http.ResponseController].
func (w *stuckWriter) SetWriteDeadline(until time.Time) error {
	w.until.Store(&until)
	return nil
}

func (w *stuckWriter) Write([]byte) (int, error) {
	for time.Now().Before(*w.until.Load()) {
		time.Sleep(time.Second)
	}
	return 0, os.ErrDeadlineExceeded
}
