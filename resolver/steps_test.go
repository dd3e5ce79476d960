package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hanse/federation/id"
)

// book is a world in a table: what is not in it gets no answer (well-known) or an empty one (DNS).
type book struct {
	known   map[string]string   // host → m.server
	srv     map[string][]string // name → "host:port priority weight"
	addrs   map[string][]string // host → addresses
	failing map[string]bool     // names that get no answer
}

var errNoAnswer = errors.New("no answer")

func (b book) wellKnown(_ context.Context, host string) (WellKnown, error) {
	if server, ok := b.known[host]; ok {
		return WellKnown{Server: id.ServerName(server)}, nil
	}
	return WellKnown{}, errNoAnswer
}

func (b book) services(_ context.Context, name string) ([]Service, error) {
	if b.failing[name] {
		return nil, errNoAnswer
	}
	var list []Service
	for _, text := range b.srv[name] {
		var s Service
		host, rest, _ := strings.Cut(text, ":")
		s.Host = host
		if _, err := fmt.Sscanf(rest, "%d %d %d", &s.Port, &s.Priority, &s.Weight); err != nil {
			panic(err)
		}
		list = append(list, s)
	}
	return list, nil
}

func (b book) addresses(_ context.Context, host string) ([]netip.Addr, error) {
	if b.failing[host] {
		return nil, errNoAnswer
	}
	var list []netip.Addr
	for _, text := range b.addrs[host] {
		list = append(list, netip.MustParseAddr(text))
	}
	return list, nil
}

