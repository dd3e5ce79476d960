package stateres

import (
	"fmt"

	"hanse/federation/event"
	"hanse/federation/id"
)

// pool holds the events of one resolution, so that each is asked for once. Events are numbered in the order in which they were first
// spoken of, so that the steps look them up by number, and note there what they find.
type pool struct {
	src      Source
	numbers  map[id.EventID]int
	vertices []vertex
	walked   int // how many of them are in the graph
	bound    int // of walked, but for those that are as far away as the last of it
	rejected func(id.EventID) bool

	keep   int                  // how many bytes of events are kept whole, see whole
	kept   int                  // how many are, of vertices
	bodies map[int]*event.Event // whole ones of those that aren't, by number; what was read last
	held   int                  // how many bytes are, of bodies
}

// usual is how many events there is room for at the beginning.
const usual = 24

// vertex is an event of the pool.
type vertex struct {
	id    id.EventID
	event *event.Event // nil: not asked for yet, or not there. Its content may be missing, see whole
	asked bool
	auth  []int // the event's auth events, see pool.auth
	// What the steps note:
	walked     bool   // it is in the graph, if it is there: see grow
	conflicted bool   // it is in the conflicted state set
	cited      bool   // it is in the auth chain of an unconflicted event; then all of its own is too
	full       bool   // it is in the full conflicted set
	power      bool   // it is in the set X of power events
	chains     int    // of how many states it is in the conflicted events' auth chain
	place      int    // in the list that is being sorted, from 1
	waits      int    // how many events cite it that aren't sorted yet, see downwards
	in         uint64 // of which of some states it is in that chain, see countChains
}

func newPool(src Source) *pool {
	p := &pool{src: src, bound: maxChain, keep: keptWhole, numbers: make(map[id.EventID]int, usual), rejected: func(id.EventID) bool { return false }}
	p.vertices = make([]vertex, 0, usual)
	if r, ok := src.(Rejections); ok {
		p.rejected = r.Rejected
	}
	return p
}

// number is the number of an event, which may not be there.
func (p *pool) number(e id.EventID) int {
	v, ok := p.numbers[e]
	if !ok {
		v = len(p.vertices)
		p.numbers[e] = v
		p.vertices = append(p.vertices, vertex{id: e})
	}
	return v
}

func (p *pool) numbered(ids []id.EventID) []int {
	list := make([]int, len(ids))
	for i, e := range ids {
		list[i] = p.number(e)
	}
	return list
}

// load asks for those of the events that were not asked for before, all at once.
func (p *pool) load(list []int) error {
	var missing []id.EventID
	var numbers []int
	for _, v := range list {
		if at := &p.vertices[v]; !at.asked {
			at.asked = true
			missing, numbers = append(missing, at.id), append(numbers, v)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for from := 0; from < len(missing); from += batch {
		part := missing[from:min(from+batch, len(missing))]
		found, err := p.src.Events(part)
		if err != nil {
			return err
		}
		for i, e := range part {
			if e := found[e]; e != nil {
				p.keepWhole(numbers[from+i], e)
			}
		}
	}
	return nil
}

// keepWhole notes an event that was read. Of too much only the outline is kept.
func (p *pool) keepWhole(v int, e *event.Event) {
	p.vertices[v].event = e
	if p.kept += e.Size(); p.kept <= p.keep {
		return
	}
	p.kept -= e.Size()
	p.auth(v)
	p.vertices[v].event = e.Outline()
	p.hold(v, e)
}

// hold keeps a whole event until others need the place.
func (p *pool) hold(v int, e *event.Event) {
	if p.held += e.Size(); p.held > p.keep || p.bodies == nil {
		p.bodies, p.held = map[int]*event.Event{}, e.Size()
	}
	p.bodies[v] = e
}

// whole is an event with its content, nil if it isn't there or wasn't asked for. Of auth chains that are large, as those of who changes their name
// twenty thousand times by events of 64 KiB, what is needed of each event but the content is in memory, and the content is asked for again.
func (p *pool) whole(v int) (*event.Event, error) {
	e := p.vertices[v].event
	if e == nil || !e.IsOutline() {
		return e, nil
	}
	if body := p.bodies[v]; body != nil {
		return body, nil
	}
	found, err := p.src.Events([]id.EventID{e.ID()})
	if err != nil {
		return nil, err
	}
	body := found[e.ID()]
	if body == nil {
		return nil, fmt.Errorf("the source has given the event %s, and has it no more", e.ID())
	}
	p.hold(v, body)
	return body, nil
}

// event returns one event, nil if the source does not have it.
func (p *pool) event(e id.EventID) (*event.Event, error) {
	v := p.number(e)
	if err := p.load([]int{v}); err != nil {
		return nil, err
	}
	return p.whole(v)
}

// auth are the auth events of an event that is there, whether they are or not.
func (p *pool) auth(v int) []int {
	if p.vertices[v].auth == nil {
		auth := p.numbered(p.vertices[v].event.AuthEvents())
		p.vertices[v].auth = auth
	}
	return p.vertices[v].auth
}

// loadAuth asks for the auth events of an event that is there, and gives them all.
func (p *pool) loadAuth(v int) ([]int, error) {
	auth := p.auth(v)
	return auth, p.load(auth)
}
