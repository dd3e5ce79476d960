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

	// guesser logs in with wrong passwords, from another address each time; two for each that is typed are let through.
	guesser := func(ctx SpecContext) (api *API, guess func(who string) int) {
		w := newWorld(nil)
		alice, err := w.users.Register(ctx, users.Registration{Username: "alice", Password: "a secret"})
		Expect(err).NotTo(HaveOccurred())
		Expect(w.users.AddEmail(ctx, alice.User, "alice@example.org")).To(Succeed())
		config := w.config
		config.RateLimits = RateLimits{Logins: Limit{PerSecond: 0.0001, Burst: 2}}
		api, err = New(config)
		Expect(err).NotTo(HaveOccurred())
		guesses := 0
		return api, func(who string) int {
			guesses++
			r := httptest.NewRequest("POST", "/_matrix/client/v3/login", strings.NewReader(`{"type":"m.login.password","password":"a guess",`+who+`}`))
			r.RemoteAddr = fmt.Sprintf("192.0.2.%d:1234", guesses)
			answer := httptest.NewRecorder()
			api.ServeHTTP(answer, r)
			return answer.Code
		}
	}

	It("doesn't tell whose an e-mail address is, or whether it is anybody's", func(ctx SpecContext) {
		_, guess := guesser(ctx)
		for _, local := range []string{"alice", "nobody"} {
			address := `"identifier":{"type":"m.id.thirdparty","medium":"email","address":"%s@%s"}`
			Expect(guess(fmt.Sprintf(address, local, "example.org"))).To(Equal(http.StatusForbidden))
			Expect(guess(fmt.Sprintf(address, strings.ToUpper(local), "example.org"))).To(Equal(http.StatusForbidden))
			Expect(guess(fmt.Sprintf(address, local, "EXAMPLE.ORG"))).To(Equal(http.StatusTooManyRequests), "of whatever form, it is one address")
			Expect(guess(`"user":"`+local+`"`)).To(Equal(http.StatusForbidden), "the address is known to be this user's")
		}
	})

	It("takes no more memory for longer names", func(ctx SpecContext) {
		api, guess := guesser(ctx)
		long := strings.Repeat("x", 100_000)
		for _, who := range []string{
			`"user":"` + long + `"`, `"identifier":{"type":"m.id.thirdparty","medium":"` + long + `","address":"a@example.org"}`,
			`"identifier":{"type":"m.id.thirdparty","medium":"email","address":"` + long + `"}`, `"medium":"email","address":"` + long + `@example.org"`,
		} {
			Expect(guess(who)).To(BeElementOf(http.StatusForbidden, http.StatusTooManyRequests))
		}
		for key := range api.limiter.buckets {
			Expect(len(key.who)).To(BeNumerically("<", 1000))
		}
	})
})
