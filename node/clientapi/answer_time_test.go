package clientapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/event"
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
		Expect(w.had).To(HaveExactElements(And(BeNumerically(">", filePatience), BeNumerically("<", 3*filePatience))))
		Expect(w.until.IsZero()).To(BeTrue(), "the next request of the connection has its own time")
	})

	It("is given up while it is written part by part", func() {
		rules, _ := roomversion.Lookup("11")
		e, err := event.Parse(rules, []byte(`{"type":"m.room.member","state_key":"@a:b","sender":"@a:b","room_id":"!r:b","content":{"membership":"join"},`+
			`"depth":1,"origin_server_ts":1,"prev_events":[],"auth_events":[],"hashes":{"sha256":""},"signatures":{}}`))
		Expect(err).NotTo(HaveOccurred())
		out := &laterWriter{w: &pacedWriter{ResponseWriter: w}}
		Expect(out.list(&later{begin: '[', end: ']', each: func(add addLater) error {
			for range 3 * laterPart / 100 {
				Expect(add(func(dst []byte) ([]byte, error) { return appendPlain(dst, e, time.Now()) })).To(Succeed())
			}
			return nil
		}})).To(Succeed())
		Expect(len(w.had)).To(BeNumerically(">", 2))
		Expect(w.had).To(HaveEach(And(BeNumerically(">", 0), BeNumerically("<=", fileStall))))
		Expect(w.until.IsZero()).To(BeTrue())
	})
})

// tricklingWriter is a connection whose client reads what is written in a time that it chooses.
type tricklingWriter struct {
	*slowWriter
	takes time.Duration
}

func (w *tricklingWriter) Write(data []byte) (int, error) {
	time.Sleep(min(w.takes, time.Until(w.until)))
	if !time.Now().Before(w.until) {
		return 0, os.ErrDeadlineExceeded
	}
	return len(data), nil
}

// Who reads slowly gets all of an answer, but a place isn't held for hours by who reads a little now and then.
func TestTheReaderOfALargeAnswerKeepsPace(t *testing.T) {
	const parts = 100
	for _, c := range []struct {
		takes time.Duration // for a part of 64 KiB
		whole bool
	}{{time.Millisecond, true}, {largeAnswer / filePace * time.Second, true}, {fileStall - time.Second, false}, {2 * fileStall, false}} {
		synctest.Test(t, func(t *testing.T) {
			w := &pacedWriter{ResponseWriter: &tricklingWriter{&slowWriter{ResponseRecorder: httptest.NewRecorder()}, c.takes}}
			written, err := 0, error(nil)
			for ; written < parts && err == nil; written++ {
				time.Sleep(time.Hour) // the server reads what is to be written
				_, err = w.Write(make([]byte, largeAnswer))
			}
			if whole := err == nil; whole != c.whole {
				t.Errorf("of a client that takes %v for a part: %d written, %v", c.takes, written, err)
			}
		})
	}
}
