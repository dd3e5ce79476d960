package hostile

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	_ "modernc.org/sqlite"
)

// unlimited is a limit that isn't one.
const unlimited = ^uint64(0)

// limitFiles has a process fail to write beyond so many bytes of a file, as it does where a disk is full.
func limitFiles(pid int, bytes uint64) {
	GinkgoHelper()
	const fileSize = 1 // RLIMIT_FSIZE
	limit := [2]uint64{bytes, unlimited}
	_, _, failure := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), fileSize, uintptr(unsafe.Pointer(&limit)), 0, 0, 0)
	Expect(failure).To(BeZero())
}

// fill has the node's log of writes, which grows with each, be larger than a file may be from now on: nothing can be written, as on
// a disk that is full or broken.
func fill(ctx context.Context, n *node) (end func()) {
	GinkgoHelper()
	u := n.newUser(ctx)
	roomID, err := u.CreateRoom(ctx, map[string]any{})
	Expect(err).NotTo(HaveOccurred())
	for size := int64(0); size < 2*fileLimit; {
		_, err := u.Say(ctx, roomID, strings.Repeat("x", 30_000))
		Expect(err).NotTo(HaveOccurred())
		info, err := os.Stat(filepath.Join(n.orders.DataDir, "hanse.db-wal"))
		Expect(err).NotTo(HaveOccurred())
		size = info.Size()
	}
	limitFiles(n.process.PID(), fileLimit)
	return func() { limitFiles(n.process.PID(), unlimited) }
}

// fileLimit leaves room for the node's log for people.
const fileLimit = 256 << 10

// takeAway renames the node's data folder; it is put back as it was.
func takeAway(_ context.Context, n *node) (end func()) {
	GinkgoHelper()
	Expect(os.Rename(n.orders.DataDir, n.orders.DataDir+"-away")).To(Succeed())
	return func() {
		GinkgoHelper()
		Expect(os.Rename(n.orders.DataDir+"-away", n.orders.DataDir)).To(Succeed())
	}
}

// hold keeps the right to write to the node's database, as a program that makes a backup may do.
func hold(ctx context.Context, n *node) (end func()) {
	GinkgoHelper()
	db, err := sql.Open("sqlite", filepath.Join(n.orders.DataDir, "hanse.db")+"?_pragma=busy_timeout(10000)")
	Expect(err).NotTo(HaveOccurred())
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, "BEGIN IMMEDIATE")
	Expect(err).NotTo(HaveOccurred())
	return func() {
		GinkgoHelper()
		_, err := db.Exec("ROLLBACK")
		Expect(err).NotTo(HaveOccurred())
		Expect(db.Close()).To(Succeed())
	}
}

var _ = Describe("a node whose database is in a file", Serial, func() {
	for what, o := range map[string]outage{
		"on a disk that is full":                        {begin: fill, refuses: true, says: takesNoWrites},
		"that is taken away and put back":               {begin: takeAway, refuses: true, says: takesNoWrites},
		"that another program keeps from being written": {begin: hold, waits: true},
	} {
		It(what+", acknowledges nothing that isn't stored, and goes on by itself", func(ctx SpecContext) {
			throughOutage(ctx, startNode(), o)
		})
	}
})
