package stateres

// The graph that auth_events make is walked where the conflict asks for it: of each event that was walked, all of the auth chain that is
// known was walked too, up to the bound of a resolution.

// grow walks the events and their auth chains. It asks the source once for each step away from the events. What is a step further away than
// the bound is taken for not there: an error would come again with each event of the room, and nothing would be taken from its servers.
func (p *pool) grow(list []int) error {
	for next := p.unwalked(nil, list); len(next) > 0 && p.walked <= p.bound; {
		if err := p.load(next); err != nil {
			return err
		}
		var after []int
		for _, v := range next {
			if p.vertices[v].event != nil {
				p.walked++
				after = p.unwalked(after, p.auth(v))
			}
		}
		next = after
	}
	return nil
}

// unwalked appends those of the events that aren't in the graph yet, and takes them for walked.
func (p *pool) unwalked(list, events []int) []int {
	for _, v := range events {
		if !p.vertices[v].walked {
			p.vertices[v].walked = true
			list = append(list, v)
		}
	}
	return list
}

// descend visits events that are there and their auth chains, below one only if visit returns true. That must be so at most once for each.
func (p *pool) descend(from []int, visit func(*vertex) bool) {
	stack := append([]int(nil), from...)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if at := &p.vertices[v]; at.event != nil && visit(at) {
			stack = append(stack, at.auth...)
		}
	}
}

// downwards returns the events of the graph that are there, each before its auth events; and those apart that are in circles, or below one.
func (p *pool) downwards() (sorted, circles []int) {
	there := 0
	for v := range p.vertices {
		if at := &p.vertices[v]; at.walked && at.event != nil {
			there++
			for _, a := range at.auth {
				p.vertices[a].waits++
			}
		}
	}
	sorted = make([]int, 0, there)
	add := func(v int) {
		if at := &p.vertices[v]; at.waits == 0 && at.walked && at.event != nil {
			sorted = append(sorted, v)
		}
	}
	for v := range p.vertices {
		add(v)
	}
	for next := 0; next < len(sorted); next++ {
		for _, a := range p.vertices[sorted[next]].auth {
			p.vertices[a].waits--
			add(a)
		}
	}
	for v := range p.vertices {
		if at := &p.vertices[v]; at.waits > 0 {
			at.waits = 0
			if at.walked && at.event != nil {
				circles = append(circles, v)
			}
		}
	}
	return sorted, circles
}

// passDown has the auth events of some events be in what these are in, and tells whether that was news.
func (p *pool) passDown(events []int) (news bool) {
	for _, v := range events {
		for _, a := range p.vertices[v].auth {
			if in := p.vertices[a].in | p.vertices[v].in; in != p.vertices[a].in {
				p.vertices[a].in, news = in, true
			}
		}
	}
	return news
}
