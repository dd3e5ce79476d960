package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/testnet/user"
)

const (
	// inboundRooms is how many rooms, and servers, the events come from.
	inboundRooms = 10
	// mixedServers is the number of the server that sends for all rooms.
	mixedServers = inboundRooms
)

// batch is a transaction, ready to go.
type batch struct {
	server *server
	call   call
	events []*event.Event
}

// lane is transactions of one server, sent one after the other.
type lane []batch

// inbound measures transactions of other servers: until the last event is there for a client, since some servers answer
// before they have looked at what they got.
func inbound(ctx context.Context, t *trial) error {
	servers, err := t.firstServers(mixedServers + 1)
	if err != nil {
		return err
	}
	t.say("signing events")
	own, err := t.inboundRooms(servers, "own")
	if err != nil {
		return err
	}
	mixed, err := t.inboundRooms(servers, "mixed")
	if err != nil {
		return err
	}
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	s, err := t.target.newSession(ctx, "listener")
	if err != nil {
		return err
	}
	for _, r := range append(own, mixed...) {
		if err := s.joinRoom(ctx, r); err != nil {
			return err
		}
	}
	perRoom := t.scaled(1500, 100)
	t.part("10 servers at once, a room each", func() error {
		lanes, events, err := t.ownLanes(own, servers, perRoom)
		if err != nil {
			return err
		}
		return t.receive(ctx, "10 servers at once, a room each", s, own, lanes, events, servers)
	})
	t.part("one server, 10 rooms in each transaction", func() error {
		lanes, events, err := t.mixedLane(mixed, servers[mixedServers], perRoom/2)
		if err != nil {
			return err
		}
		return t.receive(ctx, "one server, 10 rooms in each transaction", s, mixed, lanes, events, servers)
	})
	return nil
}

