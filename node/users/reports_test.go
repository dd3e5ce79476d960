package users

import (
	"context"
	"log/slog"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"

	"hanse/federation/id"
	"hanse/node/store"
)

var _ = Describe("reports", func() {
	var u *Users
	var s *store.Store
	var log *gbytes.Buffer
	report := func(ctx context.Context, reporter id.UserID) error {
		return u.Report(ctx, reporter, "", "", "@eve:example.org", "she knows my address")
	}
	tooMany := func(says string) OmegaMatcher {
		return MatchError(SatisfyAll(ContainSubstring("M_LIMIT_EXCEEDED"), ContainSubstring(says)))
	}

	BeforeEach(func() {
		u, s = newUsers(cheap())
		log = gbytes.NewBuffer()
		u.log = slog.New(slog.NewTextHandler(log, nil))
	})

	It("are in the log, without the reason", func(ctx context.Context) {
		Expect(report(ctx, "@alice:example.org")).To(Succeed())
		Expect(log).To(gbytes.Say("level=INFO .*reporter=@alice:example.org .*user=@eve:example.org"))
		Expect(string(log.Contents())).NotTo(ContainSubstring("address"))
	})

	It("of one user are no more than so many in a day", func(ctx context.Context) {
		u.maxReports = 2
		Expect(s.AddReport(ctx, store.Report{Received: time.Now().Add(-25 * time.Hour), Reporter: "@alice:example.org"})).To(Succeed())
		for range 2 {
			Expect(report(ctx, "@alice:example.org")).To(Succeed())
		}
		Expect(report(ctx, "@alice:example.org")).To(tooMany("today"))
		Expect(report(ctx, "@bob:example.org")).To(Succeed())
		Expect(s.ReportsKept(ctx)).To(Equal(4))
	})

	It("of all users are no more than so many, and deleted ones make room", func(ctx context.Context) {
		u.maxReportsKept = 2
		Expect(report(ctx, "@alice:example.org")).To(Succeed())
		Expect(string(log.Contents())).NotTo(ContainSubstring("no more reports"))
		Expect(report(ctx, "@bob:example.org")).To(Succeed())
		Expect(log).To(gbytes.Say("level=WARN .*no more reports are taken"))
		Expect(report(ctx, "@carol:example.org")).To(tooMany("another way"))
		kept, err := s.Reports(ctx, 10)
		Expect(err).NotTo(HaveOccurred())
		Expect(kept).To(HaveLen(2), "none is dropped for another")
		Expect(s.DeleteReport(ctx, kept[1].Number)).To(Succeed())
		Expect(report(ctx, "@carol:example.org")).To(Succeed())
	})

	It("of those who make the most make room for others, the newest first", func(ctx context.Context) {
		u.maxReportsKept = 6
		Expect(report(ctx, "@bob:example.org")).To(Succeed())
		for range 5 {
			Expect(report(ctx, "@filler:example.org")).To(Succeed())
		}
		Expect(report(ctx, "@filler:example.org")).To(tooMany("another way"))
		before, err := s.Reports(ctx, 10)
		Expect(err).NotTo(HaveOccurred())
		Expect(report(ctx, "@alice:example.org")).To(Succeed())
		Expect(log).To(gbytes.Say("level=WARN .*user=@filler:example.org reports=5"))
		Expect(report(ctx, "@bob:example.org")).To(Succeed())
		after, err := s.Reports(ctx, 10)
		Expect(err).NotTo(HaveOccurred())
		Expect(after).To(HaveLen(6))
		Expect(after[2:]).To(Equal(before[2:]), "the newest two of the filler are gone, all others are there")
		most, n, err := s.MostReports(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(most).To(BeEquivalentTo("@filler:example.org"))
		Expect(n).To(Equal(3))
		Expect(report(ctx, "@bob:example.org")).To(tooMany("another way"), "who has as many with it makes no room")
	})
})
