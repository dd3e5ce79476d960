package peer

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// note adds a line to the journal, which keeps the last ones.
func (p *Peer) note(format string, values ...any) {
	line := time.Now().Format("15:04:05.000 ") + fmt.Sprintf(format, values...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.journal) == maxJournal {
		p.journal = slices.Delete(p.journal, 0, 1)
	}
	p.journal = append(p.journal, line)
}

// Journal is what was last sent and got, for the report of a failure.
func (p *Peer) Journal() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.journal)
}

// Brief is a body for people, in the report of a failure: the beginning of a long one, and how long it is.
func Brief(body []byte) string { return brief(body[:min(maxBrief, len(body))], len(body)) }

func brief(begin []byte, size int) string {
	if len(begin) == size {
		return string(begin)
	}
	return fmt.Sprintf("%s … (of %d bytes)", bytes.ToValidUTF8(begin, nil), size)
}

// watched remembers the beginning of what is answered.
type watched struct {
	http.ResponseWriter
	status int
	size   int
	begin  []byte // as much as is shown
}

// WriteHeader remembers the status.
func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write remembers the first bytes.
func (w *watched) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.size += len(data)
	if room := maxBrief - len(w.begin); room > 0 {
		w.begin = append(w.begin, data[:min(room, len(data))]...)
	}
	return w.ResponseWriter.Write(data)
}

// String is the answer for people.
func (w *watched) String() string { return fmt.Sprintf("%d %s", w.status, brief(w.begin, w.size)) }

// Unwrap is for [http.ResponseController].
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
