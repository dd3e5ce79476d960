// Package virtual runs whole nodes over a network in memory, so that inside of a [testing/synctest] bubble days of a
// broken network pass in seconds: real HTTP, TLS, signatures and SQLite, time and links made up.
package virtual

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"hanse/resolver"
)

// Net is the network: hosts by address, links between them. Make it inside of the bubble. Safe for concurrent use.
type Net struct {
	latency time.Duration

	mu        sync.Mutex
	names     map[string]netip.Addr
	listeners map[string]*listener
	cut       map[[2]netip.Addr]bool
	slow      map[[2]netip.Addr]time.Duration
	open      map[*conn]link // the dialing end of each connection
	port      uint16         // the last one that a dialer had
	dials     map[link]int
}

// link is a direction between two hosts.
type link struct{ from, to netip.Addr }

// pair is the link without its direction.
func (l link) pair() [2]netip.Addr {
	if l.to.Less(l.from) {
		return [2]netip.Addr{l.to, l.from}
	}
	return [2]netip.Addr{l.from, l.to}
}

// New makes a network without hosts. latency is the time that bytes take from one host to another.
func New(latency time.Duration) *Net {
	return &Net{
		latency: latency, names: map[string]netip.Addr{}, listeners: map[string]*listener{}, cut: map[[2]netip.Addr]bool{},
		slow: map[[2]netip.Addr]time.Duration{},
		open: map[*conn]link{}, port: 1024, dials: map[link]int{},
	}
}

// Host gives a name an address, and returns the network as it is seen from there.
func (n *Net) Host(name string, address netip.Addr) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name] = address
	return &Host{net: n, address: address}
}

// Cut breaks the link between two hosts: connections are reset, packets vanish.
func (n *Net) Cut(a, b *Host) {
	n.set(a, b, true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, l := range n.open {
		if l.pair() == (link{a.address, b.address}).pair() {
			c.reset()
			delete(n.open, c)
		}
	}
}

// Heal mends the link between two hosts.
func (n *Net) Heal(a, b *Host) { n.set(a, b, false) }

// Slow gives new connections between two hosts another latency.
func (n *Net) Slow(a, b *Host, latency time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow[link{a.address, b.address}.pair()] = latency
}

func (n *Net) set(a, b *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{a.address, b.address}.pair()] = cut
}

// Dials is how often from has tried to connect to to.
func (n *Net) Dials(from, to *Host) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[link{from.address, to.address}]
}

// Host is a network as one host sees it: it implements node.Network.
type Host struct {
	net     *Net
	address netip.Addr
}

// Addresses looks a name up.
func (h *Host) Addresses(_ context.Context, name string) ([]netip.Addr, time.Duration, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if address, found := h.net.names[name]; found {
		return []netip.Addr{address}, time.Hour, nil
	}
	return nil, time.Hour, nil
}

// Services knows no SRV records.
func (h *Host) Services(context.Context, string) ([]resolver.Service, time.Duration, error) {
	return nil, time.Hour, nil
}

// Dial connects; over a link that is cut it waits until ctx ends or the dialer's patience does.
func (h *Host) Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	if dialer != nil && dialer.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	l := link{h.address, to.Addr()}
	h.net.mu.Lock()
	h.net.dials[l]++
	cut, listener := h.net.cut[l.pair()], h.net.listeners[address]
	latency, slow := h.net.slow[l.pair()]
	if !slow {
		latency = h.net.latency
	}
	h.net.port = max(h.net.port+1, 1024)
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.address, h.net.port))
	h.net.mu.Unlock()
	failed := func(err error) error {
		return &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
	}
	if cut {
		<-ctx.Done()
		return nil, failed(ctx.Err())
	}
	if listener == nil {
		return nil, failed(syscall.ECONNREFUSED)
	}
	var near, far *conn
	near, far = connect(from, net.TCPAddrFromAddrPort(to), latency, func() { h.net.closed(near) })
	h.net.mu.Lock()
	h.net.open[near] = l
	h.net.mu.Unlock()
	select {
	case listener.incoming <- far:
		return near, nil
	case <-listener.done:
		_ = near.Close()
		return nil, failed(syscall.ECONNREFUSED)
	case <-ctx.Done():
		_ = near.Close()
		return nil, failed(ctx.Err())
	}
}

func (n *Net) closed(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// Listen accepts connections.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	l := &listener{net: h.net, address: at, incoming: make(chan net.Conn), done: make(chan struct{})}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: l.Addr(), Err: syscall.EADDRINUSE}
	}
	h.net.listeners[address] = l
	return l, nil
}

type listener struct {
	net      *Net
	address  netip.AddrPort
	incoming chan net.Conn
	once     sync.Once
	done     chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, fmt.Errorf("accept %s: %w", l.address, net.ErrClosed)
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.address.String())
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.address) }