// inboundRooms makes rooms of a server each, in which the mixed server has a user.
func (t *trial) inboundRooms(servers []*server, name string) ([]*room, error) {
	rooms := make([]*room, inboundRooms)
	for i := range rooms {
		r, err := newRoom(servers[i], name+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		if err := populate(r, []*server{servers[i], servers[mixedServers]}, 10, t.rand); err != nil {
			return nil, err
		}
		rooms[i] = r
	}
	t.world.add(rooms...)
	return rooms, nil
}

// ownLanes are a lane a server, with events of its own room.
func (t *trial) ownLanes(rooms []*room, servers []*server, perRoom int) ([]lane, [][]*event.Event, error) {
	lanes, events := make([]lane, len(rooms)), make([][]*event.Event, len(rooms))
	err := parallel(len(rooms), 2, func(i int) error {
		random := t.random(t.scenario + strconv.Itoa(i))
		made, err := rooms[i].talk(servers[i], perRoom, func(n int) string { return words(random, strconv.Itoa(n)) })
		if err != nil {
			return err
		}
		events[i] = made
		for start := 0; start < len(made); start += transactionPDUs {
			b, err := newBatch(servers[i], t.target.name, "own"+strconv.Itoa(start), made[start:min(start+transactionPDUs, len(made))])
			if err != nil {
				return err
			}
			lanes[i] = append(lanes[i], b)
		}
		return nil
	})
	return lanes, events, err
}

// mixedLane is one lane of transactions with events of every room.
func (t *trial) mixedLane(rooms []*room, s *server, perRoom int) ([]lane, [][]*event.Event, error) {
	events := make([][]*event.Event, len(rooms))
	var only lane
	for n := 0; n < perRoom; n += transactionPDUs / len(rooms) {
		var mix []*event.Event
		for i, r := range rooms {
			for range transactionPDUs / len(rooms) {
				e, err := r.put(s, messageDraft(s.user("member1"), t.words(n)))
				if err != nil {
					return nil, nil, err
				}
				mix, events[i] = append(mix, e), append(events[i], e)
			}
		}
		b, err := newBatch(s, t.target.name, "mixed"+strconv.Itoa(n), mix)
		if err != nil {
			return nil, nil, err
		}
		only = append(only, b)
	}
	return []lane{only}, events, nil
}

func newBatch(s *server, to id.ServerName, txnID string, events []*event.Event) (batch, error) {
	pdus := make([]json.RawMessage, len(events))
	for i, e := range events {
		pdus[i] = e.JSON()
	}
	c, err := s.transaction(to, txnID, pdus...)
	return batch{s, c, events}, err
}

// receive sends the lanes for as long as patience lasts, waits until all is there, and checks it.
func (t *trial) receive(ctx context.Context, name string, s *session, rooms []*room, lanes []lane, events [][]*event.Event, servers []*server) error {
	floor, err := t.inboundFloor(ctx, events[0], servers)
	if err != nil {
		return err
	}
	took := make([][]time.Duration, len(lanes))
	acknowledged := map[id.RoomID]int{}
	w := t.window()
	if err := parallel(len(lanes), len(lanes), func(i int) error {
		for _, b := range lanes[i] {
			began := time.Now()
			if began.Sub(w.began) > t.patience() {
				return nil
			}
			if err := b.server.send(ctx, t.target.name, b.call); err != nil {
				return fmt.Errorf("a transaction: %w", err)
			}
			took[i] = append(took[i], time.Since(began))
		}
		return nil
	}); err != nil {
		return err
	}
	answered, total := []time.Duration{}, 0
	for i, l := range lanes {
		for _, b := range l[:len(took[i])] {
			total += len(b.events)
			for _, e := range b.events {
				acknowledged[e.RoomID()]++
			}
		}
		answered = append(answered, took[i]...)
	}
	for i, r := range rooms {
		if n := acknowledged[r.id]; n > 0 {
			if err := s.visible(ctx, string(r.id), events[i][n-1].ID()); err != nil {
				return err
			}
		}
	}
	ended := time.Now()
	p50, p99, _ := spread(answered)
	used := t.spentFigures(name, w, ended)
	each := (cpuTime(t.target.process) - w.server) / time.Duration(max(total, 1))
	rate := float64(total) / ended.Sub(w.began).Seconds()
	t.rate(name, "events", rate, floor.rate, floor.of)
	t.rate(name+": beside a floor with prepared keys", "events", rate, floor.preparedRate, floor.preparedOf)
	t.seconds(name+": a transaction, median", p50, 0, "")
	t.seconds(name+": a transaction, 99 % within", p99, 0, "")
	if usageKnown {
		t.seconds(name+": CPU time of the server an event", each, floor.cpu, "CPU time of a signature check and a row")
	}
	t.add(used)
	if err := t.again(ctx); err != nil {
		return err
	}
	var order error
	for i, r := range rooms {
		err := s.hasChain(ctx, r, events[i][:acknowledged[r.id]])
		if errors.As(err, new(anotherOrder)) {
			order = err
		} else if err != nil {
			return err
		}
	}
	return order
}

// inboundFloor is what the cores and the database do with the same events and nothing else.
type inboundFloor struct {
	rate         float64 // the slower of signature checks and commits, a second
	of           string
	preparedRate float64 // the same, where keys are prepared for many checks
	preparedOf   string
	cpu          time.Duration // of a check and a row
}

func (t *trial) inboundFloor(ctx context.Context, events []*event.Event, servers []*server) (inboundFloor, error) {
	verify, err := t.floors.verify(events, servers)
	if err != nil {
		return inboundFloor{}, err
	}
	prepared, err := t.floors.prepared(events, servers)
	if err != nil {
		return inboundFloor{}, err
	}
	check, err := t.floors.check(events, servers)
	if err != nil {
		return inboundFloor{}, err
	}
	commit, err := t.floors.commit(ctx, events, transactionPDUs)
	if err != nil {
		return inboundFloor{}, err
	}
	t.say("floors: %.0f signature checks/s, %.0f with prepared keys, %.0f events/s parsed, hashed and verified, %.0f rows/s committed 50 at a time",
		verify.rate, prepared.rate, check.rate, commit.rate)
	slower := func(p pace, of string) (float64, string) {
		if commit.rate < p.rate {
			return commit.rate, "rows committed by the database alone, 50 at a time"
		}
		return p.rate, of
	}
	f := inboundFloor{cpu: verify.cpu + commit.cpu}
	f.rate, f.of = slower(verify, "signature checks on all cores")
	f.preparedRate, f.preparedOf = slower(prepared, "signature checks with prepared keys on all cores")
	return f, nil
}

// hasChain checks that a room's history has the events of a chain, as isChain says.
func (s *session) hasChain(ctx context.Context, r *room, chain []*event.Event) error {
	unread := map[string]bool{}
	for _, e := range chain {
		unread[string(e.ID())] = true
	}
	history, err := s.history(ctx, string(r.id), func(e user.Event) bool {
		delete(unread, e.ID)
		return len(unread) == 0
	})
	if err != nil {
		return err
	}
	return isChain(r.id, history, chain)
}

// isChain checks that a history has the events of a chain, once each, whole and in their order, and no other message after
// the first. If it is only the order, the error is an anotherOrder.
func isChain(roomID id.RoomID, history []user.Event, chain []*event.Event) error {
	places := make(map[string]int, len(chain))
	for i, e := range chain {
		places[string(e.ID())] = i
	}
	var order error
	there := 0
	for _, e := range history {
		place, ours := places[e.ID]
		switch {
		case !ours && (e.Type != "m.room.message" || there == 0):
			continue
		case !ours:
			return fmt.Errorf("%s has %s, which was not sent or is there twice", roomID, e.ID)
		case e.Body() != textOf(chain[place].Content()) || e.Sender != string(chain[place].Sender()):
			return fmt.Errorf("%s is not what was sent", e.ID)
		case place != there && order == nil:
			order = anotherOrder(fmt.Sprintf("%s has %s where %s, event %d of %d, should be", roomID, e.ID, chain[there].ID(), there, len(chain)))
		}
		delete(places, e.ID)
		there++
	}
	if there < len(chain) {
		return fmt.Errorf("%s has %d of %d events", roomID, there, len(chain))
	}
	return order
}

// anotherOrder is what a history says in which all is there, once and whole, but not in the order in which it was sent. Where
// nothing else is wrong, figures count, and the table says so beside them.
type anotherOrder string

func (e anotherOrder) Error() string { return string(e) }
