package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"hanse/federation/id"
)

const (
	// defaultPort is the port of federation where nothing else is said.
	defaultPort = 8448

	serviceFed = "_matrix-fed._tcp."
	serviceOld = "_matrix._tcp." // deprecated
)

// Step is one thing that was done to find a server, for people.
type Step struct {
	Number string // the spec's number, e.g. "3.3"
	Action string // what was asked
	Result string // what came of it; "" when Err says it
	Err    error  // why it led nowhere

	Addresses []netip.Addr // of a step that asked for addresses: all that were found, also those that are refused
}

// String is the step on a line.
func (s Step) String() string {
	if s.Err != nil {
		return fmt.Sprintf("%s: %s: %v", s.Number, s.Action, s.Err)
	}
	return fmt.Sprintf("%s: %s: %s", s.Number, s.Action, s.Result)
}

// ErrNoAddress is the error of a step that found no address because there is none: the DNS servers have said so.
var ErrNoAddress = errors.New("there is none")

// answers is what the steps ask. An error means that there was no answer; an empty list is an answer.
type answers interface {
	wellKnown(ctx context.Context, host string) (WellKnown, error)
	services(ctx context.Context, name string) ([]Service, error)
	addresses(ctx context.Context, host string) ([]netip.Addr, error)
}

// walk goes through the steps for one server name.
type walk struct {
	ask    answers
	random func(n int) int // a number from 0 to n-1
	steps  []Step
}

// find is the list of steps of the specification.
//
// spec:server-server-api#resolving-server-names
func (w *walk) find(ctx context.Context, server id.ServerName) ([]Target, error) {
	// 1. The hostname is an IP literal.
	if literal, ok := server.Literal(); ok {
		return w.literal("1", literal, server), nil
	}
	// 2. The hostname is not an IP literal, and there is an explicit port.
	if port, ok := server.Port(); ok {
		return w.withPort(ctx, "2", server, port)
	}
	// 3. The hostname is not an IP literal: well-known.
	delegated, err := w.ask.wellKnown(ctx, server.Host())
	w.note("3", "https://"+server.Host()+"/.well-known/matrix/server", "delegates to "+string(delegated.Server), err)
	if err == nil {
		return w.delegated(ctx, delegated.Server)
	}
	// 4. to 6. The request to well-known failed.
	return w.byName(ctx, server, "4", "5", "6")
}

// delegated is step 3's list for the server that well-known names.
func (w *walk) delegated(ctx context.Context, server id.ServerName) ([]Target, error) {
	// 3.1. The delegated hostname is an IP literal.
	if literal, ok := server.Literal(); ok {
		return w.literal("3.1", literal, server), nil
	}
	// 3.2. It is not an IP literal, and there is a port.
	if port, ok := server.Port(); ok {
		return w.withPort(ctx, "3.2", server, port)
	}
	// 3.3. to 3.5. It is not an IP literal, and there is no port.
	return w.byName(ctx, server, "3.3", "3.4", "3.5")
}

// literal is the target of a name that is an IP address: the certificate is for the address, the Host header is the
// name as it is.
func (w *walk) literal(number string, addr netip.Addr, server id.ServerName) []Target {
	port := uint16(defaultPort)
	if text, ok := server.Port(); ok {
		port = portNumber(text)
	}
	target := Target{Addr: netip.AddrPortFrom(addr, port), Host: string(server), TLSName: addr.String(), Via: number + " IP address"}
	w.note(number, "IP address "+server.Host(), target.Addr.String(), nil)
	return []Target{target}
}

// withPort is the targets of a name with a port: the certificate is for the name, the Host header is name and port.
func (w *walk) withPort(ctx context.Context, number string, server id.ServerName, port string) ([]Target, error) {
	host := server.Host()
	addrs, err := w.addresses(ctx, number, host)
	if err != nil {
		return nil, err
	}
	return targets(addrs, portNumber(port), Target{Host: string(server), TLSName: host, Via: number + " explicit port"}), nil
}

// byName is the targets of a name without a port. In whatever way its address is found, the certificate is for the
// name and the Host header is the name. The numbers are those of the three steps.
func (w *walk) byName(ctx context.Context, server id.ServerName, fed, old, plain string) ([]Target, error) {
	host := server.Host()
	base := Target{Host: host, TLSName: host}
	// Both are asked for at once: where SRV records can't be asked for, that is found out in half the time.
	asked := [...]*serviceQuestion{w.askServices(ctx, fed, serviceFed+host), w.askServices(ctx, old, serviceOld+host)}
	for _, q := range asked {
		action := "SRV record of " + q.name
		select {
		case <-q.done:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			w.note(q.number, action, "", ctx.Err())
			return nil, ctx.Err()
		}
		w.note(q.number, action, describeServices(q.services), q.err)
		if len(q.services) > 0 {
			base.Via = q.number + " " + q.name
			return w.byServices(ctx, q.number, q.services, base)
		}
	}
	addrs, err := w.addresses(ctx, plain, host)
	if err != nil {
		return nil, err
	}
	base.Via = plain + " port 8448"
	return targets(addrs, defaultPort, base), nil
}

// serviceQuestion asks for the SRV records of a name.
type serviceQuestion struct {
	number, name string

	done     chan struct{} // closed when what follows is there
	services []Service
	err      error
}

func (w *walk) askServices(ctx context.Context, number, name string) *serviceQuestion {
	q := &serviceQuestion{number: number, name: name, done: make(chan struct{})}
	go func() {
		defer close(q.done)
		q.services, q.err = w.ask.services(ctx, name)
	}()
	return q
}

// byServices is the targets of SRV records, in their order.
func (w *walk) byServices(ctx context.Context, number string, services []Service, base Target) ([]Target, error) {
	if len(services) == 1 && services[0].Host == "" {
		return nil, errors.New("its SRV record says that it doesn't federate")
	}
	var all []Target
	var failed []error
	for i, s := range orderServices(services, w.random) {
		if i == maxServices || len(all) >= maxTargets {
			break
		}
		addrs, err := w.addresses(ctx, number, s.Host)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, targets(addrs, s.Port, base)...)
	}
	if len(all) == 0 {
		return nil, errors.Join(failed...)
	}
	return all, nil
}

// addresses asks for a name's addresses; none is an error.
func (w *walk) addresses(ctx context.Context, number, host string) ([]netip.Addr, error) {
	addrs, err := w.ask.addresses(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = ErrNoAddress
	}
	if err != nil {
		err = fmt.Errorf("the address of %s: %w", host, err)
	}
	w.note(number, "address of "+host, join(addrs), err)
	w.steps[len(w.steps)-1].Addresses = addrs
	return addrs, err
}

func (w *walk) note(number, action, result string, err error) {
	if err != nil {
		result = ""
	}
	w.steps = append(w.steps, Step{Number: number, Action: action, Result: result, Err: err})
}

// targets are the addresses at a port, otherwise like base.
func targets(addrs []netip.Addr, port uint16, base Target) []Target {
	list := make([]Target, len(addrs))
	for i, addr := range addrs {
		list[i] = base
		list[i].Addr = netip.AddrPortFrom(addr, port)
	}
	return list
}

// portNumber is a port that the grammar of server names has let through.
func portNumber(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0 // nobody listens there
	}
	return uint16(n)
}

func join[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, ", ")
}

func describeServices(services []Service) string {
	if len(services) == 0 {
		return "none"
	}
	return join(services)
}
