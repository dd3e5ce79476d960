package stateres

import (
	"hanse/federation/event"
	"hanse/federation/id"
)

// pool holds the events of one resolution, so that each is asked for once.
type pool struct {
	src      Source
	events   map[id.EventID]*event.Event // nil: asked for and not there
	rejected func(id.EventID) bool
}

func newPool(src Source) *pool {
	p := &pool{src: src, events: map[id.EventID]*event.Event{}, rejected: func(id.EventID) bool { return false }}
	if r, ok := src.(Rejections); ok {
		p.rejected = r.Rejected
	}
	return p
}

// load asks for those of the events that were not asked for before, all at once.
func (p *pool) load(ids []id.EventID) error {
	var missing []id.EventID
	for _, e := range ids {
		if _, ok := p.events[e]; !ok {
			p.events[e] = nil
			missing = append(missing, e)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	found, err := p.src.Events(missing)
	if err != nil {
		return err
	}
	for _, e := range missing {
		p.events[e] = found[e]
	}
	return nil
}

// event returns one event, nil if the source does not have it.
func (p *pool) event(e id.EventID) (*event.Event, error) {
	if known, ok := p.events[e]; ok {
		return known, nil
	}
	err := p.load([]id.EventID{e})
	return p.events[e], err
}
