package fabric

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// Place is where one node listens.
type Place struct {
	IP             netip.Addr
	ClientPort     uint16
	FederationPort uint16
	// WellKnown tells that port 443 of IP may be bound, so that the node can be found by well-known.
	WellKnown bool
}

// Client is the address of the client-server API.
func (p Place) Client() string { return hostPort(p.IP, p.ClientPort) }

// Federation is the address of the server-server API.
func (p Place) Federation() string { return hostPort(p.IP, p.FederationPort) }

func hostPort(ip netip.Addr, port uint16) string {
	return net.JoinHostPort(ip.String(), strconv.Itoa(int(port)))
}

// Places finds loopback addresses for n nodes: an address each with the usual ports (8008, 8448) where the whole of
// 127.0.0.0/8 is the machine's own (Linux), free ports of 127.0.0.1 elsewhere.
func Places(n int) ([]Place, error) {
	for range 30 {
		places := subnet(byte(rand.IntN(200)+20), byte(rand.IntN(200)+1), n)
		if err := free(places); err == nil {
			return places, nil
		}
	}
	return onePlace(n)
}

// subnet are n places from 127.a.b.10 on, perSubnet in each 127.a.b; some ten thousand at most.
func subnet(a, b byte, n int) []Place {
	const perSubnet = 240
	places := make([]Place, n)
	for i := range places {
		ip := netip.AddrFrom4([4]byte{127, a, b + byte(i/perSubnet), byte(10 + i%perSubnet)})
		places[i] = Place{IP: ip, ClientPort: 8008, FederationPort: 8448}
		places[i].WellKnown = canBind(hostPort(places[i].IP, 443)) == nil
	}
	return places
}

func onePlace(n int) ([]Place, error) {
	places := make([]Place, n)
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	var held []net.Listener // all at once, so that no port is given twice
	defer func() {
		for _, listener := range held {
			_ = listener.Close()
		}
	}()
	port := func() (uint16, error) {
		listener, err := net.Listen("tcp", hostPort(loopback, 0))
		if err != nil {
			return 0, fmt.Errorf("find a free loopback port: %w", err)
		}
		held = append(held, listener)
		return listener.Addr().(*net.TCPAddr).AddrPort().Port(), nil
	}
	for i := range places {
		client, err1 := port()
		federation, err2 := port()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		places[i] = Place{IP: loopback, ClientPort: client, FederationPort: federation}
	}
	return places, nil
}

// free tells which of the places is taken, if any.
func free(places []Place) error {
	for _, place := range places {
		if err := errors.Join(canBind(place.Client()), canBind(place.Federation())); err != nil {
			return err
		}
	}
	return nil
}

func canBind(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}
