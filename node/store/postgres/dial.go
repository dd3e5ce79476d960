package postgres

import (
	"context"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A connection whose packets vanish, as when the database's machine is gone or a cable is cut, is given up after lost: the
// systems themselves would wait for a quarter of an hour, or for two when nothing is to be sent. A database that is only slow
// is waited for, since its machine confirms what it gets.
const (
	lost = 10 * time.Second
	// probeAfter is after how long without a sign of life the other machine is asked for one, probeEvery how often until lost.
	probeAfter = 4 * time.Second
	probeEvery = 2 * time.Second
)

// dial makes a connection to the database.
func dial() pgconn.DialFunc {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: int((lost - probeAfter) / probeEvery)},
		ControlContext: func(_ context.Context, network, _ string, conn syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil // a socket of this machine
			}
			return confirmWithin(conn, lost)
		},
	}
	return dialer.DialContext
}
