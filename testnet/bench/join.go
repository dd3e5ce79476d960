package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomversion"
	"hanse/testnet/user"
	"hanse/testnet/wholestate"
)

// joinServers is how many servers the members of a large room come from.
const joinServers = 20

// bigRoom is the large room, made once a run; every trial gets a copy.
func (t *trial) bigRoom() (*room, []*server, error) {
	servers, err := t.firstServers(joinServers)
	if err != nil {
		return nil, nil, err
	}
	if t.big == nil {
		t.say("signing the members of a room")
		r, err := newRoom(servers[0], "large")
		if err != nil {
			return nil, nil, err
		}
		if err := populate(r, servers, t.Members-1, t.random("members")); err != nil {
			return nil, nil, err
		}
		r.prepare()
		t.big = r
	}
	r := t.big.clone()
	t.world.add(r)
	return r, servers, nil
}

// joinBig boots the server and lets a user join the large room. answered is when the answer to send_join was out.
func (t *trial) joinBig(ctx context.Context) (r *room, s *session, answered time.Time, w window, err error) {
	r, servers, err := t.bigRoom()
	if err != nil {
		return nil, nil, answered, w, err
	}
	if _, err := t.boot(ctx); err != nil {
		return nil, nil, answered, w, err
	}
	if s, err = t.target.newSession(ctx, "newcomer"); err != nil {
		return nil, nil, answered, w, err
	}
	if err := t.acquaint(ctx, s, servers); err != nil {
		return nil, nil, answered, w, err
	}
	out := make(chan time.Time, 1)
	t.world.onJoin(func(joined *room, at time.Time) {
		if joined == r {
			select {
			case out <- at:
			default: // it was asked twice: the first answer counts
			}
		}
	})
	t.target.process.ResetPeak()
	w = t.window()
	if err := s.joinRoom(ctx, r); err != nil {
		return nil, nil, answered, w, err
	}
	select {
	case answered = <-out:
		return r, s, answered, w, nil
	case <-time.After(time.Second):
		return nil, nil, answered, w, fmt.Errorf("the server said that it joined %s, but did not ask to", r.id)
	}
}

// join measures the join of a large room, of which members may be left out at first.
func join(ctx context.Context, t *trial) error { return t.measureJoin(ctx, "join", false) }

// joinWhole measures the join of a large room by way of a server that leaves nobody out.
func joinWhole(ctx context.Context, t *trial) error { return t.measureJoin(ctx, "whole join", true) }

func (t *trial) measureJoin(ctx context.Context, name string, whole bool) error {
	floor, floorCPU, err := t.joinFloor(ctx)
	if err != nil {
		return err
	}
	t.world.leaveOut(!whole)
	r, s, answered, w, err := t.joinBig(ctx)
	if err != nil {
		return err
	}
	usable := time.Since(answered)
	if _, err := s.say(ctx, string(r.id), "Hello, all of you", 0); err != nil {
		return fmt.Errorf("the room is not usable after the join: %w", err)
	}
	if err := t.complete(ctx, r, s); err != nil {
		return err
	}
	ended := time.Now()
	const floorOf = "the signature checks on all cores, and the rows written by the database alone"
	t.seconds("from the send_join answer to usable", usable, floor, floorOf)
	t.seconds("from the send_join answer to complete", ended.Sub(answered), floor, floorOf)
	if usageKnown {
		_, peak := t.target.process.Memory()
		t.seconds("CPU time of the server", cpuTime(t.target.process)-w.server, floorCPU, "CPU time of the same")
		t.amount("peak memory", "MB", megabytes(peak))
	}
	t.spent(name, w, ended)
	if err := t.again(ctx); err != nil {
		return err
	}
	return t.complete(ctx, r, s)
}

// smallRoom is how many members the room has that the large one is compared with.
const smallRoom = 1000

// talk measures from the answer to send_join to the answer to the first message, in a small room and in the large one.
func talk(ctx context.Context, t *trial) error {
	large, servers, err := t.bigRoom()
	if err != nil {
		return err
	}
	small, err := newRoom(servers[0], "small")
	if err != nil {
		return err
	}
	if err := populate(small, servers, min(smallRoom, t.Members)-1, t.random("few members")); err != nil {
		return err
	}
	t.world.add(small)
	if _, err := t.boot(ctx); err != nil {
		return err
	}
	s, err := t.target.newSession(ctx, "newcomer")
	if err != nil {
		return err
	}
	if err := t.acquaint(ctx, s, servers); err != nil {
		return err
	}
	out := make(chan time.Time, 4) // a join may be asked for twice
	t.world.onJoin(func(_ *room, at time.Time) {
		select {
		case out <- at:
		default:
		}
	})
	var took []time.Duration
	for _, r := range []*room{small, large} {
		for len(out) > 0 {
			<-out
		}
		if err := s.joinRoom(ctx, r); err != nil {
			return err
		}
		if _, err := s.say(ctx, string(r.id), "Hello, all of you", 0); err != nil {
			return err
		}
		said := time.Now()
		select {
		case answered := <-out:
			took = append(took, said.Sub(answered))
		default:
			return fmt.Errorf("the server said that it joined %s, but did not ask to", r.id)
		}
	}
	t.seconds("in a room of a thousand members", took[0], 0, "")
	t.seconds("in the large room", took[1], took[0], "the same in the small room")
	return nil
}

