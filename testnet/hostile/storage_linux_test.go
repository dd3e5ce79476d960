package hostile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/testnet/user"
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

var _ = Describe("a full disk", Serial, func() {
	It("has the node take nothing that it can't store, answer what it has, and go on when there is room", func(ctx SpecContext) {
		n := startNode()
		alice := n.newUser(ctx)
		roomID, err := alice.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
		Expect(err).NotTo(HaveOccurred())
		said := map[string]string{} // what was acknowledged
		say := func(number int) error {
			var answer struct {
				EventID string `json:"event_id"`
			}
			body := fmt.Sprint(number, " ", strings.Repeat("x", 30_000))
			path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/m%d", url.PathEscape(roomID), number)
			err := alice.Call(ctx, http.MethodPut, path, nil, map[string]any{"msgtype": "m.text", "body": body}, &answer)
			if err == nil {
				said[answer.EventID] = body
			}
			return err
		}
		Expect(say(0)).To(Succeed())
		largest := int64(0)
		Expect(filepath.WalkDir(n.orders.DataDir, func(path string, entry os.DirEntry, err error) error {
			if info, e := entry.Info(); err == nil && e == nil && !entry.IsDir() {
				largest = max(largest, info.Size())
			}
			return err
		})).To(Succeed())
		limitFiles(n.process.PID(), uint64(largest)+1<<20)
		DeferCleanup(func() { limitFiles(n.process.PID(), unlimited) })
		number := 1
		for ; err == nil && number < 500; number++ {
			err = say(number)
		}
		refusal, refused := errors.AsType[*user.Error](err)
		Expect(refused).To(BeTrue(), "after %d messages: %v", number, err)
		Expect(refusal.Status).To(BeNumerically(">=", 500))
		stored := func(ctx context.Context) map[string]string {
			GinkgoHelper()
			history, err := alice.History(ctx, roomID)
			Expect(err).NotTo(HaveOccurred())
			all := map[string]string{}
			for _, e := range history {
				if e.Type == "m.room.message" {
					Expect(all).NotTo(HaveKey(e.ID))
					all[e.ID] = e.Body()
				}
			}
			return all
		}
		Expect(stored(ctx)).To(Equal(said), "what was acknowledged, and nothing else")
		limitFiles(n.process.PID(), unlimited)
		Eventually(func() error { return say(number - 1) }).WithTimeout(20*time.Second).Should(Succeed(), "as soon as there is room")
		Expect(say(number)).To(Succeed())
		Expect(stored(ctx)).To(Equal(said))
	})
})
