package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/federation/id"
	"hanse/node/store"
)

// What users keep here is bounded, each by themselves, also where nobody asks for it again.
var _ = onEach("what a user may keep", func(s *fixture) {
	set := func(ctx context.Context, user id.UserID, typ string, bytes int) error {
		_, err := s.SetAccountData(ctx, user, "", typ, json.RawMessage(`{"x":"`+strings.Repeat("x", bytes)+`"}`))
		return err
	}

	It("are so many bytes of account data", func(ctx context.Context) {
		const large = 1 << 20
		for i := range store.MaxAccountDataWeight/large - 1 {
			Expect(set(ctx, alice, fmt.Sprint(i), large)).To(Succeed())
		}
		Expect(set(ctx, alice, "more", large)).To(MatchError(store.ErrFull))
		Expect(set(ctx, alice, "0", large)).To(Succeed(), "it is no more")
		Expect(set(ctx, alice, "small", 10)).To(Succeed())
		Expect(set(ctx, bob, "more", large)).To(Succeed())
		Expect(set(ctx, alice, "0", 0)).To(Succeed())
		Expect(set(ctx, alice, "more", large/2)).To(Succeed())
	})

	It("are so many entries of account data", func(ctx context.Context) {
		Expect(s.HaveAccountData(ctx, alice, store.MaxAccountData-1)).To(Succeed())
		Expect(set(ctx, alice, "last", 1)).To(Succeed())
		Expect(set(ctx, alice, "more", 1)).To(MatchError(store.ErrFull))
		Expect(set(ctx, alice, "last", 2)).To(Succeed())
		Expect(set(ctx, bob, "more", 1)).To(Succeed())
		_, err := s.KeepAccountData(ctx, alice, "", "of the server", json.RawMessage(`{}`))
		Expect(err).NotTo(HaveOccurred())
	})

	It("are so many filters, the newest", func(ctx context.Context) {
		save := func(user id.UserID, i int) string {
			return must(s.SaveFilter(ctx, user, json.RawMessage(fmt.Sprintf(`{"number":%d}`, i))))
		}
		others, first, second := save(bob, 0), save(alice, 0), save(alice, 1)
		for i := range store.MaxFilters - 1 {
			save(alice, 2+i)
		}
		for filter, kept := range map[string]bool{first: false, second: true} {
			_, found, err := s.Filter(ctx, alice, filter)
			Expect(found, err).To(Equal(kept))
		}
		_, found, err := s.Filter(ctx, bob, others)
		Expect(found, err).To(BeTrue())
		Expect(save(alice, 0)).NotTo(Equal(first))
	})
})
