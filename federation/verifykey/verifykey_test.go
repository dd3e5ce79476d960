package verifykey

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/ed25519"
)

// agree fails unless the verdict on a signature is that of ed25519, which it returns.
func agree(t *testing.T, b *Base, public, message, signature []byte) bool {
	t.Helper()
	want := ed25519.Verify(public, message, signature)
	checks := []Check{{Key: New(public), Message: message, Signature: signature}}
	if b.Verify(checks); checks[0].Good != want {
		t.Fatalf("good: %v, want %v\npublic key %x\nmessage %x\nsignature %x", !want, want, public, message, signature)
	}
	return want
}

// random is a source of bytes that is the same in each run.
func random(t *testing.T) *rand.ChaCha8 {
	var seed [32]byte
	copy(seed[:], t.Name())
	return rand.NewChaCha8(seed)
}

func randomBytes(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b) // never fails
	return b
}

func TestRandomSignatures(t *testing.T) {
	b, r := NewBase(), random(t)
	for range 50 {
		private := ed25519.NewKeyFromSeed(randomBytes(r, 32))
		public := private.Public().(ed25519.PublicKey)
		message := randomBytes(r, int(r.Uint64()%3000))
		signature := ed25519.Sign(private, message)
		if !agree(t, b, public, message, signature) {
			t.Fatal("a signature just made is not good")
		}
		for _, changed := range [][]byte{public, signature, message} {
			if len(changed) == 0 {
				continue
			}
			at := r.Uint64() % uint64(8*len(changed))
			changed[at/8] ^= 1 << (at % 8)
			if agree(t, b, public, message, signature) {
				t.Fatal("a changed signature is good")
			}
			changed[at/8] ^= 1 << (at % 8)
		}
	}
}

func TestWrongLengths(t *testing.T) {
	b, private := NewBase(), ed25519.NewKeyFromSeed(make([]byte, 32))
	public := private.Public().(ed25519.PublicKey)
	signature := ed25519.Sign(private, nil)
	for n := range 2 * len(signature) {
		if agree(t, b, public, nil, append(signature, signature...)[:n]) != (n == len(signature)) {
			t.Errorf("a signature of %d bytes", n)
		}
		checks := []Check{{Key: New(append(public, public...)[:n%64]), Signature: signature}}
		if b.Verify(checks); checks[0].Good != (n%64 == len(public)) {
			t.Errorf("a key of %d bytes", n%64) // where ed25519 panics
		}
	}
	b.Verify(nil)
}

// smallOrder are all encodings of the eight points of small order, the canonical ones and the others.
func smallOrder(t *testing.T) (encodings [][]byte) {
	r := random(t)
	seen := map[string]bool{}
	add := func(encoding []byte) {
		if _, err := new(edwards25519.Point).SetBytes(encoding); err == nil && !seen[string(encoding)] {
			seen[string(encoding)] = true
			encodings = append(encodings, encoding)
		}
	}
	order, err := edwards25519.NewScalar().SetCanonicalBytes(lessOne(groupOrder()))
	if err != nil {
		t.Fatal(err)
	}
	for len(seen) < 8 {
		p, err := new(edwards25519.Point).SetBytes(randomBytes(r, 32))
		if err != nil {
			continue
		}
		// [L]p is p's part of small order.
		add(new(edwards25519.Point).Add(p, new(edwards25519.Point).ScalarMult(order, p)).Bytes())
	}
	for _, y := range notCanonical() {
		if p, err := new(edwards25519.Point).SetBytes(y); err == nil && new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 1 {
			add(y)
		}
	}
	// x = 0 with its sign set.
	one, minusOne := edwards25519.NewIdentityPoint().Bytes(), lessOne(fieldOrder())
	one[31] |= 0x80
	minusOne[31] |= 0x80
	add(one)
	add(minusOne)
	return encodings
}

// notCanonical are the encodings with y of at least the field's order, points or not.
func notCanonical() (encodings [][]byte) {
	for n := range 19 {
		for _, sign := range []byte{0, 0x80} {
			y := fieldOrder()
			y[0] += byte(n)
			y[31] |= sign
			encodings = append(encodings, y)
		}
	}
	return encodings
}

