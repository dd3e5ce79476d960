package hostile

import (
	"net"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix" // packet filters of sockets
)

// swallow has all packets vanish that a node sends through the gate, as behind a broken cable: nobody says that the connection
// is gone, and nothing that is sent is confirmed.
func (g *gate) swallow() (end func()) {
	GinkgoHelper()
	g.hold()
	g.mu.Lock()
	defer g.mu.Unlock()
	ends := []syscall.Conn{g.listener.(*net.TCPListener)}
	for conn := range g.conns {
		ends = append(ends, conn.(*net.TCPConn))
	}
	for _, conn := range ends {
		filter(conn, func(fd int) error {
			nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
		})
	}
	return func() {
		GinkgoHelper()
		filter(ends[0], func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
		g.end() // what the node still holds of these was given up, or is told now
		g.open()
	}
}

// filter changes what of the packets for a socket reaches it.
func filter(conn syscall.Conn, change func(fd int) error) {
	GinkgoHelper()
	raw, err := conn.SyscallConn()
	Expect(err).NotTo(HaveOccurred())
	var failure error
	Expect(raw.Control(func(fd uintptr) { failure = change(int(fd)) })).To(Succeed())
	Expect(failure).NotTo(HaveOccurred())
}

var _ = Describe("a node on PostgreSQL", Serial, func() {
	It("whose packets vanish notices it, refuses what can't be stored, and goes on by itself", func(ctx SpecContext) {
		where, _ := newDatabase(ctx)
		g, through := newGate(where)
		n := startNodeOn(through.String())
		alice := n.newUser(ctx)
		roomID, err := alice.CreateRoom(ctx, map[string]any{})
		Expect(err).NotTo(HaveOccurred())
		end := g.swallow()
		refused := make(chan error, 1)
		go func() {
			_, err := alice.Say(ctx, roomID, "lost")
			refused <- err
		}()
		Eventually(refused, 3*patience).Should(Receive(HaveOccurred()))
		end()
		Eventually(func() error {
			_, err := alice.Say(ctx, roomID, "found")
			return err
		}).Should(Succeed())
	})
})
