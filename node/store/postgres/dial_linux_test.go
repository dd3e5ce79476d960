package postgres

import (
	"net"
	"syscall"
	"testing"
)

// TestALostConnectionIsNoticed: the system is told to give up a connection whose packets vanish, whether something is on its
// way or not.
func TestALostConnectionIsNoticed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // a test
	conn, err := dial()(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(level, name int) (value int) {
		t.Helper()
		failure := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, name) })
		if failure != nil || err != nil {
			t.Fatal(failure, err)
		}
		return value
	}
	if unconfirmed := option(syscall.IPPROTO_TCP, 18); unconfirmed != int(lost.Milliseconds()) { // TCP_USER_TIMEOUT
		t.Errorf("what isn't confirmed is waited for for %d ms", unconfirmed)
	}
	silent := option(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE) +
		option(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)*option(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
	if option(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 || silent != int(lost.Seconds()) {
		t.Errorf("a silent connection is waited for for %d s", silent)
	}
}

// TestASocketOfThisMachine: databases are reached by a file, too.
func TestASocketOfThisMachine(t *testing.T) {
	t.Chdir(t.TempDir()) // whose own path may be longer than a socket's
	listener, err := net.Listen("unix", "db")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // a test
	conn, err := dial()(t.Context(), "unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close() //nolint:errcheck // a test
}