// spec:server-server-api#resolving-server-names
func TestTheSpecsSteps(t *testing.T) {
	const (
		host  = "matrix.test"
		other = "other.test"
		fed   = "_matrix-fed._tcp."
		old   = "_matrix._tcp."
	)
	addrs := map[string][]string{host: {"192.0.2.1"}, other: {"192.0.2.2", "2001:db8::2"}, "s1.test": {"192.0.2.11"}, "s2.test": {"192.0.2.12"}}
	delegate := func(to string) map[string]string { return map[string]string{host: to} }
	for _, c := range []struct {
		what, server string
		book         book
		want         string // targets as "address Host certificate-name step", or the error's words
	}{
		{"1: IPv4", "192.0.2.9", book{}, "192.0.2.9:8448 192.0.2.9 192.0.2.9 1"},
		{"1: IPv4 with a port", "192.0.2.9:99", book{}, "192.0.2.9:99 192.0.2.9:99 192.0.2.9 1"},
		{"1: IPv6", "[2001:db8::9]", book{}, "[2001:db8::9]:8448 [2001:db8::9] 2001:db8::9 1"},
		{"1: IPv6 with a port", "[2001:db8::9]:99", book{}, "[2001:db8::9]:99 [2001:db8::9]:99 2001:db8::9 1"},
		{"2: a port: neither well-known nor SRV", host + ":99", book{addrs: addrs, known: delegate(other), srv: map[string][]string{fed + host: {"s1.test:1 0 0"}}},
			"192.0.2.1:99 matrix.test:99 matrix.test 2"},
		{"2: no address", "nowhere.test:99", book{addrs: addrs}, "the address of nowhere.test: there is none"},
		{"3.1: delegated to IPv4", host, book{known: delegate("192.0.2.9")}, "192.0.2.9:8448 192.0.2.9 192.0.2.9 3.1"},
		{"3.1: delegated to IPv6 with a port", host, book{known: delegate("[2001:db8::9]:99")}, "[2001:db8::9]:99 [2001:db8::9]:99 2001:db8::9 3.1"},
		{"3.2: delegated with a port", host, book{addrs: addrs, known: delegate(other + ":99"), srv: map[string][]string{fed + other: {"s1.test:1 0 0"}}},
			"192.0.2.2:99 other.test:99 other.test 3.2, [2001:db8::2]:99 other.test:99 other.test 3.2"},
		{"3.3: delegated, SRV", host, book{addrs: addrs, known: delegate(other), srv: map[string][]string{
			fed + other: {"s1.test:1 0 0"}, old + other: {"s2.test:2 0 0"}, fed + host: {"s2.test:3 0 0"}}},
			"192.0.2.11:1 other.test other.test 3.3"},
		{"3.4: delegated, old SRV", host, book{addrs: addrs, known: delegate(other), srv: map[string][]string{old + other: {"s2.test:2 0 0"}, fed + host: {"s1.test:3 0 0"}}},
			"192.0.2.12:2 other.test other.test 3.4"},
		{"3.5: delegated, no SRV", host, book{addrs: addrs, known: delegate(other)},
			"192.0.2.2:8448 other.test other.test 3.5, [2001:db8::2]:8448 other.test other.test 3.5"},
		{"3.5: delegated to nowhere: what is delegated counts", host, book{addrs: addrs, known: delegate("nowhere.test")}, "the address of nowhere.test: there is none"},
		{"3: a delegation isn't followed twice", host, book{addrs: addrs, known: map[string]string{host: other, other: "third.test"}},
			"192.0.2.2:8448 other.test other.test 3.5, [2001:db8::2]:8448 other.test other.test 3.5"},
		{"4: SRV", host, book{addrs: addrs, srv: map[string][]string{fed + host: {"s1.test:1 0 0"}, old + host: {"s2.test:2 0 0"}}},
			"192.0.2.11:1 matrix.test matrix.test 4"},
		{"4: several, by priority", host, book{addrs: addrs, srv: map[string][]string{fed + host: {"s1.test:1 20 0", "s2.test:2 10 0"}}},
			"192.0.2.12:2 matrix.test matrix.test 4, 192.0.2.11:1 matrix.test matrix.test 4"},
		{"4: one without an address", host, book{addrs: addrs, srv: map[string][]string{fed + host: {"nowhere.test:1 1 0", "s2.test:2 2 0"}}},
			"192.0.2.12:2 matrix.test matrix.test 4"},
		{"4: all without an address", host, book{addrs: addrs, srv: map[string][]string{fed + host: {"nowhere.test:1 1 0"}}}, "the address of nowhere.test: there is none"},
		{"4: no such service", host, book{addrs: addrs, srv: map[string][]string{fed + host: {":0 0 0"}}}, "doesn't federate"},
		{"5: old SRV", host, book{addrs: addrs, srv: map[string][]string{old + host: {"s2.test:2 0 0"}}}, "192.0.2.12:2 matrix.test matrix.test 5"},
		{"5: old SRV where the new one gets no answer", host, book{addrs: addrs, failing: map[string]bool{fed + host: true},
			srv: map[string][]string{old + host: {"s2.test:2 0 0"}}}, "192.0.2.12:2 matrix.test matrix.test 5"},
		{"6: port 8448", host, book{addrs: addrs}, "192.0.2.1:8448 matrix.test matrix.test 6"},
		{"6: no answer", host, book{failing: map[string]bool{host: true}}, "the address of matrix.test: no answer"},
	} {
		w := walk{ask: c.book, random: func(int) int { return 0 }}
		targets, err := w.find(t.Context(), id.ServerName(c.server))
		var got []string
		for _, target := range targets {
			number, _, _ := strings.Cut(target.Via, " ")
			got = append(got, fmt.Sprint(target.Addr, " ", target.Host, " ", target.TLSName, " ", number))
		}
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %s", c.what, err, c.want)
			}
		} else if strings.Join(got, ", ") != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.what, strings.Join(got, ", "), c.want)
		}
		if len(w.steps) == 0 {
			t.Errorf("%s: no step was noted", c.what)
		}
	}
}

