package store_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store/sqlite"
)

var seedFlag = flag.Uint64("seed", 1, "of the property tests; 0: by chance, so that no change is refused for what it didn't do")

func propertySeed() uint64 {
	if *seedFlag == 0 {
		return rand.Uint64()
	}
	return *seedFlag
}

// The driver's file layer can't be replaced (its package vfs is for read-only file systems), so that a disk which loses what
// it was not made to keep is played on copies of the files: of what was written after the last acknowledgement, any
// part may be missing or be from before, and the file may end anywhere behind it.
var _ = Describe("A power failure", func() {
	It("costs nothing that was acknowledged, whatever of the later writes is lost", func(ctx SpecContext) {
		seed := propertySeed()
		fmt.Fprintln(GinkgoWriter, "seed", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		dir := GinkgoT().TempDir()
		path := filepath.Join(dir, "hanse.db")
		db := &fixture{dialect: sqlite.Open(path)}
		db.start()
		defer db.stop()
		set := func(n int) {
			_, err := db.SetAccountData(ctx, alice, "", "n", fmt.Append(nil, n))
			Expect(err).NotTo(HaveOccurred())
		}
		for n := 1; n <= 20; n++ {
			set(n)
			main, synced := must(os.ReadFile(path)), must(os.ReadFile(path+"-wal"))
			for range 1 + random.IntN(3) { // these may get lost: their acknowledgement never leaves the machine
				set(n)
			}
			Expect(must(os.ReadFile(path))).To(Equal(main), "no checkpoint in between: the test knows what was synced")
			wal := must(os.ReadFile(path + "-wal"))
			for i := range 3 {
				crashed := filepath.Join(dir, fmt.Sprintf("crashed-%d-%d.db", n, i))
				Expect(os.WriteFile(crashed, main, 0o600)).To(Succeed())
				Expect(os.WriteFile(crashed+"-wal", lose(random, synced, wal), 0o600)).To(Succeed())
				checkCrashed(ctx, crashed, n)
			}
		}
	})
})

// lose is a file of which only what is in synced was made to be kept: each later block of 512 bytes is as it was, or as it
// was written, or zero, and the file's end is lost.
func lose(random *rand.Rand, synced, written []byte) []byte {
	const block = 512
	file := append([]byte{}, synced...)
	file = append(file, make([]byte, max(0, len(written)-len(synced)))...)
	for at := 0; at < len(written); at += block {
		end := min(at+block, len(written))
		if random.IntN(2) == 0 && string(file[at:end]) != string(written[at:end]) {
			copy(file[at:end], written[at:end])
		}
	}
	if len(file) > len(synced) {
		file = file[:len(synced)+random.IntN(len(file)-len(synced)+1)]
	}
	return file
}

func checkCrashed(ctx context.Context, path string, n int) {
	GinkgoHelper()
	db := &fixture{dialect: sqlite.Open(path)}
	db.start()
	defer db.stop()
	entry, _, err := db.AccountData(ctx, alice, "", "n")
	Expect(err).NotTo(HaveOccurred())
	Expect(string(entry.Content)).To(Equal(fmt.Sprint(n)))
	_, err = db.SetAccountData(ctx, alice, "", "n", []byte("0"))
	Expect(err).NotTo(HaveOccurred(), "it works on")
}
