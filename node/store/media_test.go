package store_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
)

var _ = onEach("media", func(db *fixture) {
	now := time.UnixMilli(1_700_000_000_000)
	upload := func(name string, size int64) store.Media {
		return store.Media{
			Server: self, ID: name, File: "F" + name, User: alice, ContentType: "image/png", Filename: "größe.png",
			Size: size, Disk: size, Created: now,
		}
	}
	cached := func(name string, size int64, used time.Time) store.Media {
		return store.Media{
			Server: bob.Server(), ID: name, File: "F" + name, ContentType: "image/png", Size: size, Disk: size, Created: now, Used: used,
		}
	}
	// usage is what a user, or with "" the cache, is counted with: files and bytes.
	usage := func(ctx SpecContext, m store.Media) [2]int64 {
		GinkgoHelper()
		files, bytes, err := db.MediaUsage(ctx, m.User)
		Expect(err).NotTo(HaveOccurred())
		return [2]int64{files, bytes}
	}

	It("is kept as it was uploaded, over a restart", func(ctx SpecContext) {
		m := upload("a", 10)
		Expect(db.AddMedia(ctx, m, store.MediaQuota{})).To(Succeed())
		Expect(db.AddMedia(ctx, m, store.MediaQuota{})).To(MatchError(store.ErrExists))
		db.restart()
		got, found, err := db.Media(ctx, self, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(got).To(Equal(m))
		Expect(got.Pending()).To(BeFalse())
		_, found, err = db.Media(ctx, bob.Server(), "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		Expect(must(db.MediaOfFile(ctx, "Fa"))).To(BeTrue())
		Expect(must(db.MediaOfFile(ctx, "Fb"))).To(BeFalse())
		Expect(usage(ctx, m)).To(Equal([2]int64{1, 10}))
	})

	It("stays within a user's quota", func(ctx SpecContext) {
		quota := store.MediaQuota{Bytes: 100, Files: 3}
		Expect(db.AddMedia(ctx, upload("a", 60), quota)).To(Succeed())
		Expect(db.AddMedia(ctx, upload("b", 41), quota)).To(MatchError(store.ErrMediaQuota))
		_, found, err := db.Media(ctx, self, "b")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse(), "nothing stays of what was refused")
		Expect(db.AddMedia(ctx, upload("b", 20), quota)).To(Succeed())
		Expect(db.AddMedia(ctx, upload("c", 20), quota)).To(Succeed())
		Expect(db.AddMedia(ctx, upload("d", 0), quota)).To(MatchError(store.ErrMediaQuota), "too many files")
		Expect(usage(ctx, upload("", 0))).To(Equal([2]int64{3, 100}))
		other := upload("d", 100)
		other.User = dora
		Expect(db.AddMedia(ctx, other, quota)).To(Succeed(), "each has a quota of their own")
	})

	It("is created first and uploaded later, once", func(ctx SpecContext) {
		pending := upload("a", 0)
		pending.ContentType, pending.Filename, pending.Expires = "", "", now.Add(time.Hour)
		Expect(db.CreateMedia(ctx, pending, store.MediaQuota{})).To(Succeed())
		Expect(db.CreateMedia(ctx, pending, store.MediaQuota{})).To(MatchError(store.ErrExists))
		got, _, err := db.Media(ctx, self, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(got).To(Equal(pending))
		Expect(got.Pending()).To(BeTrue())
		Expect(must(db.MediaOfFile(ctx, "Fa"))).To(BeFalse(), "there is no file yet")

		filled := upload("a", 7)
		filled.File, filled.Created = "G", now.Add(time.Minute)
		Expect(db.FillMedia(ctx, filled, store.MediaQuota{Bytes: 6})).To(MatchError(store.ErrMediaQuota))
		Expect(db.FillMedia(ctx, filled, store.MediaQuota{})).To(Succeed())
		got, _, err = db.Media(ctx, self, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(got).To(Equal(filled))
		Expect(usage(ctx, filled)).To(Equal([2]int64{1, 7}))
		filled.File = "H"
		Expect(db.FillMedia(ctx, filled, store.MediaQuota{})).To(MatchError(store.ErrExists))
		Expect(db.FillMedia(ctx, upload("none", 1), store.MediaQuota{})).To(MatchError(store.ErrNotFound))
		Expect(db.DeleteExpiredMedia(ctx, now.Add(48*time.Hour))).To(Succeed())
		_, found, err := db.Media(ctx, self, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue(), "what was uploaded does not expire")
	})

	It("waits for uploads in bounded numbers, for a bounded time", func(ctx SpecContext) {
		quota := store.MediaQuota{Pending: 2}
		create := func(name string, at time.Time) error {
			m := upload(name, 0)
			m.Created, m.Expires = at, at.Add(time.Hour)
			return db.CreateMedia(ctx, m, quota)
		}
		Expect(create("a", now)).To(Succeed())
		Expect(create("b", now.Add(time.Minute))).To(Succeed())
		Expect(create("c", now.Add(2*time.Minute))).To(MatchError(store.ErrMediaPending))
		Expect(create("c", now.Add(time.Hour))).To(Succeed(), "the first has expired")
		late := upload("a", 5)
		late.Created = now.Add(time.Hour)
		Expect(db.FillMedia(ctx, late, quota)).To(MatchError(store.ErrNotFound))
		Expect(db.DeleteExpiredMedia(ctx, now.Add(time.Hour))).To(Succeed())
		_, found, err := db.Media(ctx, self, "a")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
		_, found, err = db.Media(ctx, self, "b")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
	})

	It("of others is cached: counted with its thumbnails, the oldest first", func(ctx SpecContext) {
		Expect(db.AddMedia(ctx, upload("ours", 1000), store.MediaQuota{})).To(Succeed())
		var all []store.Media
		for i := range 3 {
			m := cached(fmt.Sprint(i), 10, now.Add(time.Duration(i)*time.Minute))
			Expect(db.AddMedia(ctx, m, store.MediaQuota{})).To(Succeed())
			all = append(all, m)
		}
		Expect(must(db.OldestMedia(ctx, 10))).To(Equal(all), "without ours")
		Expect(db.TouchMedia(ctx, bob.Server(), "0", now.Add(time.Hour))).To(Succeed())
		Expect(db.TouchMedia(ctx, self, "ours", now.Add(time.Hour))).To(Succeed())
		Expect(db.AddThumbnail(ctx, all[1], 5)).To(Succeed())
		Expect(db.AddThumbnail(ctx, upload("ours", 0), 5)).To(Succeed())
		all[1].Disk = 15
		Expect(must(db.OldestMedia(ctx, 2))).To(Equal(all[1:]))
		Expect(usage(ctx, all[0])).To(Equal([2]int64{3, 35}))
		Expect(usage(ctx, upload("", 0))).To(Equal([2]int64{1, 1000}))

		again := all[1]
		again.File = "another file of it"
		Expect(db.DeleteMedia(ctx, []store.Media{all[1], all[2], again, upload("ours", 0)})).To(Succeed())
		Expect(usage(ctx, all[0])).To(Equal([2]int64{1, 10}))
		Expect(must(db.OldestMedia(ctx, 10))).To(HaveLen(1))
		_, found, err := db.Media(ctx, self, "ours")
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue(), "ours is never deleted")
	})
})

var _ = onEach("OpenID tokens", func(db *fixture) {
	It("are known until they expire", func(ctx SpecContext) {
		now := time.UnixMilli(1_700_000_000_000)
		Expect(db.AddOpenIDToken(ctx, []byte("hash"), alice, now.Add(time.Hour))).To(Succeed())
		user, found, err := db.OpenIDToken(ctx, []byte("hash"), now)
		Expect(err).NotTo(HaveOccurred())
		Expect([]any{user, found}).To(Equal([]any{alice, true}))
		for _, question := range []struct {
			hash string
			at   time.Time
		}{{"hash", now.Add(time.Hour)}, {"other", now}} {
			_, found, err = db.OpenIDToken(ctx, []byte(question.hash), question.at)
			Expect(err).NotTo(HaveOccurred())
			Expect(found).To(BeFalse())
		}
		Expect(db.DeleteExpiredOpenIDTokens(ctx, now)).To(Succeed())
		_, found, err = db.OpenIDToken(ctx, []byte("hash"), now)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeTrue())
		Expect(db.DeleteExpiredOpenIDTokens(ctx, now.Add(time.Hour))).To(Succeed())
		_, found, err = db.OpenIDToken(ctx, []byte("hash"), now)
		Expect(err).NotTo(HaveOccurred())
		Expect(found).To(BeFalse())
	})
})
