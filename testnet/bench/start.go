package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// start measures how long the server takes to be ready, with no data and with some, and what it holds at rest.
func start(ctx context.Context, t *trial) error {
	first, err := t.boot(ctx)
	if err != nil {
		return err
	}
	t.seconds("ready, first start (makes its database)", first, 0, "")
	s, err := t.target.newSession(ctx, "resident")
	if err != nil {
		return err
	}
	roomID, err := t.makeRoom(ctx, s)
	if err != nil {
		return err
	}
	var said []sent
	for i := range 20 {
		message, err := s.say(ctx, roomID, words(t.rand, strconv.Itoa(i)), 0)
		if err != nil {
			return err
		}
		said = append(said, message)
	}
	if err := t.target.stop(); err != nil {
		return err
	}
	next, err := t.target.start(ctx)
	if err != nil {
		return err
	}
	t.seconds("ready, next start", next, 0, "")
	if err := t.remembers(ctx, s, roomID, said); err != nil {
		return err
	}
	if usageKnown {
		t.rest(ctx)
	}
	if len(t.target.candidate.args) > 0 { // this program, and not an adapter of a few lines
		info, err := os.Stat(t.target.candidate.program)
		if err != nil {
			return err
		}
		t.amount("size of the binary", "MB", megabytes(info.Size()))
	}
	return nil
}

// rest measures a server that nobody asks anything.
func (t *trial) rest(ctx context.Context) {
	seconds := t.scaled(4, 1)
	process, w := t.target.process, t.window()
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
	case <-ctx.Done():
	}
	now, _ := process.Memory()
	t.amount("memory at rest with one room", "MB", megabytes(now))
	t.amount("CPU at rest", "ms/s", milliseconds(cpuTime(process)-w.server)/time.Since(w.began).Seconds())
}

// remembers checks that a room's history has what was acknowledged, whole and once each.
func (t *trial) remembers(ctx context.Context, s *session, roomID string, said []sent) error {
	history, err := s.history(ctx, roomID, nil)
	if err != nil {
		return err
	}
	wanted := map[string]sent{}
	for _, message := range said {
		wanted[string(message.id)] = message
	}
	if len(wanted) != len(said) {
		return errors.New("two sends were answered with the same event")
	}
	found := map[string]bool{}
	for _, e := range history {
		want, ok := wanted[e.ID]
		switch {
		case e.Type != "m.room.message":
			continue
		case !ok:
			return fmt.Errorf("the history has the message %s, which was not acknowledged", e.ID)
		case found[e.ID]:
			return fmt.Errorf("the history has %s twice", e.ID)
		case e.Body() != want.text || e.Sender != string(want.user):
			return fmt.Errorf("the history's %s is not what was sent", e.ID)
		}
		found[e.ID] = true
	}
	if missing := len(wanted) - len(found); missing > 0 {
		return fmt.Errorf("the history lacks %d of %d events that were acknowledged", missing, len(wanted))
	}
	return nil
}
