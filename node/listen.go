package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"hanse/resolver"
)

// endpoint is one address on which the node answers.
type endpoint struct {
	setting  string // for errors: "client.listen"
	listener net.Listener
	server   *http.Server
	tls      bool
}

// Network is the network below a node, where it isn't the machine's: tests run whole nodes over one in memory.
type Network interface {
	resolver.Network
	// Listen accepts connections at "ip:port", as [net.Listen] does.
	Listen(network, address string) (net.Listener, error)
}

// open is net.Listen on the node's network.
func (n *Node) open(network, address string) (net.Listener, error) {
	if n.network != nil {
		return n.network.Listen(network, address)
	}
	return net.Listen(network, address)
}

// listen binds an address, with a clear error where it can't.
func (n *Node) listen(setting, address string, handler http.Handler, certificate *tls.Config) (*endpoint, error) {
	listener, err := n.open("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is taken by another program; stop that program or choose another address", setting, address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: this user may not bind %s; use a port above 1023 or grant CAP_NET_BIND_SERVICE", setting, address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: %s is no address of this machine; name one that is, or leave out what is before the colon for all of them", setting, address)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return &endpoint{setting: setting, listener: listener, tls: certificate != nil, server: &http.Server{
		Handler: handler, TLSConfig: certificate,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug), // handshakes and the like that strangers break
	}}, nil
}

func (e *endpoint) serve() error {
	var err error
	if e.tls {
		err = e.server.ServeTLS(e.listener, "", "")
	} else {
		err = e.server.Serve(e.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", e.setting, err)
}

// serveAll answers on all endpoints until ctx ends or one fails, then lets the requests that are under way end.
func serveAll(ctx context.Context, endpoints []*endpoint) error {
	group, serving := errgroup.WithContext(ctx)
	for _, e := range endpoints {
		group.Go(e.serve)
	}
	group.Go(func() error {
		<-serving.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		var ending sync.WaitGroup
		for _, e := range endpoints {
			ending.Go(func() {
				if err := e.server.Shutdown(patience); err != nil {
					_ = e.server.Close() // what hasn't ended by now is cut off
				}
			})
		}
		ending.Wait()
		return nil
	})
	return group.Wait()
}