func TestStepsAreToldToPeople(t *testing.T) {
	w := walk{random: func(int) int { return 0 }, ask: book{
		addrs: map[string][]string{"s1.test": {"192.0.2.11", "192.0.2.12"}}, srv: map[string][]string{"_matrix-fed._tcp.matrix.test": {"s1.test:1 2 3"}}}}
	if _, err := w.find(t.Context(), "matrix.test"); err != nil {
		t.Fatal(err)
	}
	want := `3: https://matrix.test/.well-known/matrix/server: no answer
4: SRV record of _matrix-fed._tcp.matrix.test: s1.test:1 (priority 2, weight 3)
4: address of s1.test: 192.0.2.11, 192.0.2.12`
	if got := join(w.steps); strings.ReplaceAll(got, ", 4:", "\n4:") != want {
		t.Errorf("got\n%s", got)
	}
}

func TestTargetsAreBounded(t *testing.T) {
	b := book{addrs: map[string][]string{}, srv: map[string][]string{}}
	for i := range 3 * maxServices {
		host := fmt.Sprintf("s%d.test", i)
		b.srv["_matrix-fed._tcp.few.test"] = append(b.srv["_matrix-fed._tcp.few.test"], fmt.Sprintf("%s:1 %d 0", host, i))
		b.addrs[host] = []string{"192.0.2.1"}
		b.srv["_matrix-fed._tcp.many.test"] = append(b.srv["_matrix-fed._tcp.many.test"], fmt.Sprintf("m%s:1 %d 0", host, i))
		for n := range maxAddresses {
			b.addrs["m"+host] = append(b.addrs["m"+host], fmt.Sprintf("192.0.2.%d", n))
		}
	}
	for server, want := range map[id.ServerName]int{"few.test": maxServices, "many.test": maxTargets} {
		w := walk{ask: b, random: func(int) int { return 0 }}
		if got, err := w.find(t.Context(), server); err != nil || len(got) != want {
			t.Errorf("%s: %d targets, %v; want %d", server, len(got), err, want)
		}
	}
}

func TestOrderServices(t *testing.T) {
	services := []Service{{Host: "c", Priority: 2}, {Host: "a", Priority: 1, Weight: 30}, {Host: "b", Priority: 1, Weight: 10}, {Host: "z", Priority: 1}}
	order := func(random func(int) int) string {
		text := ""
		for _, s := range orderServices(services, random) {
			text += s.Host
		}
		return text
	}
	// 0 to 40 are the possible draws: 0 is z's, 1 to 30 a's, 31 to 40 b's.
	first := map[string]int{}
	for draw := range 41 {
		n := 0
		got := order(func(int) int {
			n++
			if n == 1 {
				return draw
			}
			return 0
		})
		first[got[:1]]++
		if len(got) != 4 || got[3:] != "c" {
			t.Errorf("draw %d: %s: c has to be last", draw, got)
		}
	}
	if first["z"] != 1 || first["a"] != 30 || first["b"] != 10 {
		t.Errorf("first are %v; want z 1, a 30, b 10", first)
	}
	if services[0].Host != "c" {
		t.Error("the list given was changed")
	}
	if got := orderServices(nil, func(int) int { return 0 }); len(got) != 0 {
		t.Errorf("got %v of nothing", got)
	}
}

// slow answers like its book, but for SRV records after six seconds.
type slow struct{ book }

func (s slow) services(ctx context.Context, name string) ([]Service, error) {
	time.Sleep(6 * time.Second)
	return s.book.services(ctx, name)
}

func TestServicesAreAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := walk{ask: slow{book{
			addrs:   map[string][]string{"a.test": {"192.0.2.1"}},
			failing: map[string]bool{serviceFed + "a.test": true, serviceOld + "a.test": true},
		}}}
		began := time.Now()
		found, err := w.find(t.Context(), "a.test")
		if err != nil || len(found) != 1 || time.Since(began) != 6*time.Second {
			t.Errorf("%v, %v after %v", found, err, time.Since(began))
		}
	})
}

func TestStepsTellWhatHadNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := walk{ask: slow{book{}}}
		if _, err := w.find(ctx, "a.test"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if last := w.steps[len(w.steps)-1]; last.Number != "4" || !errors.Is(last.Err, context.DeadlineExceeded) {
			t.Errorf("the last step: %s", last)
		}
		time.Sleep(6 * time.Second) // until the questions have ended
	})
}
