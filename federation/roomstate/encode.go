package roomstate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"iter"

	"hanse/federation/id"
)

// Hash is the SHA-256 of a node's encoding, which covers everything below the node. The zero Hash is that of the empty
// state, which has no node.
type Hash [32]byte

// String returns the hash in hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// The encoding of a node, which is stored and hashed. Numbers are unsigned varints.
//
//	leaf:   version 0x00 count entry*
//	entry:  0x00 (the type of the entry before) or length+1 and the type;
//	        length and the state key;
//	        0x00 and 32 bytes (an event ID that is '$' and their URL-safe base64) or length+1 and the event ID
//	branch: version 0x01 depth bitmap(2, big-endian) size hash*
const (
	version    = 1
	kindLeaf   = 0
	kindBranch = 1
)

// hashedIDLength is the length of an event ID that is a hash: '$' and 43 letters.
const hashedIDLength = 44

// sum returns the hash of n.
func (n *node) sum() Hash {
	var buffer [1024]byte // nearly all nodes fit
	return sha256.Sum256(n.encode(buffer[:0]))
}

// encode appends the encoding of n to dst.
func (n *node) encode(dst []byte) []byte {
	if n.isLeaf() {
		dst = append(dst, version, kindLeaf)
		dst = binary.AppendUvarint(dst, uint64(len(n.entries)))
		for i := range n.entries {
			e := &n.entries[i]
			if i > 0 && e.key.Type == n.entries[i-1].key.Type {
				dst = append(dst, 0)
			} else {
				dst = binary.AppendUvarint(dst, uint64(len(e.key.Type)+1))
				dst = append(dst, e.key.Type...)
			}
			dst = binary.AppendUvarint(dst, uint64(len(e.key.StateKey)))
			dst = append(dst, e.key.StateKey...)
			dst = appendEventID(dst, e.event)
		}
		return dst
	}
	dst = append(dst, version, kindBranch, n.depth)
	dst = binary.BigEndian.AppendUint16(dst, n.bitmap)
	dst = binary.AppendUvarint(dst, uint64(n.size))
	for _, child := range n.children {
		dst = append(dst, child.hash[:]...)
	}
	return dst
}

// appendEventID appends an event ID, as 33 bytes if it is a hash.
func appendEventID(dst []byte, e id.EventID) []byte {
	if len(e) == hashedIDLength && e[0] == '$' {
		if short, ok := appendHash(append(dst, 0), string(e[1:])); ok {
			return short
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(e)+1))
	return append(dst, e...)
}

// appendHash decodes 43 letters of URL-safe base64 to 32 bytes. Unlike encoding/base64 it needs no memory, and every
// change of a state does this for all entries of a leaf.
func appendHash(dst []byte, text string) ([]byte, bool) {
	var pending, bits uint32
	for i := range len(text) {
		value := letters[text[i]]
		if value == 0 {
			return nil, false
		}
		pending = pending<<6 | uint32(value-1)
		if bits += 6; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(pending>>bits))
		}
	}
	return dst, pending&(1<<bits-1) == 0 // the last letter has two bits too many
}

// letters maps a letter of URL-safe base64 to its value plus one, everything else to 0. Never written.
var letters = func() (table [256]byte) {
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = byte(i + 1)
	}
	return table
}()

// Nodes iterates over the nodes of m that known does not know, each with its encoding: children before their parents,
// so that a reader of the store never sees a node without what is below it. It does not look below a known node, and what
// is yet to be read is stored. The bytes are the receiver's.
func (m Map) Nodes(known func(Hash) bool) iter.Seq2[Node, []byte] {
	return func(yield func(Node, []byte) bool) {
		if m.root != nil {
			m.root.nodes(known, yield)
		}
	}
}

func (n *node) nodes(known func(Hash) bool, yield func(Node, []byte) bool) bool {
	if n.isStub() || known(n.hash) {
		return true
	}
	for _, child := range n.children {
		if !child.nodes(known, yield) {
			return false
		}
	}
	return yield(Node{n}, n.encode(nil))
}
