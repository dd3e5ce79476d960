package stateres

import (
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
}

// usual is how many events there is room for at the beginning.
const usual = 24

// vertex is an event of the pool.
type vertex struct {
	id    id.EventID
	event *event.Event // nil: not asked for yet, or not there
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
	p := &pool{src: src, bound: maxChain, numbers: make(map[id.EventID]int, usual), rejected: func(id.EventID) bool { return false }}
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
	found, err := p.src.Events(missing)
	if err != nil {
		return err
	}
	for i, v := range numbers {
		p.vertices[v].event = found[missing[i]]
	}
	return nil
}

// event returns one event, nil if the source does not have it.
func (p *pool) event(e id.EventID) (*event.Event, error) {
	v := p.number(e)
	err := p.load([]int{v})
	return p.vertices[v].event, err
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
