package verifykey

import "filippo.io/edwards25519/field" // the arithmetic modulo 2^255 - 19

// The library's points add in nine multiplications and hide the form of a prepared addend; a
// table of addends with z = 1 needs seven. The formulas are those of Hisil, Wong, Carter and
// Dawson, "Twisted Edwards Curves Revisited", 3.1 and 3.3, for a = -1; they are complete on
// this curve: no pair of points is an exception, whatever their order.

// point is a point in extended coordinates: x = X/Z, y = Y/Z, x·y = T/Z.
type point struct {
	x, y, z, t field.Element
}

// addend is a point with z = 1, in the form in which it is added.
type addend struct {
	sum, difference field.Element // y+x, y-x
	product         field.Element // 2·d·x·y
}

// setZero makes p the neutral element.
func (p *point) setZero() {
	p.x.Zero()
	p.y.One()
	p.z.One()
	p.t.Zero()
}

// add adds q to p, or subtracts it.
func (p *point) add(q *addend, negative bool) {
	plus, minus := &q.sum, &q.difference
	if negative {
		plus, minus = minus, plus
	}
	var a, b, c, d, e, f, g, h field.Element
	a.Multiply(a.Subtract(&p.y, &p.x), minus)
	b.Multiply(b.Add(&p.y, &p.x), plus)
	c.Multiply(&p.t, &q.product)
	d.Add(&p.z, &p.z)
	e.Subtract(&b, &a)
	h.Add(&b, &a)
	f.Subtract(&d, &c)
	g.Add(&d, &c)
	if negative {
		f, g = g, f
	}
	p.x.Multiply(&e, &f)
	p.y.Multiply(&g, &h)
	p.t.Multiply(&e, &h)
	p.z.Multiply(&f, &g)
}

// double doubles p.
func (p *point) double() {
	var a, b, c, e, f, g, h field.Element
	a.Square(&p.x)
	b.Square(&p.y)
	c.Square(&p.z)
	c.Add(&c, &c)
	h.Add(&b, &a)
	e.Square(e.Add(&p.x, &p.y))
	e.Subtract(&e, &h)
	g.Subtract(&b, &a)
	f.Subtract(&c, &g)
	p.x.Multiply(&e, &f)
	p.y.Multiply(&g, &h)
	p.t.Multiply(&e, &h)
	p.z.Multiply(&f, &g)
}

// invertAll replaces each of the elements, none of which is zero, by its inverse, at the cost
// of one inversion and three multiplications each. scratch is as long.
func invertAll(elements []*field.Element, scratch []field.Element) {
	var product field.Element
	product.One()
	for i, e := range elements {
		scratch[i].Set(&product) // of all before it
		product.Multiply(&product, e)
	}
	product.Invert(&product)
	for i := len(elements) - 1; i >= 0; i-- {
		scratch[i].Multiply(&scratch[i], &product)
		product.Multiply(&product, elements[i])
		elements[i].Set(&scratch[i])
	}
}

// curveD is d of the curve's equation -x² + y² = 1 + d·x²·y², the lowest byte first: RFC 8032, 5.1.
const curveD = "\xa3\x78\x59\x13\xca\x4d\xeb\x75\xab\xd8\x41\x41\x4d\x0a\x70\x00" +
	"\x98\xe8\x79\x77\x79\x40\xc7\x8c\x73\xfe\x6f\x2b\xee\x6c\x03\x52"

// twiceD is 2·d.
func twiceD() *field.Element {
	d, err := new(field.Element).SetBytes([]byte(curveD))
	if err != nil {
		panic("verifykey: " + err.Error()) // its length is right
	}
	return d.Add(d, d)
}
