package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation"
)

var _ = Describe("answers with a state", func() {
	It("are made and read a few at a time of one server, who gets all of them in the end", func() {
		const asked, atOnce = 12, 4
		w := newWorld()
		var under atomic.Int64
		read := make(chan struct{})
		readAll := sync.OnceFunc(func() { close(read) })
		w.fake.sendJoin = func(federation.SendRequest) (federation.SendJoinResponse, error) {
			return federation.SendJoinResponse{StateStream: func(yield func(json.RawMessage) error) error {
				under.Add(1)
				defer under.Add(-1)
				<-read
				return yield(json.RawMessage(`{}`))
			}}, nil
		}
		w.start()
		DeferCleanup(readAll)
		var all sync.WaitGroup
		for i := range asked {
			all.Go(func() {
				defer GinkgoRecover()
				uri := fmt.Sprintf("/_matrix/federation/v2/send_join/!r:x/$%d", i)
				Expect(w.call("PUT", uri, `{}`).status).To(Equal(http.StatusOK))
			})
		}
		Eventually(under.Load).Should(BeNumerically(">=", atOnce))
		// Others are answered meanwhile.
		Expect(w.call("GET", "/_matrix/federation/v1/query/profile?user_id=@a:me.example:8448", "").status).To(Equal(http.StatusOK))
		Consistently(under.Load).WithTimeout(time.Second / 2).Should(BeNumerically("==", atOnce))
		readAll()
		all.Wait()
	})
})