// joinFloor is the time to check every member's signature on all cores and to write the events.
func (t *trial) joinFloor(ctx context.Context) (took, cpu time.Duration, err error) {
	r, servers, err := t.bigRoom()
	if err != nil {
		return 0, 0, err
	}
	_, state := r.end()
	events, _ := r.stateEvents(state)
	verify, err := t.floors.verify(events, servers)
	if err != nil {
		return 0, 0, err
	}
	check, err := t.floors.check(events, servers)
	if err != nil {
		return 0, 0, err
	}
	write, writeCPU, err := t.floors.write(ctx, events, len(events))
	if err != nil {
		return 0, 0, err
	}
	verifyTime := time.Duration(float64(len(events)) / verify.rate * float64(time.Second))
	t.say("floors: %d signatures checked in %.2f s on %d cores (parsed and hashed too: %.2f s), written in %.2f s",
		len(events), verifyTime.Seconds(), runtime.GOMAXPROCS(0), float64(len(events))/check.rate, write.Seconds())
	return verifyTime + write, time.Duration(len(events))*verify.cpu + writeCPU, nil
}

// complete waits until a client sees every member, and checks them. A server that has the members later lets the client
// wait for them.
func (t *trial) complete(ctx context.Context, r *room, s *session) error {
	_, state := r.end()
	wanted := map[string]id.EventID{}
	for stateKey, eventID := range wholestate.ByType(state, "m.room.member") {
		wanted[stateKey] = eventID
	}
	deadline := time.Now().Add(requestTimeout)
	shown := 0
	for {
		var answer struct {
			Chunk []user.Event `json:"chunk"`
		}
		if err := s.get(ctx, roomPath(string(r.id), "members?membership=join"), &answer); err != nil {
			return fmt.Errorf("the room has %d members, the server showed %d of them last: %w", len(wanted), shown, err)
		}
		shown = len(answer.Chunk)
		if len(answer.Chunk) < len(wanted) && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if len(answer.Chunk) != len(wanted) {
			return fmt.Errorf("the room has %d members, and the server shows %d", len(wanted), len(answer.Chunk))
		}
		for _, e := range answer.Chunk {
			if e.StateKey == nil || wanted[*e.StateKey] != id.EventID(e.ID) {
				return fmt.Errorf("the server shows %s as a member event, which the room's state doesn't have", e.ID)
			}
			if want := r.event(id.EventID(e.ID)); want == nil || !sameJSON(e.Content, want.Content()) {
				return fmt.Errorf("the server's %s is not what the room has", e.ID)
			}
		}
		return nil
	}
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && string(encode(x)) == string(encode(y))
}

// handedIn is a join by way of the server under test.
type handedIn struct {
	join             *event.Event
	state, authChain []*event.Event
	make, send       time.Duration // of make_join and send_join
}