// fieldOrder is 2^255 - 19.
func fieldOrder() []byte {
	y := make([]byte, 32)
	for i := range y {
		y[i] = 0xff
	}
	y[0], y[31] = 0xed, 0x7f
	return y
}

// groupOrder is the order of the base point.
func groupOrder() []byte {
	return []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10}
}

func lessOne(n []byte) []byte {
	n[0]-- // of both orders it isn't 0
	return n
}

// scalars are those where mistakes would be.
func scalars() (all [][]byte) {
	for _, delta := range []int{-2, -1, 0, 1, 2} {
		s := groupOrder()
		s[0] += byte(delta)
		all = append(all, s)
	}
	for _, bit := range []int{0, 1, 4, 5, 7, 8, 127, 251, 252, 253, 254, 255} {
		s := make([]byte, 32)
		s[bit/8] = 1 << (bit % 8)
		all = append(all, s)
	}
	half := make([]byte, 32) // each digit the greatest there is
	for i := range half[:31] {
		half[i] = 0x80
	}
	all = append(all, make([]byte, 32), half, fieldOrder())
	return all
}

// Keys and nonces of small order, in all their encodings, with every scalar that is special.
// Some of these signatures are good by the equation without cofactor, and ed25519 says so.
func TestSmallOrder(t *testing.T) {
	b, points := NewBase(), smallOrder(t)
	if len(points) < 14 {
		t.Fatalf("only %d encodings of points of small order", len(points))
	}
	var good [2]int
	for i, a := range points {
		key := New(a)
		var checks []Check
		for j, nonce := range points {
			for k, s := range scalars() {
				message := fmt.Appendf(nil, "%d %d %d", i, j, k)
				checks = append(checks, Check{Key: key, Message: message, Signature: append(nonce[:32:32], s...)})
			}
		}
		b.Verify(checks)
		for _, c := range checks {
			if want := ed25519.Verify(a, c.Message, c.Signature); c.Good != want {
				t.Fatalf("good: %v, want %v\npublic key %x\nmessage %q\nsignature %x", c.Good, want, a, c.Message, c.Signature)
			}
			if c.Good {
				good[1]++
			} else {
				good[0]++
			}
		}
	}
	if good[0] == 0 || good[1] == 0 {
		t.Errorf("%d bad and %d good signatures: the test is of no use", good[0], good[1])
	}
}

// Keys and nonces that are the sum of an ordinary point and one of small order: with and without
// the cofactor the verdicts differ, and for each the message decides.
func TestMixedOrder(t *testing.T) {
	b, r := NewBase(), random(t)
	points := smallOrder(t)[:8]
	var good [2]int
	for i := range 256 {
		a, nonce := scalarOf(t, randomBytes(r, 64)), scalarOf(t, randomBytes(r, 64))
		public := plus(t, new(edwards25519.Point).ScalarBaseMult(a), points[i%8]).Bytes()
		given := plus(t, new(edwards25519.Point).ScalarBaseMult(nonce), points[i/8%8]).Bytes()
		message := binary.AppendUvarint(nil, uint64(i))
		hash := sha512.New()
		hash.Write(given)
		hash.Write(public)
		hash.Write(message)
		s := edwards25519.NewScalar().MultiplyAdd(scalarOf(t, hash.Sum(nil)), a, nonce)
		if agree(t, b, public, message, append(given, s.Bytes()...)) {
			good[1]++
		} else {
			good[0]++
		}
	}
	if good[0] == 0 || good[1] == 0 {
		t.Errorf("%d bad and %d good signatures: the test is of no use", good[0], good[1])
	}
}

