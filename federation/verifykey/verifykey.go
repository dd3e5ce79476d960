// Package verifykey checks many Ed25519 signatures that were made with the same keys, at
// a third of the cost. [Key] is a public key with a table of its multiples, and
// what a few checks have in common is done once for all of them.
//
// The verdicts are those of crypto/ed25519, for every key, message and signature: points of
// small order, encodings that are not canonical and scalars out of range are judged as there.
// Each signature is checked for itself, by the same equation; no random combination of several
// stands for them, as that would let signatures pass that others refuse. All that is computed
// on is public, and nothing here takes the same time for all inputs: it is no place for secrets.
package verifykey

import (
	"crypto/sha512"

	"filippo.io/edwards25519"       // the group of Ed25519; the code that crypto/ed25519 has inside
	"filippo.io/edwards25519/field" // the field below it
	"golang.org/x/crypto/ed25519"
)

// Base holds the multiples of the base point, which all keys share: about 500 kB. It is
// immutable and may be used by several goroutines at once.
type Base struct {
	table []addend
}

// NewBase works out a Base, which takes as long as some thirty checks.
func NewBase() *Base {
	return &Base{table: newTable(baseShape, edwards25519.NewGeneratorPoint())}
}

// Key is a public key that is ready for many checks. It is immutable and may be used by several
// goroutines at once.
type Key struct {
	public [ed25519.PublicKeySize]byte
	table  []addend // multiples of the negated key; nil if it is no point
}

// New prepares a key: some 50 kB, in the time of four checks without preparation. No signature
// is good for a key that is not the encoding of a point, or is of another length.
func New(public ed25519.PublicKey) *Key { return newKey(keyShape, public) }

func newKey(s shape, public ed25519.PublicKey) *Key {
	k := new(Key)
	if len(public) != len(k.public) {
		return k
	}
	copy(k.public[:], public)
	if a, err := new(edwards25519.Point).SetBytes(public); err == nil {
		k.table = newTable(s, a.Negate(a))
	}
	return k
}

// Check is a signature to be checked.
type Check struct {
	Key                *Key   // whose it is said to be
	Message, Signature []byte // of any length
	Good               bool   // the verdict
}

// together is how many checks share an inversion: it then is a small part of each.
const together = 16

// Verify judges each of the checks, which may be of different keys. Sixteen at a time cost least.
func (b *Base) Verify(checks []Check) {
	for len(checks) > 0 {
		n := min(together, len(checks))
		b.verify(keyShape, checks[:n])
		checks = checks[n:]
	}
}

// verify judges at most together checks.
//
// A signature R, S of M by A is good if the encoding of [S]B - [k]A is R, where k is the hash
// of R, A and M: RFC 8032, 5.1.7, without multiplying by the cofactor.
func (b *Base) verify(s shape, checks []Check) {
	var points [together]point
	var inverses [together]*field.Element
	var scratch [together]field.Element
	for i := range checks {
		c, p := &checks[i], &points[i]
		p.setZero()
		inverses[i] = &p.z
		c.Good = b.combine(s, p, c)
	}
	invertAll(inverses[:len(checks)], scratch[:])
	for i := range checks {
		c, p := &checks[i], &points[i]
		if c.Good {
			p.x.Multiply(&p.x, &p.z)
			p.y.Multiply(&p.y, &p.z)
			encoding := p.y.Bytes()
			encoding[31] |= byte(p.x.IsNegative() << 7)
			c.Good = string(encoding) == string(c.Signature[:32])
		}
	}
}

// combine adds [S]B - [k]A to p, which is zero. It tells whether the check is one that can be good.
func (b *Base) combine(s shape, p *point, c *Check) bool {
	if len(c.Signature) != ed25519.SignatureSize || c.Key.table == nil {
		return false
	}
	var scalar edwards25519.Scalar
	if _, err := scalar.SetCanonicalBytes(c.Signature[32:]); err != nil {
		return false
	}
	var k edwards25519.Scalar
	hash := challenge(c)
	if _, err := k.SetUniformBytes(hash[:]); err != nil {
		return false // never: it has the length
	}
	s.addMultiple(p, c.Key.table, k.Bytes())
	baseShape.addMultiple(p, b.table, c.Signature[32:])
	return true
}

// challenge is the hash of R, A and the message.
func challenge(c *Check) [sha512.Size]byte {
	var stack [2048]byte
	if len(c.Message) > len(stack)-64 { // a request: it isn't copied
		hash := sha512.New()
		hash.Write(c.Signature[:32])
		hash.Write(c.Key.public[:])
		hash.Write(c.Message)
		return [sha512.Size]byte(hash.Sum(nil))
	}
	text := append(stack[:0], c.Signature[:32]...)
	text = append(text, c.Key.public[:]...)
	return sha512.Sum512(append(text, c.Message...))
}
