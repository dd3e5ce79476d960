package postgres

import (
	"syscall"
	"time"
)

// confirmWithin has a connection fail when what was sent isn't confirmed within a time.
func confirmWithin(conn syscall.RawConn, within time.Duration) error {
	const userTimeout = 18 // TCP_USER_TIMEOUT
	var failure error
	err := conn.Control(func(fd uintptr) {
		failure = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, userTimeout, int(within.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failure
}
