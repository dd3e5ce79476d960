package clientapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/users"
)

var _ = Describe("guessing an account's password", func() {
	It("isn't quicker from many addresses at once", func(ctx SpecContext) {
		const most, guesses = 3, 40
		w := newWorld(nil)
		config := w.config
		var err error
		config.Users, err = users.New(users.Config{Self: self, Store: w.store, Passwords: users.Passwords{MemoryKiB: 8 << 10, Passes: 1, Parallel: 1}})
		Expect(err).NotTo(HaveOccurred())
		_, err = config.Users.Register(ctx, users.Registration{Username: "alice", Password: "a secret"})
		Expect(err).NotTo(HaveOccurred())
		config.RateLimits = RateLimits{Logins: Limit{PerSecond: 0.0001, Burst: most}}
		api, err := New(config)
		Expect(err).NotTo(HaveOccurred())

		var asking sync.WaitGroup
		statuses := make([]int, guesses)
		for i := range guesses {
			asking.Go(func() {
				r := httptest.NewRequest("POST", "/_matrix/client/v3/login", strings.NewReader(`{"type":"m.login.password","user":"alice","password":"a guess"}`))
				r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", i)
				answer := httptest.NewRecorder()
				api.ServeHTTP(answer, r)
				statuses[i] = answer.Code
			})
		}
		asking.Wait()
		counts := map[int]int{}
		for _, status := range statuses {
			counts[status]++
		}
		Expect(counts[http.StatusForbidden]).To(And(BeNumerically(">", 0), BeNumerically("<=", most))) // on a slow machine some have waited for too long
		Expect(counts[http.StatusForbidden] + counts[http.StatusTooManyRequests]).To(Equal(guesses))
	})
})
