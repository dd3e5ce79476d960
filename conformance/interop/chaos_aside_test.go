package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// A room in which servers disagree for good is set aside only where that is what the specification has: all that one of them shows of it and
// another doesn't, the other has soft-failed, and rightly so: its checks 4 and 5 passed, and check 6 failed by the state that the room had
// there when the event came, to which the rules are applied once more. An event that was rejected, never came or waits is a fault of somebody's,
// and so is a soft failure that the rules don't bear out.
//
// spec:server-server-api#soft-failure

// judged is what a server tells of an event.
type judged struct {
	Status string
	Short  []string
	Checks []struct {
		Number             int
		Verdict, Now, Spec string
		What, Rule, Reason string
	}
}

// explain asks a Hanse server what became of an event there.
func (s *server) explain(ctx context.Context, eventID string) (judged, error) {
	bin := ""
	for _, setting := range s.command.Env {
		if value, found := strings.CutPrefix(setting, "HANSE_BIN="); found {
			bin = value
		}
	}
	var answer judged
	text, err := exec.CommandContext(ctx, bin, "explain", eventID, "--json", "--data-dir", s.orders.DataDir).Output()
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	return answer, err
}

// softFailed tells whether an event was soft-failed. The error says what is wrong with what became of it.
func (j judged) softFailed() (bool, error) {
	wrong := fmt.Errorf("it is %s: %v %v", j.Status, j.Short, j.Checks)
	switch j.Status {
	case "accepted":
		return false, nil
	case "soft-failed":
	default:
		return false, wrong
	}
	verdicts := map[int]string{}
	for _, check := range j.Checks {
		verdicts[check.Number] = check.Verdict
		if check.Number >= 4 && check.Now != "" {
			return false, wrong
		}
	}
	if verdicts[4] != "passed" || verdicts[5] != "passed" || verdicts[6] != "failed" {
		return false, wrong
	}
	return true, nil
}

// shown are the events that a user in a room finds there, the newest first.
func shown(ctx context.Context, p *person, r *chaosRoom) ([]string, error) {
	history, err := p.History(ctx, r.ID)
	var ids []string
	for _, e := range history {
		ids = append(ids, e.ID)
	}
	return ids, err
}

// rightly proves that what a server shows of a room and others don't was soft-failed by them, some of it by each Hanse server. The other way round it
// proves it too, but that there is some.
func (c *chaos) rightly(r *chaosRoom, out *server) error {
	ctx := c.t.Context()
	c.speaks(r, out)
	mine, err := c.inside(r, out)
	if mine == nil || err != nil {
		return errors.Join(err, fmt.Errorf("nobody of %s is in the room any more", out.orders.ServerName))
	}
	theirs, err := shown(ctx, mine, r)
	if err != nil {
		return err
	}
	for _, s := range c.servers {
		p, err := c.inside(r, s)
		if err != nil {
			return err
		}
		if s == out || p == nil {
			continue
		}
		ours, err := shown(ctx, p, r)
		if err != nil {
			return err
		}
		refused, err := s.refuses(ctx, theirs, ours)
		if err == nil && refused == 0 && s.kind == "hanse" {
			err = fmt.Errorf("%s has soft-failed nothing of what %s shows", s.orders.ServerName, out.orders.ServerName)
		}
		if err != nil {
			return err
		}
		if _, err := out.refuses(ctx, ours, theirs); err != nil {
			return err
		}
	}
	return nil
}

// refuses counts the events that a Hanse server has soft-failed, of those shown elsewhere and not here.
func (s *server) refuses(ctx context.Context, there, here []string) (count int, err error) {
	if s.kind != "hanse" {
		return 0, nil
	}
	for _, eventID := range there {
		if slices.Contains(here, eventID) {
			continue
		}
		j, err := s.explain(ctx, eventID)
		refused := false
		if err == nil {
			refused, err = j.softFailed()
		}
		if err != nil {
			return 0, fmt.Errorf("%s at %s: %w", eventID, s.orders.ServerName, err)
		}
		if refused {
			count++
		}
	}
	return count, nil
}

// TestChaosSetsAsideRightly: what a server soft-fails since the rules have changed is proven to be so; what a server hasn't heard of is no excuse.
func TestChaosSetsAsideRightly(t *testing.T) {
	if peerKind == "" || *chaosFor == 0 {
		t.Skip("needs another homeserver, and time: run `make interop-chaos`")
	}
	RegisterTestingT(t)
	c := newChaos(t, 1)
	c.makeRooms()
	one, two := c.servers[0], c.servers[1]
	r := c.rooms[slices.IndexFunc(c.rooms, func(r *chaosRoom) bool { return r.version != "1" && r.version != "12" })]
	t.Logf("in a room of version %s", r.version)
	maker := func(s *server) *person { return c.crews[s][0] }
	set := func(p *person, rule string) {
		_, err := p.SetState(t.Context(), r.ID, "m.room.join_rules", "", map[string]any{"join_rule": rule})
		Expect(err).NotTo(HaveOccurred())
	}
	last := c.crews[two][2]
	Expect(last.Leave(t.Context(), r.ID)).To(Succeed())
	c.agree()
	cut := map[[2]string]bool{} // two hears nothing, and is heard
	for _, s := range c.servers {
		cut[[2]string{s.orders.ServerName, two.orders.ServerName}] = s != two
	}
	c.links.set(cut, false)
	set(maker(one), "invite")
	_, err := last.Join(t.Context(), r.ID)
	Expect(err).NotTo(HaveOccurred())
	said, err := last.Say(t.Context(), r.ID, "I am in") // stands on the join
	Expect(err).NotTo(HaveOccurred())
	for _, s := range c.servers {
		if s == two || s.kind != "hanse" {
			continue
		}
		Eventually(func() (string, error) {
			j, err := s.explain(t.Context(), said)
			return j.Status, err
		}).WithTimeout(arriveWithin).WithPolling(300 * time.Millisecond).Should(Equal("soft-failed"))
	}
	theirs, err := shown(t.Context(), last, r)
	Expect(err).NotTo(HaveOccurred())
	ours, err := shown(t.Context(), maker(one), r)
	Expect(err).NotTo(HaveOccurred())
	refused, err := one.refuses(t.Context(), theirs, ours)
	Expect(err).NotTo(HaveOccurred())
	Expect(refused).To(Equal(2), "the join and the message")
	Expect(one.refuses(t.Context(), ours, ours)).To(BeZero())
	_, err = two.refuses(t.Context(), ours, theirs)
	Expect(err).To(MatchError(ContainSubstring("unknown")), "that others are by invite")
	c.links.set(nil, false)
}
