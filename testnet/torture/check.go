package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hanse/testnet/user"
)

// check looks whether the victim has all that was acknowledged, once, in order. A hole in what the peer's users said is
// no fault while it is read for the first time: events that come in meanwhile belong to what a client gets next. But it must
// be closed when it is read again, within patience.
func (g *work) check(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := g.checkRooms(ctx)
		var h *hole
		if err == nil {
			break
		}
		if !errors.As(err, &h) || waiting.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
		g.campaign.report.Holes++
	}
	return g.checkData(ctx)
}

func (g *work) checkRooms(ctx context.Context) error {
	for _, room := range []string{g.shared, g.own} {
		texts, err := g.messages(ctx, g.campaign.victim, room)
		if err != nil {
			return err
		}
		for _, t := range g.talkers {
			if t.room != room {
				continue
			}
			if err := t.check(texts); err != nil {
				return err
			}
		}
	}
	return nil
}

// hole is a part that is missing in what a user of the peer said.
type hole struct {
	talker       string
	number, then int // the messages around it
}

func (h *hole) Error() string {
	return fmt.Sprintf("the message %d of %s follows number %d: what is between is not there", h.then, h.talker, h.number)
}

// message is a message of a talker as a server shows it.
type message struct {
	eventID string
	number  int
}

