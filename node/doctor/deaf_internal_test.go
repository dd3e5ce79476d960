package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"testing"
)

// TestDeaf: the standard library tells in words alone why no DNS server answers.
func TestDeaf(t *testing.T) {
	refused := &net.DNSError{Err: "read udp [::1]:33455->[::1]:53: read: connection refused", Name: "a.test.", Server: "[::1]:53"}
	for err, want := range map[error]bool{
		fmt.Errorf("the address of a.test: %w", refused):                                                                   true,
		&net.DNSError{Err: "dial udp 10.255.255.53:53: connect: network is unreachable"}:                                   true,
		fmt.Errorf("no DNS server is known: %w", &fs.PathError{Op: "open", Path: "/etc/resolv.conf", Err: fs.ErrNotExist}): true,
		&net.OpError{Op: "read", Net: "udp", Err: syscall.ECONNREFUSED}:                                                    true,
		&net.DNSError{Err: "no such host", IsNotFound: true}:                                                               false,
		&net.DNSError{Err: "server misbehaving"}:                                                                           false,
		context.DeadlineExceeded:                                                                                           false,
		nil:                                                                                                                false,
	} {
		if deaf(err) != want {
			t.Errorf("%v: %t", err, !want)
		}
	}
}
