package roomstate

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// path is where an entry is found in the trie: nibbles of the hash of its type, then of the hash of the whole key.
type path [16]byte

const (
	typeNibbles = 8  // nibbles of a path that depend on the type alone
	pathNibbles = 32 // nibbles of a path
)

// pathOf returns the path of a key. Two keys may share a path (an attacker needs 2^48 tries): they share a leaf then.
func pathOf(typ, stateKey string) path {
	var p path
	var buffer [384]byte // most keys fit; append moves to the heap if one does not
	text := append(buffer[:0], typ...)
	if known, ok := knownType(typ); ok {
		copy(p[:typeNibbles/2], known[:])
	} else {
		hash := sha256.Sum256(text)
		copy(p[:typeNibbles/2], hash[:])
	}
	text = append(text, 0)
	text = append(text, stateKey...)
	hash := sha256.Sum256(text)
	copy(p[typeNibbles/2:], hash[:])
	return p
}

// knownType returns how the hashes begin of the types that each event is checked against.
func knownType(typ string) ([typeNibbles / 2]byte, bool) {
	switch typ {
	case "m.room.member":
		return [...]byte{0x90, 0x82, 0x9d, 0x7a}, true
	case "m.room.power_levels":
		return [...]byte{0x70, 0x29, 0x84, 0x54}, true
	case "m.room.join_rules":
		return [...]byte{0x9b, 0xec, 0xcb, 0xc7}, true
	case "m.room.create":
		return [...]byte{0x2d, 0x04, 0xe0, 0x8d}, true
	}
	return [typeNibbles / 2]byte{}, false
}

// nibble returns the i-th nibble of p, from 0 to 15.
func (p *path) nibble(i int) int {
	if i%2 == 0 {
		return int(p[i/2] >> 4)
	}
	return int(p[i/2] & 15)
}

// shared returns how many leading nibbles p and q have in common.
func (p *path) shared(q *path) int {
	for i := range p {
		if x := p[i] ^ q[i]; x != 0 {
			if x < 16 {
				return 2*i + 1
			}
			return 2 * i
		}
	}
	return pathNibbles
}

// compare orders entries: by path, then by type and state key, which decide only between keys that share a path.
func (p *path) compare(key Key, other *entry) int {
	if c := bytes.Compare(p[:], other.path[:]); c != 0 {
		return c
	}
	if c := strings.Compare(key.Type, other.key.Type); c != 0 {
		return c
	}
	return strings.Compare(key.StateKey, other.key.StateKey)
}
