package testnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"hanse/testnet/user"
)

const (
	// convergeTimeout is how long the nodes may take until all of them show the same room.
	convergeTimeout = 60 * time.Second
	// inviteTimeout is how long an invite may take to reach the invited user's /sync.
	inviteTimeout = 30 * time.Second
	// aliasName is the local part of the alias of the testnet's room.
	aliasName = "harbour"
)

// scenario is the users of a testnet meeting in one room.
type scenario struct {
	network *network
	report  *report
	// patience is how long the nodes may take until all of them show the same room.
	patience time.Duration
	users    []*user.User // by the plan's order
	alias    string
	roomID   string
}

// run lets everybody meet and talk: the first makes a room, the second joins it by its alias, the third by an invite, and
// so on in turn. On a testnet that has been up before it goes on in the same room.
func (s *scenario) run(ctx context.Context) error {
	s.alias = "#" + aliasName + ":" + s.network.plan.Nodes[0].ServerName
	for i, node := range s.network.plan.Nodes {
		u := user.New(node.ClientURL())
		s.users = append(s.users, u)
		if err := s.account(ctx, u, node); err != nil {
			return s.failed(i, "make the account "+node.UserID(), err)
		}
	}
	if err := s.room(ctx); err != nil {
		return s.failed(0, "make the room "+s.alias, err)
	}
	for i := 1; i < len(s.users); i++ {
		if err := s.join(ctx, i); err != nil {
			return err
		}
	}
	for i, u := range s.users {
		began := time.Now()
		text := "Ahoy from " + s.network.plan.Nodes[i].Name + "!"
		if _, err := u.Say(ctx, s.roomID, text); err != nil {
			return s.failed(i, "send a message", err)
		}
		s.step(i, began, "%s says %q", u.ID, text)
	}
	return s.converge(ctx)
}

func (s *scenario) close() {
	for _, u := range s.users {
		u.Close()
	}
}

// failed says which node, which step, which request, and where the log is.
func (s *scenario) failed(i int, step string, err error) error {
	node := s.network.plan.Nodes[i]
	return fmt.Errorf("%s (%s): %s: %w; %s", node.Name, node.ServerName, step, err, s.network.seeLog(node))
}