// handIn joins a room by way of the server under test and checks what it answers. size is how large the answer will be, roughly;
// 0 if it isn't known.
func (t *trial) handIn(ctx context.Context, s *server, roomID string, user id.UserID, size int) (h handedIn, err error) {
	began := time.Now()
	if h.join, err = t.template(ctx, s, "make_join", roomID, user); err != nil {
		return h, err
	}
	h.make = time.Since(began)
	c, err := s.sign(http.MethodPut, membershipPath("v2/send_join", roomID, string(h.join.ID())), t.target.name, h.join.JSON())
	if err != nil {
		return h, err
	}
	began = time.Now()
	raw, err := s.doLarge(ctx, t.target.name, c, size)
	if err != nil {
		return h, fmt.Errorf("send_join: %w", err)
	}
	h.send = time.Since(began)
	var answer struct {
		State     []json.RawMessage `json:"state"`
		AuthChain []json.RawMessage `json:"auth_chain"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return h, fmt.Errorf("the answer to send_join: %w", err)
	}
	if h.state, err = t.checked(answer.State); err != nil {
		return h, err
	}
	h.authChain, err = t.checked(answer.AuthChain)
	return h, err
}

// template is a membership event of a user's, made of what the server under test answers to the first step of it.
func (t *trial) template(ctx context.Context, s *server, endpoint, roomID string, user id.UserID) (*event.Event, error) {
	var template struct {
		Version roomversion.Version `json:"room_version"`
		Event   json.RawMessage     `json:"event"`
	}
	uri := membershipPath("v1/"+endpoint, roomID, string(user)) + "?ver=" + string(roomVersion)
	if err := s.ask(ctx, t.target.name, http.MethodGet, uri, nil, &template); err != nil {
		return nil, err
	}
	rules, ok := roomversion.Lookup(template.Version)
	if !ok {
		return nil, fmt.Errorf("%s says that the room has version %q", endpoint, template.Version)
	}
	draft, err := event.ParseDraft(rules, template.Event)
	if err != nil {
		return nil, fmt.Errorf("the template of %s: %w", endpoint, err)
	}
	draft.OriginServerTS = time.Now().UnixMilli()
	return draft.Sign(rules, s.name, s.key)
}

func membershipPath(endpoint, roomID, last string) string {
	return "/_matrix/federation/" + endpoint + "/" + url.PathEscape(roomID) + "/" + url.PathEscape(last)
}

// checked reads events of the server under test, of others, and of the bench's own servers.
func (t *trial) checked(raws []json.RawMessage) ([]*event.Event, error) {
	events := make([]*event.Event, len(raws))
	for i, raw := range raws {
		e, err := checkedEvent(raw, t.target.name, t.target.keys)
		if err != nil {
			return nil, fmt.Errorf("in the answer to send_join: %w", err)
		}
		events[i] = e
	}
	return events, nil
}

// answers is how often a large room is joined by way of the server.
const answers = 3

// answerJoin measures how the server answers another server's join of a large room, beside the copying of what it
// answers: one after the other, in turns.
func answerJoin(ctx context.Context, t *trial) error {
	r, s, _, _, err := t.joinBig(ctx)
	if err != nil {
		return err
	}
	if err := t.complete(ctx, r, s); err != nil {
		return err
	}
	if err := t.again(ctx); err != nil { // so that the memory is that of answering
		return err
	}
	_, state := r.end()
	newcomer, err := t.server(joinServers)
	if err != nil {
		return err
	}
	stateEvents, authChain := r.stateEvents(state)
	rows, err := t.floors.toCopy(ctx, slices.Concat(stateEvents, authChain))
	if err != nil {
		return err
	}
	defer rows.remove()
	var makes, sends, copies []time.Duration
	var used, usedCopying time.Duration
	before, _ := t.target.process.Memory()
	t.target.process.ResetPeak()
	for i := range answers {
		copied, copyCPU, err := rows.copy(ctx, newcomer)
		if err != nil {
			return err
		}
		w := t.window()
		h, err := t.handIn(ctx, newcomer, string(r.id), newcomer.user(fmt.Sprintf("newcomer%d", i)), int(rows.size+rows.size/16))
		if err != nil {
			return err
		}
		used, usedCopying = used+cpuTime(t.target.process)-w.server, usedCopying+copyCPU
		makes, sends, copies = append(makes, h.make), append(sends, h.send), append(copies, copied)
		if err := sameState(r, ids(h.state), state.Len()+i); err != nil {
			return err
		}
	}
	slices.Sort(makes)
	slices.Sort(sends)
	slices.Sort(copies)
	t.seconds("make_join, median of 3", makes[answers/2], 0, "")
	t.seconds("send_join of the whole room, median of 3", sends[answers/2], copies[answers/2], "the same events copied from the database to a TLS connection")
	if usageKnown {
		_, peak := t.target.process.Memory()
		t.amount("memory before", "MB", megabytes(before))
		t.amount("peak memory", "MB", megabytes(peak))
		t.seconds("CPU time of the server", used, usedCopying, "CPU time of the copying, of both ends")
	}
	return nil
}

// sameState checks that an answer has every event of the room's state, and as many as it should have.
func sameState(r *room, answered []id.EventID, size int) error {
	_, state := r.end()
	got := make(map[id.EventID]bool, len(answered))
	for _, eventID := range answered {
		got[eventID] = true
	}
	if len(answered) != size || len(got) != size {
		return fmt.Errorf("the answer to send_join has %d state events, and the room %d", len(answered), size)
	}
	for key, eventID := range wholestate.All(state) {
		if !got[eventID] {
			return fmt.Errorf("the answer to send_join lacks the %s of %s", strings.TrimPrefix(key.Type, "m.room."), key.StateKey)
		}
	}
	return nil
}
