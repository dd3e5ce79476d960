package peer

import (
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

// watched remembers the beginning of what is answered.
type watched struct {
	http.ResponseWriter
	status int
	begin  []byte
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
	if room := 300 - len(w.begin); room > 0 {
		w.begin = append(w.begin, data[:min(room, len(data))]...)
	}
	return w.ResponseWriter.Write(data)
}

// String is the answer for people.
func (w *watched) String() string { return fmt.Sprintf("%d %s", w.status, w.begin) }

// Unwrap is for [http.ResponseController].
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
