package clientapi

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// late calls before, once, when the answer to a send is about to be written.
type late struct {
	http.ResponseWriter
	before func()
}

func (l late) Write(p []byte) (int, error) {
	l.before()
	return l.ResponseWriter.Write(p)
}

func (l late) Unwrap() http.ResponseWriter { return l.ResponseWriter }

var _ = Describe("events of the device itself", func() {
	listed := lists(window(9, 10))
	for how, told := range map[string]func(p *person, since string) answered{
		"/sync": func(p *person, since string) answered { return fine(p.get("/sync?timeout=60000&since=" + since)) },
		"sliding sync": func(p *person, since string) answered {
			return fine(p.slideFor(since, listed, time.Minute))
		},
	} {
		It("are told by "+how+" after the request that made them is answered, to other devices at once", func() {
			w := newWorld(nil)
			alice := w.register("alice")
			other := w.login("alice")
			room := alice.room(obj{})
			begin := func(p *person) string {
				if how == "/sync" {
					return fine(p.get("/sync")).text("next_batch")
				}
				return fine(p.slide("", listed)).text("pos")
			}
			since, sinceOfOther := begin(alice), begin(other)
			var mu sync.Mutex
			var order []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, what)
			}
			synced := make(chan struct{})
			handler := w.server.Config.Handler
			w.server.Config.Handler = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/send/") {
					out = late{out, sync.OnceFunc(func() {
						defer GinkgoRecover()
						Expect(told(other, sinceOfOther).raw).To(ContainSubstring("ahoy"))
						note("the other device was told")
						go func() {
							defer GinkgoRecover()
							defer close(synced)
							Expect(told(alice, since).raw).To(And(ContainSubstring("ahoy"), ContainSubstring(`"transaction_id":"mine"`)))
							note("the device was told")
						}()
						select {
						case <-synced:
						case <-time.After(200 * time.Millisecond): // for what would have been told too early
						}
						note("answered")
					})}
				}
				handler.ServeHTTP(out, r)
			})
			fine(alice.put("/rooms/"+esc(room)+"/send/m.room.message/mine", obj{"msgtype": "m.text", "body": "ahoy"}))
			Eventually(synced).Should(BeClosed())
			Expect(order).To(Equal([]string{"the other device was told", "answered", "the device was told"}))
		})
	}
})

// TestTransactionIDsInTwoRooms: a client may give requests to two rooms one transaction ID.
func TestTransactionIDsInTwoRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := unanswered{done: map[transaction]chan struct{}{}}
		first, second := transaction{"@a:x", "D", "!first", "m1"}, transaction{"@a:x", "D", "!second", "m1"}
		answered := u.begin(first)
		u.begin(second)()
		began := time.Now()
		time.AfterFunc(time.Second, answered)
		u.wait(t.Context(), []transaction{first})
		if waited := time.Since(began); waited != time.Second+answerLead {
			t.Errorf("/sync waited %v for the answer to the first", waited)
		}
	})
}