func (s *scenario) step(i int, began time.Time, format string, args ...any) {
	s.report.step(s.network.plan.Nodes[i].Name, "%s (%s)", fmt.Sprintf(format, args...), milliseconds(time.Since(began)))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// account logs in, or makes the account at the first start.
func (s *scenario) account(ctx context.Context, u *user.User, node PlanNode) error {
	began, i := time.Now(), len(s.users)-1
	var refusal *user.Error
	err := u.Login(ctx, node.User, node.Password)
	if errors.As(err, &refusal) && refusal.Code == "M_FORBIDDEN" {
		if err = u.Register(ctx, node.User, node.Password, s.network.plan.SharedSecret); err == nil {
			s.step(i, began, "registered %s", u.ID)
		}
		return err
	}
	if err == nil {
		s.step(i, began, "logged in %s", u.ID)
	}
	return err
}

// room finds the room of an earlier start, or makes it.
func (s *scenario) room(ctx context.Context) error {
	began, first := time.Now(), s.users[0]
	var known struct {
		RoomID string `json:"room_id"`
	}
	var refusal *user.Error
	err := first.Call(ctx, "GET", "/_matrix/client/v3/directory/room/"+url.PathEscape(s.alias), nil, nil, &known)
	if err == nil {
		s.roomID = known.RoomID
		s.step(0, began, "goes on in %s, %s", s.alias, s.roomID)
		return nil
	}
	if !errors.As(err, &refusal) || refusal.Code != "M_NOT_FOUND" {
		return err
	}
	options := map[string]any{
		"preset": "public_chat", "visibility": "public", "name": "The harbour",
		"topic": "Where the nodes of this testnet meet", "room_alias_name": aliasName,
	}
	if version := s.network.plan.RoomVersion; version != "" {
		options["room_version"] = version
	}
	if s.roomID, err = first.CreateRoom(ctx, options); err == nil {
		s.step(0, began, "made %s, %s", s.alias, s.roomID)
	}
	return err
}

// join brings user i into the room: by its alias and by an invite in turn.
func (s *scenario) join(ctx context.Context, i int) error {
	u := s.users[i]
	var joined struct {
		Rooms []string `json:"joined_rooms"`
	}
	if err := u.Call(ctx, "GET", "/_matrix/client/v3/joined_rooms", nil, nil, &joined); err != nil {
		return s.failed(i, "list the joined rooms", err)
	}
	if slices.Contains(joined.Rooms, s.roomID) {
		return nil
	}
	began := time.Now()
	if i%2 == 1 {
		if _, err := u.Join(ctx, s.alias); err != nil {
			return s.failed(i, "join by alias", err)
		}
		s.step(i, began, "%s joined by the alias", u.ID)
		return nil
	}
	if err := s.users[0].Invite(ctx, s.roomID, u.ID); err != nil {
		return s.failed(0, "invite "+u.ID, err)
	}
	if err := s.awaitInvite(ctx, u); err != nil {
		return s.failed(i, "wait for the invite", err)
	}
	s.step(i, began, "%s was invited", u.ID)
	began = time.Now()
	if _, err := u.Join(ctx, s.roomID); err != nil {
		return s.failed(i, "join by invite", err)
	}
	s.step(i, began, "%s joined by the invite", u.ID)
	return nil
}

func (s *scenario) awaitInvite(ctx context.Context, u *user.User) error {
	deadline := time.Now().Add(inviteTimeout)
	for time.Now().Before(deadline) {
		answer, err := u.Sync(ctx, 5*time.Second)
		if err != nil {
			return err
		}
		if _, ok := answer.Rooms.Invite[s.roomID]; ok {
			return nil
		}
	}
	return fmt.Errorf("no invite to %s in /sync within %s", s.roomID, inviteTimeout)
}

// view is a room as one node shows it.
type view struct {
	messages map[string]string // event ID → text
	state    map[string]string // type and state key → event ID
}

// converge waits until every node shows the same messages and the same state.
func (s *scenario) converge(ctx context.Context) error {
	began := time.Now()
	for {
		views := make([]view, len(s.users))
		for i, u := range s.users {
			var err error
			if views[i], err = look(ctx, u, s.roomID); err != nil {
				return s.failed(i, "read the room", err)
			}
		}
		difference := compare(s.network.plan, views)
		if difference == "" {
			s.report.step("", "all %d nodes show the same %d messages and the same %d state events (%s)",
				len(views), len(views[0].messages), len(views[0].state), milliseconds(time.Since(began)))
			return nil
		}
		if time.Since(began) > s.patience {
			for _, eventID := range disputed(views) {
				for i := range s.users {
					s.network.explainOn(ctx, s.report, i, eventID)
				}
			}
			return fmt.Errorf("the nodes still disagree after %s: %s; the logs are %s", s.patience, difference, s.network.dir+"/node*/hanse.log")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func look(ctx context.Context, u *user.User, roomID string) (view, error) {
	v := view{messages: map[string]string{}, state: map[string]string{}}
	state, err := u.State(ctx, roomID)
	if err != nil {
		return v, err
	}
	for _, event := range state {
		if event.StateKey != nil {
			v.state[strings.TrimSpace(event.Type+" "+*event.StateKey)] = event.ID
		}
	}
	history, err := u.History(ctx, roomID)
	for _, event := range history {
		if event.Type == "m.room.message" {
			v.messages[event.ID] = event.Body()
		}
	}
	return v, err
}

// compare names the first difference between the first node's view and another's.
func compare(plan Plan, views []view) string {
	for i := 1; i < len(views); i++ {
		first, other := plan.Nodes[0].Name, plan.Nodes[i].Name
		if d := difference(first, other, "message", views[0].messages, views[i].messages); d != "" {
			return d
		}
		if d := difference(first, other, "state", views[0].state, views[i].state); d != "" {
			return d
		}
	}
	return ""
}

func difference(first, other, what string, a, b map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if got, ok := b[key]; !ok {
			return fmt.Sprintf("%s lacks the %s %q that %s has", other, what, key, first)
		} else if got != a[key] {
			return fmt.Sprintf("the %s %q is %s on %s and %s on %s", what, key, a[key], first, got, other)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[key]; !ok {
			return fmt.Sprintf("%s lacks the %s %q that %s has", first, what, key, other)
		}
	}
	return ""
}
