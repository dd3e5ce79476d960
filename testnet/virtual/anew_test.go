package virtual

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hanse/keys"
	"hanse/testnet/user"
)

// madeAnew has the server start with nothing but a new key, and with what is known of the old one as doc/operating.md says.
func (s *server) madeAnew(old string) {
	t := s.world.t
	t.Helper()
	s.stop()
	if err := os.RemoveAll(s.config.DataDir); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.stop()
	file, err := os.OpenFile(filepath.Join(s.config.DataDir, "signing.key"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(file, old)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	s.start()
}

// TestAServerIsMadeAnew: all that a server had is lost. With the public half of its old key listed its users come into the rooms of before
// again, as whom they were.
func TestAServerIsMadeAnew(t *testing.T) {
	for of, lost := range map[string]int{"who came": 2, "who made the room": 0} {
		t.Run(of, func(t *testing.T) {
			inTrio(t, func(t *testing.T, x *trio) {
				all := []*user.User{x.alice, x.bob, x.carol}
				s := x.s[lost]
				file := must[*keys.KeyFile](t)(keys.LoadFile(filepath.Join(s.config.DataDir, "signing.key")))
				time.Sleep(time.Hour)
				s.madeAnew(keys.OldLine(file.Current.ID.Name(), keys.OldVerifyKey{Key: file.Current.Public(), ExpiredTS: time.Now().UnixMilli()}))
				x.say(x.bob)
				time.Sleep(time.Minute)
				again := s.user([]string{"alice", "bob", "carol"}[lost])
				defer again.Close()
				must[string](t)(again.Join(t.Context(), x.room, x.s[1].name))
				all[lost] = again
				time.Sleep(time.Minute)
				x.say(all...)
				time.Sleep(time.Minute)
				x.converged(all...)
			})
		})
	}
}
