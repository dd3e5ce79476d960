package testnet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"hanse/node"
	"hanse/resolver"
)

// links is the network of a testnet's node: the machine's, but for the links that are cut. Safe for concurrent use.
type links struct {
	resolver.Network

	mu    sync.Mutex
	cut   map[string]bool                  // guarded by mu: by "ip:port"
	conns map[string]map[net.Conn]struct{} // guarded by mu: open ones, by "ip:port"
}

func newLinks(dnsServer string) *links {
	return &links{Network: resolver.RealNetwork(dnsServer), cut: map[string]bool{}, conns: map[string]map[net.Conn]struct{}{}}
}

// Listen implements node.Network.
func (l *links) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

// Dial implements resolver.Network: nothing is reached over a link that is cut.
func (l *links) Dial(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	if l.isCut(address) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("the testnet has cut this link: %w", syscall.EHOSTUNREACH)}
	}
	conn, err := l.Network.Dial(ctx, dialer, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[address] == nil {
		l.conns[address] = map[net.Conn]struct{}{}
	}
	watched := &linkConn{Conn: conn, links: l, address: address}
	l.conns[address][watched] = struct{}{}
	return watched, nil
}

func (l *links) isCut(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut[address]
}

// set cuts the links to these addresses, and mends all others.
func (l *links) set(addresses []string) {
	var gone []net.Conn
	l.mu.Lock()
	clear(l.cut)
	for _, address := range addresses {
		l.cut[address] = true
		for conn := range l.conns[address] {
			gone = append(gone, conn)
		}
	}
	l.mu.Unlock()
	for _, conn := range gone {
		_ = conn.Close() // the link is cut
	}
}

// linkConn is a connection over a link.
type linkConn struct {
	net.Conn
	links   *links
	address string
}

// Close implements net.Conn.
func (c *linkConn) Close() error {
	c.links.mu.Lock()
	delete(c.links.conns[c.address], net.Conn(c))
	c.links.mu.Unlock()
	return c.Conn.Close()
}

// obeyedFile is where a node of a testnet writes the last order that it has obeyed, in its data folder.
const obeyedFile = "links"

// RunMember runs one node of a testnet until ctx or orders end. An order is a line: "cut" and the addresses to which the
// links are cut from then on, until the next one.
func RunMember(ctx context.Context, config node.Config, orders io.Reader, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLinks(config.Federation.DNSServer)
	n, err := node.NewOn(ctx, l, config, log)
	if err != nil {
		return err
	}
	go func() { // ends with the testnet's process, or with this one
		defer cancel()
		for lines := bufio.NewScanner(orders); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) == 0 || words[0] != "cut" {
				continue
			}
			l.set(words[1:])
			if err := os.WriteFile(filepath.Join(config.Folder(), obeyedFile), lines.Bytes(), 0o600); err != nil {
				log.Error("the testnet isn't told that its order was obeyed", "error", err)
			}
		}
	}()
	return n.Run(ctx)
}
