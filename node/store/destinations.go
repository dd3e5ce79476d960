package store

import (
	"crypto/sha256"
	"iter"
	"math/bits"
	"slices"
	"strings"

	"hanse/federation/id"
)

// destinations is a set of servers. Immutable.
type destinations struct {
	number  int64
	hash    [sha256.Size]byte
	servers []serverBlock // in order
}

// serverBlock are servers of a set by their numbers: bit i stands for number 64·at + i.
type serverBlock struct {
	at   int
	bits uint64
}

func (d *destinations) has(number int) bool {
	i, found := slices.BinarySearchFunc(d.servers, number/64, func(b serverBlock, at int) int { return b.at - at })
	return found && d.servers[i].bits>>(number%64)&1 == 1
}

// serverNumbers are small numbers of the servers that the outbox has to do with, so that its sets are a bit a server: where some of a room's
// 2,000 servers come and go all the time, each of its events has a set of its own, and with a name a server 20,000 of them were GBs.
// A number stays a server's until the next start. Guarded by outbox.mu.
type serverNumbers struct {
	numbers map[id.ServerName]int
	names   []id.ServerName
}

// set are servers as a set has them; they may repeat.
func (n *serverNumbers) set(servers []id.ServerName) (set []serverBlock) {
	numbers := make([]int, len(servers))
	for i, server := range servers {
		numbers[i] = n.number(server)
	}
	slices.Sort(numbers)
	for _, number := range numbers {
		if len(set) == 0 || set[len(set)-1].at != number/64 {
			set = append(set, serverBlock{at: number / 64})
		}
		set[len(set)-1].bits |= 1 << (number % 64)
	}
	return slices.Clip(slices.Clone(set))
}

func (n *serverNumbers) number(server id.ServerName) int {
	number, known := n.numbers[server]
	if !known {
		server = id.ServerName(strings.Clone(string(server))) // it may be a part of a long text
		number = len(n.names)
		n.numbers[server], n.names = number, append(n.names, server)
	}
	return number
}

// of goes through a set's servers, in no order, and their numbers.
func (n *serverNumbers) of(d *destinations) iter.Seq2[int, id.ServerName] {
	return func(yield func(int, id.ServerName) bool) {
		for _, b := range d.servers {
			for left := b.bits; left != 0; left &= left - 1 {
				number := 64*b.at + bits.TrailingZeros64(left)
				if !yield(number, n.names[number]) {
					return
				}
			}
		}
	}
}