// messages reads a room from a server: what each talker said, oldest first.
func (g *work) messages(ctx context.Context, s *server, room string) (map[string][]message, error) {
	events, err := s.user.History(ctx, room)
	if err != nil {
		return nil, fmt.Errorf("reading the room of %s: %w", s.name, err)
	}
	texts, seen := map[string][]message{}, map[string]bool{}
	for _, e := range slices.Backward(events) {
		if e.Type != "m.room.message" {
			continue
		}
		name, number, _ := strings.Cut(e.Body(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s has the message %q, which nobody sent", s.name, e.Body())
		}
		if seen[e.ID] {
			return nil, fmt.Errorf("%s shows the event %s twice", s.name, e.ID)
		}
		seen[e.ID] = true
		texts[name] = append(texts[name], message{e.ID, n})
	}
	return texts, nil
}

// check compares what the victim shows of a talker with what the talker was told. What the peer's talkers said last the victim
// may not have heard yet: that it comes exchanged tells.
func (t *talker) check(texts map[string][]message) error {
	have := texts[t.name]
	foreign, before := !strings.HasPrefix(t.at.name, "victim."), -1
	for _, m := range have {
		if foreign && m.number > before+1 {
			return &hole{talker: t.name, number: before, then: m.number}
		}
		if m.number != before+1 {
			return fmt.Errorf("the message %d of %s follows number %d: lost, twice or out of order", m.number, t.name, before)
		}
		before = m.number
		if m.number < len(t.sent) && t.sent[m.number] != m.eventID {
			return fmt.Errorf("the message %d of %s is %s, but was acknowledged as %s", m.number, t.name, m.eventID, t.sent[m.number])
		}
	}
	if len(have) > len(t.sent)+1 {
		return fmt.Errorf("%s has %d messages, %d were sent", t.name, len(have), len(t.sent)+1)
	}
	if len(have) < len(t.sent) && !foreign {
		return fmt.Errorf("%d messages of %s were acknowledged, %d are there", len(t.sent), t.name, len(have))
	}
	return nil
}

func (g *work) checkData(ctx context.Context) error {
	u := g.campaign.victim.user
	var data struct {
		N int `json:"n"`
	}
	path := "/_matrix/client/v3/user/" + url.PathEscape(u.ID) + "/account_data/torture"
	if err := u.Call(ctx, http.MethodGet, path, nil, nil, &data); err != nil && g.data > 0 {
		return fmt.Errorf("reading account data: %w", err)
	}
	if data.N < g.data || data.N > g.next {
		return fmt.Errorf("the account data is %d; %d was acknowledged, %d was sent", data.N, g.data, g.next)
	}
	if g.topic > 0 {
		var topic struct {
			Topic string `json:"topic"`
		}
		if err := u.Call(ctx, http.MethodGet, roomPath(g.shared)+"/state/m.room.topic", nil, nil, &topic); err != nil {
			return fmt.Errorf("reading the topic: %w", err)
		}
		if n, err := strconv.Atoi(topic.Topic); err != nil || n < g.topic || n > g.next {
			return fmt.Errorf("the topic is %q; %d was acknowledged, %d was sent", topic.Topic, g.topic, g.next)
		}
	}
	for i, s := range []*server{g.campaign.victim, g.campaign.peer} {
		var answer struct {
			Rooms []string `json:"joined_rooms"`
		}
		if err := s.user.Call(ctx, http.MethodGet, "/_matrix/client/v3/joined_rooms", nil, nil, &answer); err != nil {
			return fmt.Errorf("reading the joined rooms of %s: %w", s.name, err)
		}
		for _, room := range g.joined {
			if !slices.Contains(answer.Rooms, room) {
				return fmt.Errorf("a join of %s was acknowledged, but %s isn't among the joined rooms of user %d", room, s.name, i)
			}
		}
	}
	return nil
}

// exchanged waits until each server has what the other's users were told, up to a message and a receipt for it that were
// acknowledged just before a last kill: what was to be sent went out.
func (c *campaign) exchanged(ctx context.Context, g *work) error {
	last, err := c.victim.user.Say(ctx, g.shared, fmt.Sprintf("g%d-end 0", c.report.Generations))
	if err != nil {
		return err
	}
	path := roomPath(g.shared) + "/receipt/m.read/" + url.PathEscape(last)
	if err := c.victim.user.Call(ctx, http.MethodPost, path, nil, map[string]any{}, nil); err != nil {
		return err
	}
	c.victim.kill()
	c.report.Kills++
	if err := c.victim.start(ctx); err != nil {
		return err
	}
	if _, err := c.victim.user.Say(ctx, g.shared, fmt.Sprintf("g%d-end 1", c.report.Generations)); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		missing, err := c.missing(ctx, g, last)
		if err != nil {
			return err
		}
		if missing == "" {
			return c.victim.complaints()
		}
		select {
		case <-waiting.Done():
			return fmt.Errorf("within %s: %s", patience, missing)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// missing names something that one server has and the other lacks.
func (c *campaign) missing(ctx context.Context, g *work, last string) (string, error) {
	ours, err := g.messages(ctx, c.victim, g.shared)
	if err != nil {
		return "", err
	}
	theirs, err := g.messages(ctx, c.peer, g.shared)
	if err != nil {
		return "", err
	}
	for _, t := range g.talkers {
		if t.room == g.shared && len(theirs[t.name]) < len(t.sent) {
			return fmt.Sprintf("the peer has %d of the %d messages of %s", len(theirs[t.name]), len(t.sent), t.name), nil
		}
		if t.room == g.shared && len(ours[t.name]) < len(t.sent) {
			return fmt.Sprintf("the victim has %d of the %d messages of %s", len(ours[t.name]), len(t.sent), t.name), nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if !slices.Equal(ids(ours[name]), ids(theirs[name])) {
			return fmt.Sprintf("the servers have different messages of %s: %d and %d", name, len(ours[name]), len(theirs[name])), nil
		}
	}
	for _, m := range c.mails {
		if lacks, err := m.missing(ctx); err != nil || lacks != "" {
			return lacks, err
		}
	}
	if lacks, err := c.keys.missing(ctx); err != nil || lacks != "" {
		return lacks, err
	}
	return c.missingReceipt(ctx, g, last)
}

func ids(messages []message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, m.eventID)
	}
	slices.Sort(all)
	return all
}

// missingReceipt looks for the receipt in a first /sync of the peer's user.
func (c *campaign) missingReceipt(ctx context.Context, g *work, last string) (string, error) {
	var answer user.SyncAnswer
	if err := c.peer.user.Call(ctx, http.MethodGet, "/_matrix/client/v3/sync", url.Values{"timeout": {"0"}}, nil, &answer); err != nil {
		return "", err
	}
	for _, e := range answer.Rooms.Join[g.shared].Ephemeral.Events {
		var content map[string]map[string]map[string]json.RawMessage
		if e.Type != "m.receipt" || json.Unmarshal(e.Content, &content) != nil {
			continue
		}
		if _, ok := content[last]["m.read"][c.victim.user.ID]; ok {
			return "", nil
		}
	}
	return "the peer lacks the receipt of " + last, nil
}
