package appservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation"
	"hanse/federation/id"
)

// A service that hangs keeps a bounded number of those waiting who ask for its users, and none of them for ever.
func TestAskersOfAServiceThatHangsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{
			Self: "hanse.test",
			Registrations: []Registration{{
				ID: "irc", URL: "http://irc", ASToken: "as", HSToken: "hs", Users: Namespaces{{regex: regexp.MustCompile("^@irc_")}},
			}},
			Dial: func(context.Context, string, string) (net.Conn, error) {
				time.Sleep(2 * queryTimeout)
				return nil, errors.New("there is no answer")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan error, maxAskers)
		for i := range maxAskers {
			user := id.UserID(fmt.Sprintf("@irc_%d:hanse.test", i/2)) // each is asked for twice
			go func() {
				_, err := s.HasUser(t.Context(), user)
				answers <- err
			}()
		}
		synctest.Wait()
		var refused *federation.Error
		if _, err := s.HasUser(t.Context(), "@irc_more:hanse.test"); !errors.As(err, &refused) || refused.Code != federation.CodeLimitExceeded {
			t.Errorf("one more: %v", err)
		}
		if _, err := s.HasUser(t.Context(), "@somebody:hanse.test"); err != nil {
			t.Errorf("who is no service's business: %v", err)
		}
		for range maxAskers {
			if err := <-answers; err == nil {
				t.Error("there was an answer")
			}
		}
		time.Sleep(2 * queryTimeout) // connections that were begun end
		if len(s.askers) != 0 {
			t.Errorf("%d are said to wait", len(s.askers))
		}
	})
}
