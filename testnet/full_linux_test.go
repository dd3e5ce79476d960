package testnet

import (
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"hanse/testnet/fabric"
)

// TestAFullDisk: what it leaves of a testnet's files is made anew when there is room, and what failed says why the log says nothing.
func TestAFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	limit := func(bytes uint64) { // no file can be longer
		t.Helper()
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
			t.Fatal(err)
		}
		now.Cur = min(bytes, now.Max)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
			t.Fatal(err)
		}
	}
	defer limit(math.MaxUint64)
	dir := t.TempDir()
	n := &network{dir: dir}
	node := PlanNode{Name: "node1"}
	if err := os.MkdirAll(n.nodeDir(node), 0o700); err != nil {
		t.Fatal(err)
	}

	for _, most := range []uint64{100, 300} { // too little for the key of the authority; enough for it, and too little for the certificate
		limit(most)
		_, _, plan := loadOrMakePlan(dir, 3, "")
		_, ca := fabric.LoadOrCreateCA(dir)
		said := n.seeLog(node)
		limit(math.MaxUint64)
		if plan == nil || ca == nil {
			t.Fatalf("there was room: %v, %v", plan, ca)
		}
		if !strings.Contains(said, "too large") { // what a limit is called
			t.Errorf("nothing is said of the disk: %s", said)
		}
	}
	if _, _, err := loadOrMakePlan(dir, 3, ""); err != nil {
		t.Error(err)
	}
	if _, err := fabric.LoadOrCreateCA(dir); err != nil {
		t.Error(err)
	}
	if said := n.seeLog(node); said != "its log is "+n.logFile(node) {
		t.Error(said)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.new")); err != nil || left != nil {
		t.Errorf("%v is left: %v", left, err)
	}
}