func scalarOf(t *testing.T, wide []byte) *edwards25519.Scalar {
	t.Helper()
	s, err := edwards25519.NewScalar().SetUniformBytes(wide)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func plus(t *testing.T, p *edwards25519.Point, encoding []byte) *edwards25519.Point {
	t.Helper()
	q, err := new(edwards25519.Point).SetBytes(encoding)
	if err != nil {
		t.Fatal(err)
	}
	return p.Add(p, q)
}

// Encodings that are not canonical, as key and as nonce.
func TestNotCanonical(t *testing.T) {
	b := NewBase()
	for _, y := range notCanonical() {
		for _, nonce := range append(notCanonical(), edwards25519.NewIdentityPoint().Bytes()) {
			agree(t, b, y, []byte("message"), append(nonce, make([]byte, 32)...))
		}
	}
}

// A signature with the order added to its scalar satisfies the equation, and is refused.
func TestScalarOutOfRange(t *testing.T) {
	b, r := NewBase(), random(t)
	for range 20 {
		private := ed25519.NewKeyFromSeed(randomBytes(r, 32))
		signature := ed25519.Sign(private, nil)
		for range 8 {
			carry := 0
			for i, o := range groupOrder() {
				carry += int(signature[32+i]) + int(o)
				signature[32+i] = byte(carry)
				carry >>= 8
			}
			if agree(t, b, private.Public().(ed25519.PublicKey), nil, signature) {
				t.Fatal("a scalar that is out of range is good")
			}
		}
	}
}

// One bad signature changes nothing for those that are judged with it, wherever it stands.
func TestEachForItself(t *testing.T) {
	b, r := NewBase(), random(t)
	type signer struct {
		private ed25519.PrivateKey
		key     *Key
	}
	var signers []signer
	for range 4 {
		private := ed25519.NewKeyFromSeed(randomBytes(r, 32))
		signers = append(signers, signer{private, New(private.Public().(ed25519.PublicKey))})
	}
	notAKey := New(fieldOrder())
	for n := range 3*together + 2 {
		checks, want := make([]Check, n), make([]bool, n)
		for i := range checks {
			s := signers[r.Uint64()%4]
			message := randomBytes(r, 20)
			checks[i] = Check{Key: s.key, Message: message, Signature: ed25519.Sign(s.private, message), Good: i%2 == 0}
			switch what := r.Uint64() % 8; what {
			case 0:
				checks[i].Signature[r.Uint64()%64] ^= 1
			case 1:
				checks[i].Signature = checks[i].Signature[1:]
			case 2:
				checks[i].Key = notAKey
			default:
				want[i] = true
			}
		}
		b.Verify(checks)
		for i, c := range checks {
			if c.Good != want[i] {
				t.Fatalf("check %d of %d: good: %v, want %v", i, n, c.Good, want[i])
			}
		}
	}
}

// The shapes that are not in use give the same.
func TestShapes(t *testing.T) {
	b, r := NewBase(), random(t)
	private := ed25519.NewKeyFromSeed(randomBytes(r, 32))
	for bits := 4; bits <= 8; bits++ {
		for stride := 1; stride <= 4; stride++ {
			s := shape{bits, stride}
			key := newKey(s, private.Public().(ed25519.PublicKey))
			for i := range 8 {
				message := randomBytes(r, 10)
				checks := []Check{{Key: key, Message: message, Signature: ed25519.Sign(private, message)}}
				checks[0].Signature[0] ^= byte(i & 1)
				if b.verify(s, checks); checks[0].Good != (i&1 == 0) {
					t.Errorf("%+v: good: %v", s, checks[0].Good)
				}
			}
		}
	}
}

// FuzzVerify holds the verdicts against those of ed25519: of whatever comes as key and signature, and of
// signatures made with the key's first bytes as a seed and then changed.
func FuzzVerify(f *testing.F) {
	b := NewBase()
	identity := edwards25519.NewIdentityPoint().Bytes()
	f.Add(identity, []byte("message"), append(identity, make([]byte, 32)...))
	for _, s := range scalars() {
		f.Add(fieldOrder(), []byte{}, append(groupOrder(), s...))
	}
	f.Fuzz(func(t *testing.T, public, message, signature []byte) {
		if len(public) != ed25519.PublicKeySize {
			public = append(public, make([]byte, ed25519.PublicKeySize)...)[:ed25519.PublicKeySize]
		}
		agree(t, b, public, message, signature)
		private := ed25519.NewKeyFromSeed(public)
		made := ed25519.Sign(private, message)
		for i := range min(len(made), len(signature)) {
			made[i] ^= signature[i]
		}
		agree(t, b, private.Public().(ed25519.PublicKey), message, made)
	})
}
