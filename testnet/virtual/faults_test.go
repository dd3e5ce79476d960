package virtual

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hanse/testnet/user"
)

var (
	faultSeeds = flag.Int("fault-seeds", 3, "how many random lives are played")
	faultSeed  = flag.Uint64("fault-seed", 1, "the first seed; 0: by chance, so that no change is refused for what it didn't do")
)

// TestFaults plays days in which links break, servers stop and start, and people talk, come, go and are banned. When
// everything is mended all servers must find the same room, with every message of those who were never put out, and every
// message to a device must have come once, in its order.
func TestFaults(t *testing.T) {
	seed := *faultSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	for i := range *faultSeeds {
		t.Run(fmt.Sprintf("fault-seed=%d", seed+uint64(i)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newLife(t, seed+uint64(i)).play() })
		})
	}
}

// life is a world with a room, two users a server in it: one who stays and one whom things happen to.
type life struct {
	*trio
	random     *rand.Rand
	stay, roam []*user.User
	cut        map[[2]int]bool
	toDevice   map[[2]int]int   // how many messages one who stays has sent to another's device
	came       map[[2]int][]int // their numbers as they came
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{trio: &trio{world: newWorld(t)}, random: rand.New(rand.NewPCG(seed, 1)), cut: map[[2]int]bool{},
		toDevice: map[[2]int]int{}, came: map[[2]int][]int{}}
	l.s = l.servers(3 + l.random.IntN(2))
	for i, s := range l.s {
		l.stay = append(l.stay, s.user(fmt.Sprint("stay", i)))
		l.roam = append(l.roam, s.user(fmt.Sprint("roam", i)))
	}
	return l
}

func (l *life) play() {
	t := l.t
	defer func() { end(l.s, append(l.stay, l.roam...)...) }()
	version := 1 + l.random.IntN(12)
	t.Logf("%d servers, room version %d", len(l.s), version)
	l.room = must[string](t)(l.stay[0].CreateRoom(t.Context(), map[string]any{"preset": "public_chat", "room_version": fmt.Sprint(version)}))
	powers := map[string]int{}
	for i, u := range l.stay {
		if i > 0 {
			must[string](t)(u.Join(t.Context(), l.room, l.s[0].name))
			powers[u.ID] = 50
		} else if version < 12 {
			powers[u.ID] = 100
		}
		must[string](t)(l.roam[i].Join(t.Context(), l.room, l.s[0].name))
	}
	must[string](t)(l.stay[0].SetState(t.Context(), l.room, "m.room.power_levels", "", map[string]any{"users": powers, "state_default": 50}))
	time.Sleep(time.Minute)
	for range 150 {
		l.act()
		time.Sleep(time.Duration(l.random.Int64N(int64(20 * time.Minute))))
	}
	for i, s := range l.s {
		if s.stop == nil {
			s.start()
		}
		for j := range i {
			l.net.Heal(s.host, l.s[j].host)
		}
	}
	time.Sleep(3 * time.Hour)
	// What was said in different parts is merged when somebody speaks.
	l.say(l.stay...)
	time.Sleep(time.Minute)
	l.converged(l.stay...)
	for i := range l.stay {
		l.sync(i)
		l.sync(i)
	}
	for pair, sent := range l.toDevice {
		for n := range max(sent, len(l.came[pair])) {
			if n >= len(l.came[pair]) || l.came[pair][n] != n {
				t.Errorf("of %d messages of %s to the device of %s came %v", sent, l.stay[pair[0]].ID, l.stay[pair[1]].ID, l.came[pair])
				break
			}
		}
	}
}

// sync has one who stays take what has come to the device.
func (l *life) sync(i int) {
	l.t.Helper()
	for _, e := range must[user.SyncAnswer](l.t)(l.stay[i].Sync(l.t.Context(), 0)).ToDevice.Events {
		var content struct{ Number int }
		if err := json.Unmarshal(e.Content, &content); err != nil {
			l.t.Error(err)
		}
		from := slices.IndexFunc(l.stay, func(u *user.User) bool { return u.ID == e.Sender })
		l.came[[2]int{from, i}] = append(l.came[[2]int{from, i}], content.Number)
	}
}

// act has one thing happen.
func (l *life) act() {
	i, j := l.random.IntN(len(l.s)), l.random.IntN(len(l.s))
	s := l.s[i]
	switch n := l.random.IntN(24); {
	case n < 3 && i != j:
		l.toggle(i, j)
	case n == 3 && s.stop != nil:
		s.stop()
	case n < 6 && s.stop == nil:
		s.start()
	case s.stop == nil:
	case n < 12:
		l.say(l.stay[i])
	case n < 14:
		_, err := l.stay[i].SetState(l.t.Context(), l.room, "m.room.topic", "", map[string]any{"topic": fmt.Sprint(l.random.Int())})
		l.refusable(err)
	case n < 16:
		kind := []string{"ban", "unban", "kick", "invite"}[l.random.IntN(4)]
		l.refusable(l.stay[i].Call(l.t.Context(), "POST", "/_matrix/client/v3/rooms/"+l.room+"/"+kind, nil,
			map[string]any{"user_id": l.roam[j].ID}, nil))
	case n == 16:
		l.refusable(l.roam[i].Leave(l.t.Context(), l.room))
	case n < 19:
		_, err := l.roam[i].Join(l.t.Context(), l.room, l.s[j].name)
		l.refusable(err)
	case n < 22 && i != j:
		u := l.stay[j]
		content := map[string]int{"number": l.toDevice[[2]int{i, j}]}
		if err := l.stay[i].SendToDevice(l.t.Context(), "test.direct", u.ID, u.DeviceID, content); err != nil {
			l.t.Error(err)
		}
		l.toDevice[[2]int{i, j}]++
	case n == 22:
		l.sync(i)
	default:
		_, err := l.roam[i].Send(l.t.Context(), l.room, "test.road", map[string]any{}) // may be soft-failed, so it isn't counted
		l.refusable(err)
	}
}

func (l *life) toggle(i, j int) {
	link := [2]int{min(i, j), max(i, j)}
	if l.cut[link] = !l.cut[link]; l.cut[link] {
		l.net.Cut(l.s[i].host, l.s[j].host)
	} else {
		l.net.Heal(l.s[i].host, l.s[j].host)
	}
}

// refusable lets refusals pass: not everybody may do everything.
func (l *life) refusable(err error) {
	l.t.Helper()
	if refusal := (*user.Error)(nil); err != nil && !errors.As(err, &refusal) {
		l.t.Error(err)
	}
}
