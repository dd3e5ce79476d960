package verifykey

import (
	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// shape is how a table is laid out. A scalar has digits of so many bits, from -2^(bits-1)+1 to
// 2^(bits-1); a table has the multiples 1 to 2^(bits-1) of the point for each stride-th digit.
// The digits between are reached by doublings, which all of them share: a greater stride is a
// smaller table and some more work.
type shape struct {
	bits, stride int // 4 to 8, 1 to 4
}

// baseShape and keyShape are chosen by measurement: see BenchmarkShapes. There is one base; of
// keys there may be more than fit into the processor's caches.
var (
	baseShape = shape{bits: 8, stride: 1}
	keyShape  = shape{bits: 5, stride: 2}
)

// scalarBits is one more than a scalar has, for what the digits carry.
const scalarBits = 254

// digits is how many digits a scalar has.
func (s shape) digits() int { return (scalarBits + s.bits - 1) / s.bits }

// rows is how many of them the table has the multiples for.
func (s shape) rows() int { return (s.digits() + s.stride - 1) / s.stride }

// width is how many multiples there are in a row.
func (s shape) width() int { return 1 << (s.bits - 1) }

// maxDigits is the most digits of any shape: it has at least 4 bits a digit.
const maxDigits = (scalarBits + 3) / 4

// split takes a scalar apart: 32 bytes, the lowest first, less than the order of the base point.
func (s shape) split(digits *[maxDigits]int16, scalar []byte) []int16 {
	n := s.digits()
	carry := 0
	for i := range n {
		at := i * s.bits
		word := int(scalar[at/8]) >> (at % 8)
		if next := at/8 + 1; next < len(scalar) {
			word |= int(scalar[next]) << (8 - at%8)
		}
		digit := word&(1<<s.bits-1) + carry
		carry = 0
		if digit > s.width() {
			digit -= 1 << s.bits
			carry = 1
		}
		digits[i] = int16(digit)
	}
	return digits[:n]
}

// multiples are the points of a table, each row after the one before.
func (s shape) multiples(p *edwards25519.Point) []point {
	points := make([]point, 0, s.rows()*s.width())
	base := new(edwards25519.Point).Set(p)
	for range s.rows() {
		multiple := new(edwards25519.Point).Set(base)
		for i := range s.width() {
			if i > 0 {
				multiple.Add(multiple, base)
			}
			x, y, z, t := multiple.ExtendedCoordinates()
			points = append(points, point{*x, *y, *z, *t})
		}
		// multiple is 2^(bits-1) times base; that of the next row is 2^(bits·stride) times base.
		for range s.bits*s.stride - (s.bits - 1) {
			multiple.Add(multiple, multiple)
		}
		base = multiple
	}
	return points
}

// newTable works out the multiples of a point.
func newTable(s shape, p *edwards25519.Point) []addend {
	coordinates := s.multiples(p)
	table := make([]addend, len(coordinates))
	inverses := make([]*field.Element, len(table))
	for i := range coordinates {
		inverses[i] = &coordinates[i].z
	}
	invertAll(inverses, make([]field.Element, len(table)))
	d2 := twiceD()
	for i := range table {
		c, a := &coordinates[i], &table[i]
		c.x.Multiply(&c.x, &c.z)
		c.y.Multiply(&c.y, &c.z)
		a.sum.Add(&c.y, &c.x)
		a.difference.Subtract(&c.y, &c.x)
		a.product.Multiply(&c.x, &c.y)
		a.product.Multiply(&a.product, d2)
	}
	return table
}

// addMultiple adds the multiple of a table's point to p, which is zero if the stride is
// greater than 1.
func (s shape) addMultiple(p *point, table []addend, scalar []byte) {
	var buffer [maxDigits]int16
	digits := s.split(&buffer, scalar)
	width := s.width()
	for first := s.stride - 1; first >= 0; first-- {
		if first < s.stride-1 {
			for range s.bits {
				p.double()
			}
		}
		for i, row := first, 0; i < len(digits); i, row = i+s.stride, row+width {
			switch digit := int(digits[i]); {
			case digit > 0:
				p.add(&table[row+digit-1], false)
			case digit < 0:
				p.add(&table[row-digit-1], true)
			}
		}
	}
}
