package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/room"
	"hanse/federation/roomstate"
	"hanse/federation/roomversion"
	"hanse/keys"
	"hanse/node/store"
	"hanse/node/store/postgres"
	"hanse/node/store/sqlite"
	"hanse/testnet/wholestate"
)

// TestYears fills a database as that of a server that has run for years, for measuring it afterwards: 5,000 rooms, one of 50,000 members and
// 300,000 events, 300 users of ours in 5 to 500 rooms each, 100,000 users of 3,000 servers, of which 1,000 are dead, and what clients and
// servers leave. It is skipped unless HANSE_YEARS names where: a folder, or the URL of an empty PostgreSQL database. HANSE_YEARS_EVENTS is
// about how many events (default 2,000,000, 3 GB, ten minutes; of fewer the large rooms have fewer members), HANSE_YEARS_ROOMS how many
// rooms. The server is years.example, its users @local0 (in 5 rooms) to @local299 (in 500), each with the devices PHONE, TABLET and BROWSER,
// and the access tokens "local0 PHONE" and so on.
//
//	HANSE_YEARS=/tmp/years go test ./node/store -run TestYears -timeout 1h -v
func TestYears(t *testing.T) {
	where := os.Getenv("HANSE_YEARS")
	if where == "" {
		t.Skip("HANSE_YEARS doesn't say where")
	}
	dialect := sqlite.OpenUnsynced(where + "/hanse.db")
	if strings.Contains(where, "://") {
		dialect = postgres.Open(where)
	}
	s, err := store.Open(t.Context(), dialect, store.Options{ServerName: yearsServer})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) }) //nolint:errcheck // always nil
	y := &years{t: t, store: s, events: numberFrom(t, "HANSE_YEARS_EVENTS", 2_000_000), began: time.Now()}
	y.fill(numberFrom(t, "HANSE_YEARS_ROOMS", 5000))
	if err := s.Clean(ctx, time.Now()); err != nil {
		t.Error(err)
	}
	cancel()
	running.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func numberFrom(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

const yearsServer id.ServerName = "years.example"

const (
	yearsUsers   = 300
	yearsOthers  = 100_000 // users of other servers
	yearsServers = 3000    // of which every third is dead
	yearsWriters = 64
	yearsCommit  = 4 // events of a room at a time
)

type years struct {
	t      *testing.T
	store  *store.Store
	events int
	rooms  []*yearsRoom
	began  time.Time
	clock  atomic.Int64 // ms
	failed atomic.Bool
}

// yearsRoom is owned by one writer.
type yearsRoom struct {
	number     int
	id         id.RoomID
	rules      *roomversion.Rules
	random     *rand.Rand
	encrypted  bool
	state      roomstate.Map
	members    []id.UserID // joined
	aside      []id.UserID // who come later, or have left
	served     map[id.ServerName]int
	receivers  []id.ServerName // nil: to be made of served
	said       []id.EventID    // some messages
	forward    id.EventID
	depth      int64
	left       int // events still to come
	outgoing   int // of the last, how many go to other servers
	transacted int
}

func (y *years) say(what string) { y.t.Logf("%6.1f s: %s", time.Since(y.began).Seconds(), what) }

func (y *years) check(err error) {
	if err != nil && !y.failed.Swap(true) {
		y.t.Error(err)
	}
}

// each calls do for 0 to count-1, several at a time; what has the same remainder by yearsWriters in order.
func (y *years) each(count int, do func(i int) error) {
	var wait sync.WaitGroup
	for first := range yearsWriters {
		wait.Go(func() {
			for i := first; i < count && !y.failed.Load(); i += yearsWriters {
				y.check(do(i))
			}
		})
	}
	wait.Wait()
}

func localUser(i int) id.UserID { return id.UserID(fmt.Sprintf("@local%d:%s", i, yearsServer)) }

// otherUser: the servers with the low numbers have most.
func otherUser(i int) id.UserID {
	spread := float64(uint32(i)*2654435761) / math.MaxUint32
	return id.UserID(fmt.Sprintf("@person%d:s%d.example", i, int(yearsServers*spread*spread*spread*0.9999)))
}

func dead(server int) bool { return server%3 == 2 }

func (y *years) fill(rooms int) {
	y.clock.Store(time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	y.accounts()
	y.say("users are there")
	y.plan(rooms)
	y.each(rooms, func(i int) error { return y.rooms[i].begin(y) })
	y.say("rooms are there")
	y.talk()
	y.say("they have talked")
	y.clients()
	y.say("clients' things are there")
	y.servers()
	y.say("servers' things are there")
}

// plan decides who is in which room, and how much is said there.
func (y *years) plan(rooms int) {
	random := rand.New(rand.NewPCG(1, 2))
	rules, _ := roomversion.Lookup(roomversion.V10)
	locals := make([]map[int]bool, rooms)
	for i := range locals {
		locals[i] = map[int]bool{}
	}
	for u := range yearsUsers {
		many := min(int(5*math.Pow(100, float64(u)/(yearsUsers-1))+0.5), rooms)
		for in := 0; in < many; {
			r := random.IntN(rooms)
			if random.IntN(20) == 0 {
				r = random.IntN(min(rooms, 20)) // large ones are liked
			}
			if !locals[r][u] {
				locals[r][u] = true
				in++
			}
		}
	}
	for i := range rooms {
		r := &yearsRoom{
			number: i, id: id.RoomID(fmt.Sprintf("!room%d:s%d.example", i, i%yearsServers)), rules: rules, random: rand.New(rand.NewPCG(uint64(i), 3)),
			served: map[id.ServerName]int{}, encrypted: i > 100 && i%2 == 0, outgoing: 4 + i%5,
		}
		if len(locals[i]) == 0 {
			locals[i][yearsUsers-1-random.IntN(20)] = true
		}
		for u := range yearsUsers {
			if locals[i][u] {
				r.members = append(r.members, localUser(u))
			}
		}
		others, events := 0, 0 // of 2,000,000
		switch {
		case i == 0:
			others, events = 50_000, 300_000
		case i < 5:
			others, events = 20_000, 100_000
		case i < 100:
			others, events = 300+random.IntN(1700), 5000
		default:
			small := random.Float64()
			others, events = int(2+60*small*small*small), int(500*small*small)
		}
		share := float64(y.events) / 2_000_000
		r.left = int(float64(events) * share)
		if i < 100 {
			others = 2 + int(float64(others)*min(share, 1))
		}
		from, step := random.IntN(yearsOthers), 1+10*random.IntN(yearsOthers/10) // prime to yearsOthers, so nobody is there twice
		for k := range others + others/5 + 3 {
			user := otherUser((from + k*step) % yearsOthers)
			if k < others {
				r.members = append(r.members, user)
			} else {
				r.aside = append(r.aside, user)
			}
		}
		y.rooms = append(y.rooms, r)
	}
}

// begin makes the room: one half of them by joining, a few members' joins have a place in all.
func (r *yearsRoom) begin(y *years) error {
	members := r.members
	r.members = nil
	if r.number%2 == 0 { // else another server's user made it
		members[0], members[len(members)-1] = members[len(members)-1], members[0]
	}
	creator := members[len(members)-1]
	w := &yearsWrite{yearsRoom: r, y: y, outliers: r.number%2 == 0 || len(members) > 100}
	w.add(state("m.room.create", "", fmt.Sprintf(`{"creator":%q,"room_version":"10"}`, creator), creator))
	w.join(creator)
	w.add(state("m.room.power_levels", "", fmt.Sprintf(`{"users":{%q:100},"events":{"m.room.name":50},"state_default":50,"users_default":0}`, creator), creator))
	w.add(state("m.room.join_rules", "", `{"join_rule":"public"}`, creator))
	w.add(state("m.room.history_visibility", "", `{"history_visibility":"shared"}`, creator))
	w.add(state("m.room.name", "", fmt.Sprintf(`{"name":"Room number %d of %s"}`, r.number, topics[r.number%len(topics)]), creator))
	if r.encrypted {
		w.add(state("m.room.encryption", "", `{"algorithm":"m.megolm.v1.aes-sha2"}`, creator))
	}
	for i, user := range members[:len(members)-1] {
		if i == len(members)-2 {
			w.outliers = false // the last join is as ours
		}
		w.join(user)
	}
	w.outliers = false
	w.say()
	if r.number%50 == 0 {
		yes := true
		w.opts.Publish = &yes
	}
	return w.commit()
}

// talk has all rooms say what is left, in turns as by chance.
func (y *years) talk() {
	var wait sync.WaitGroup
	var said atomic.Int64
	for first := range yearsWriters {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(uint64(first), 4))
			var mine []*yearsRoom
			for i := first; i < len(y.rooms); i += yearsWriters {
				for range y.rooms[i].left / yearsCommit {
					mine = append(mine, y.rooms[i])
				}
			}
			random.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for _, r := range mine {
				if y.failed.Load() {
					return
				}
				w := &yearsWrite{yearsRoom: r, y: y}
				for range yearsCommit {
					w.something()
				}
				y.check(w.commit())
				if n := said.Add(yearsCommit); n%100_000 < yearsCommit {
					y.say(fmt.Sprintf("%d events", n))
				}
			}
		})
	}
	wait.Wait()
}

// yearsWrite is a commit in the making.
type yearsWrite struct {
	*yearsRoom
	y        *years
	outliers bool // state without a place, of before we joined
	before   map[roomstate.Key]id.EventID
	changes  map[roomstate.Key]room.StateChange
	moved    map[id.ServerName]bool
	events   []room.Committed
	opts     store.CommitOptions
}

// stateID is of the room's state as it is now.
func (w *yearsWrite) stateID(typ, key string) (id.EventID, bool) {
	if e, found := w.before[roomstate.Key{Type: typ, StateKey: key}]; found {
		return e, true
	}
	return wholestate.Get(w.state, typ, key)
}

func (w *yearsWrite) add(d event.Draft) id.EventID {
	d.RoomID, d.Depth, d.OriginServerTS = w.id, w.depth+1, w.y.clock.Add(80)
	if w.forward != "" {
		d.PrevEvents = []id.EventID{w.forward}
	}
	auth := []roomstate.Key{{Type: "m.room.create"}, {Type: "m.room.power_levels"}, {Type: "m.room.member", StateKey: string(d.Sender)}}
	if d.Type == "m.room.member" {
		auth = append(auth, roomstate.Key{Type: "m.room.join_rules"})
	}
	for _, k := range auth {
		if e, found := w.stateID(k.Type, k.StateKey); found {
			d.AuthEvents = append(d.AuthEvents, e)
		}
	}
	e, err := d.Sign(w.rules, d.Sender.Server(), testKey())
	if err != nil {
		w.y.check(err)
		return ""
	}
	w.forward, w.depth = e.ID(), d.Depth
	c := room.Committed{Event: e, Outlier: w.outliers}
	key, isState := e.StateKey()
	k := roomstate.Key{Type: e.Type(), StateKey: key}
	if isState {
		old, _ := w.stateID(k.Type, k.StateKey)
		if w.changes == nil {
			w.changes = map[roomstate.Key]room.StateChange{}
		}
		change, again := w.changes[k]
		if !again {
			change = room.StateChange{Key: k, Old: old}
		}
		change.New = e.ID()
		w.changes[k] = change
	}
	if w.outliers {
		if isState {
			if w.before == nil {
				w.before = map[roomstate.Key]id.EventID{}
			}
			w.before[k] = e.ID()
		}
	} else {
		if len(w.before) > 0 {
			w.state, w.before = roomstate.Build(maps.All(w.before)), nil
		}
		c.Before = w.state
		if isState {
			w.state = wholestate.With(w.state, k.Type, k.StateKey, e.ID())
		}
		c.After = w.state
		w.came(e)
	}
	w.events = append(w.events, c)
	return e.ID()
}

// came notes by which way an event came.
func (w *yearsWrite) came(e *event.Event) {
	if w.opts.Arrivals == nil {
		w.opts.Arrivals = map[id.EventID]store.Arrival{}
	}
	server := e.Sender().Server()
	at := time.UnixMilli(e.OriginServerTS())
	if server != yearsServer {
		w.opts.Arrivals[e.ID()] = store.Arrival{How: store.Transaction, From: server, At: at}
		return
	}
	w.opts.Arrivals[e.ID()] = store.Arrival{How: store.Local, At: at}
	w.transacted++
	w.opts.ClientTxns = append(w.opts.ClientTxns, store.ClientTxn{User: e.Sender(), Device: "PHONE", Endpoint: "send/" + string(w.id),
		TxnID: fmt.Sprintf("m%d.%d", e.OriginServerTS(), w.transacted), EventID: e.ID()})
}

func (w *yearsWrite) join(user id.UserID) {
	w.add(state("m.room.member", string(user), fmt.Sprintf(`{"avatar_url":"mxc://%s/%s","displayname":%q,"membership":"join"}`,
		user.Server(), strings.Trim(string(user[:9]), "@:"), nameOf(user, w.depth)), user))
	w.members = append(w.members, user)
	w.move(user.Server(), 1)
}

func (w *yearsWrite) move(server id.ServerName, by int) {
	if w.moved == nil {
		w.moved = map[id.ServerName]bool{}
	}
	w.served[server] += by
	w.moved[server], w.receivers = true, nil
}

// sender is somebody in the room; few say most, and ours more than others.
func (w *yearsWrite) sender() id.UserID {
	x := w.random.Float64()
	return w.members[int(float64(len(w.members))*x*x*x)]
}

// something is what next happens in the room.
func (w *yearsWrite) something() {
	switch what := w.random.IntN(1000); {
	case what < 30: // a new name
		user := w.sender()
		w.add(state("m.room.member", string(user), fmt.Sprintf(`{"avatar_url":"mxc://%s/another","displayname":%q,"membership":"join"}`, user.Server(), nameOf(user, w.depth)), user))
	case what < 40 && len(w.aside) > 0:
		next := w.random.IntN(len(w.aside))
		user := w.aside[next]
		w.aside[next] = w.aside[len(w.aside)-1]
		w.aside = w.aside[:len(w.aside)-1]
		w.join(user)
	case what < 50 && len(w.members) > 5:
		last := len(w.members) - 1
		user := w.members[last]
		if user.Server() == yearsServer {
			w.say()
			return
		}
		w.members = w.members[:last]
		w.aside = append(w.aside, user)
		w.add(member(user, "leave", user))
		w.move(user.Server(), -1)
	case what < 52:
		w.add(state("m.room.topic", "", fmt.Sprintf(`{"topic":%q}`, phrase(w.random, 8)), w.creator()))
	case what < 110 && len(w.said) > 0 && !w.encrypted:
		w.add(event.Draft{Type: "m.reaction", Sender: w.sender(), Content: json.RawMessage(fmt.Sprintf(
			`{"m.relates_to":{"event_id":%q,"key":%q,"rel_type":"m.annotation"}}`, w.some(), reactions[w.random.IntN(len(reactions))]))})
	case what < 130 && len(w.said) > 0:
		w.add(event.Draft{Type: "m.room.message", Sender: w.sender(), Content: json.RawMessage(fmt.Sprintf(
			`{"body":%q,"m.relates_to":{"event_id":%q,"rel_type":"m.thread"},"msgtype":"m.text"}`, phrase(w.random, 12), w.some()))})
	case what < 134 && len(w.said) > 0:
		target := w.some()
		by := w.add(event.Draft{Type: "m.room.redaction", Sender: w.creator(), Redacts: target, Content: json.RawMessage(`{}`)})
		w.opts.Redactions = append(w.opts.Redactions, store.Redaction{Target: target, By: by})
	default:
		w.say()
	}
}

// creator is who may do all.
func (w *yearsWrite) creator() id.UserID { return w.members[0] }

func (w *yearsWrite) some() id.EventID { return w.said[w.random.IntN(len(w.said))] }

// say is a message.
func (w *yearsWrite) say() {
	d := event.Draft{Type: "m.room.message", Sender: w.sender()}
	if w.encrypted {
		d.Type = "m.room.encrypted"
		d.Content = json.RawMessage(fmt.Sprintf(`{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":%q,"device_id":"ABCDEFGHIJ","sender_key":%q,"session_id":%q}`,
			letters(w.random, 300), letters(w.random, 43), letters(w.random, 43)))
	} else {
		d.Content = json.RawMessage(fmt.Sprintf(`{"body":%q,"m.mentions":{},"msgtype":"m.text"}`, phrase(w.random, 4+w.random.IntN(24))))
	}
	e := w.add(d)
	if len(w.said) < 64 {
		w.said = append(w.said, e)
	} else {
		w.said[w.random.IntN(len(w.said))] = e
	}
}

// commit writes it.
func (w *yearsWrite) commit() error {
	c := room.Commit{
		RoomID: w.id, Rules: w.rules, Events: w.events, Forward: []id.EventID{w.forward}, Depth: w.depth, Current: w.state, Resident: true,
		Servers: map[id.ServerName]int{},
	}
	for _, change := range w.changes {
		if change.New != change.Old {
			c.Changes = append(c.Changes, change)
		}
	}
	for server := range w.moved {
		c.Servers[server] = w.served[server]
	}
	w.left -= len(w.events)
	if w.left < w.outgoing {
		if w.receivers == nil {
			for server, joined := range w.served {
				if joined > 0 && server != yearsServer {
					w.receivers = append(w.receivers, server)
				}
			}
		}
		for _, e := range w.events {
			if e.Event.Sender().Server() == yearsServer && len(w.receivers) > 0 {
				c.Send = append(c.Send, room.Send{Event: e.Event, Servers: w.receivers})
			}
		}
	}
	_, err := w.y.store.Commit(context.Background(), c, w.opts)
	return err
}

// accounts makes our users, with their devices and what these leave before they are in rooms: so no server is told of it.
func (y *years) accounts() {
	ctx := context.Background()
	now := time.Now()
	y.each(yearsUsers, func(i int) error {
		user := localUser(i)
		y.check(y.store.CreateUser(ctx, store.User{ID: user, Created: time.Unix(1_600_000_000, 0)}))
		y.check(y.store.SetProfileField(ctx, user, "displayname", json.RawMessage(strconv.Quote(nameOf(user, 0)))))
		for _, device := range []string{"PHONE", "TABLET", "BROWSER"} {
			token := store.HashToken(fmt.Sprintf("local%d %s", i, device))
			y.check(y.store.Login(ctx, store.Device{User: user, ID: device, DisplayName: device, Created: now, LastSeen: now}, token))
			upload := store.KeyUpload{User: user, Device: device, MaxOneTime: 100,
				DeviceKeys: json.RawMessage(fmt.Sprintf(`{"algorithms":["m.olm.v1.curve25519-aes-sha2"],"device_id":%q,"keys":{"curve25519:%s":"a","ed25519:%s":"b"},"user_id":%q}`, device, device, device, user))}
			for k := range 50 {
				upload.OneTime = append(upload.OneTime, store.OneTimeKey{Algorithm: "signed_curve25519", ID: fmt.Sprintf("AAAA%d", k), Key: json.RawMessage(`{"key":"0123456789012345678901234567890123456789012"}`)})
			}
			_, err := y.store.UploadKeys(ctx, upload)
			y.check(err)
		}
		_, err := y.store.SaveFilter(ctx, user, json.RawMessage(`{"room":{"state":{"lazy_load_members":true}}}`))
		y.check(err)
		for k := range 20 {
			y.check(y.store.AddMedia(ctx, store.Media{Server: yearsServer, ID: fmt.Sprintf("own%dx%d", i, k), File: fmt.Sprintf("aa/own%dx%d", i, k), User: user, ContentType: "image/png", Size: 100_000, Disk: 120_000, Created: now}, store.MediaQuota{}))
		}
		_, err = y.store.SetAccountData(ctx, user, "", "m.direct", json.RawMessage(`{}`))
		return err
	})
}

// clients leaves what clients leave in rooms.
func (y *years) clients() {
	ctx := context.Background()
	y.each(len(y.rooms), func(i int) error { // receipts, and how far users of ours have read
		r := y.rooms[i]
		var receipts []store.Receipt
		for k, user := range r.members {
			ours := user.Server() == yearsServer
			if !ours && k%3 > 0 {
				continue
			}
			receipts = append(receipts, store.Receipt{Room: r.id, Type: "m.read", User: user, Event: r.some(r.random), TS: y.clock.Load()})
			if ours {
				_, err := y.store.SetAccountData(ctx, user, r.id, "m.fully_read", json.RawMessage(fmt.Sprintf(`{"event_id":%q}`, r.some(r.random))))
				y.check(err)
			}
		}
		_, err := y.store.SaveReceipts(ctx, receipts)
		return err
	})
	y.each(yearsUsers, func(i int) error {
		_, err := y.store.SetPusher(ctx, store.Pusher{User: localUser(i), AppID: "org.example.app", PushKey: fmt.Sprint("key", i), Device: "PHONE", Updated: time.Now(),
			Upto: y.store.Position(), Data: json.RawMessage(`{"kind":"http","data":{"url":"https://push.example/_matrix/push/v1/notify"}}`)}, true)
		return err
	})
	y.each(200, func(i int) error { // messages that wait for a device that is rarely used
		user := localUser(i)
		request := store.ToDeviceRequest{Seen: store.SeenHash("years", strconv.Itoa(i))}
		for range 50 + 3000/(i+1) {
			request.Messages = append(request.Messages, store.ToDevice{User: user, Device: "TABLET",
				Message: json.RawMessage(fmt.Sprintf(`{"content":{"ciphertext":%q},"sender":"@person1:s1.example","type":"m.room.encrypted"}`, strings.Repeat("x", 900)))})
		}
		_, err := y.store.SaveToDevice(ctx, request)
		return err
	})
}

func (r *yearsRoom) some(random *rand.Rand) id.EventID { return r.said[random.IntN(len(r.said))] }

// servers leaves what other servers leave.
func (y *years) servers() {
	ctx := context.Background()
	now := time.Now()
	y.each(30_000, func(i int) error {
		user := otherUser(i * 3)
		d := store.RemoteDevices{User: user, Stream: int64(i + 1), Devices: map[string]json.RawMessage{}}
		for k := range 1 + i%4 {
			device := fmt.Sprint("DEVICE", k)
			d.Devices[device] = json.RawMessage(fmt.Sprintf(`{"device_id":%q,"keys":{"algorithms":["m.olm.v1.curve25519-aes-sha2","m.megolm.v1.aes-sha2"],"device_id":%q,"keys":{"curve25519:%s":%q,"ed25519:%s":%q},"signatures":{%q:{"ed25519:%s":%q}},"user_id":%q}}`,
				device, device, device, strings.Repeat("c", 43), device, strings.Repeat("e", 43), user, device, strings.Repeat("s", 86), user))
		}
		_, err := y.store.SaveRemoteDevices(ctx, d, nil, y.store.Position(), func() bool { return false })
		return err
	})
	y.each(20_000, func(i int) error {
		return y.store.AddMedia(ctx, store.Media{Server: otherUser(i).Server(), ID: fmt.Sprint("theirs", i), File: fmt.Sprint("bb/theirs", i), ContentType: "image/jpeg", Size: 50_000, Disk: 60_000, Created: now, Used: now}, store.MediaQuota{})
	})
	y.each(yearsServers, func(i int) error {
		server := id.ServerName(fmt.Sprintf("s%d.example", i))
		y.check(y.store.SaveKeys(ctx, []keys.ServerKeys{{ServerName: server, FetchedTS: now.UnixMilli(),
			Raw: json.RawMessage(fmt.Sprintf(`{"old_verify_keys":{},"server_name":%q,"valid_until_ts":%d,"verify_keys":{"ed25519:1":{"key":%q}}}`, server, now.Add(24*time.Hour).UnixMilli(), strings.Repeat("k", 43)))}}))
		if dead(i) {
			return y.store.SaveBackoff(ctx, server, federation.Backoff{Failures: 20, Since: now.Add(-30 * 24 * time.Hour), Kind: "DNS", Why: "no such host", Until: now.Add(time.Duration(i) * time.Second)})
		}
		for { // what the others were sent went out
			batch, err := y.store.Next(ctx, server, 50, 100)
			if err != nil || batch.Empty() {
				return err
			}
			if err := y.store.Done(ctx, server, batch); err != nil {
				return err
			}
		}
	})
}

var (
	topics    = []string{"cooking", "networks", "bicycles", "gardens", "astronomy", "old ships", "music", "the weather"}
	reactions = []string{"👍️", "❤️", "😂", "🎉"}
	syllables = []string{"ha", "mo", "ri", "ten", "sol", "ka", "be", "lu", "dor", "an", "vi", "es", "to", "gra", "ne", "pil"}
)

// phrase is of words of some thousand, few of which are most of what is said.
func phrase(random *rand.Rand, count int) string {
	var b strings.Builder
	for i := range count {
		if i > 0 {
			b.WriteByte(' ')
		}
		x := random.Float64()
		for n := int(30_000*x*x*x) + 16; n > 0; n /= 16 {
			b.WriteString(syllables[n%16])
		}
	}
	return b.String()
}

func nameOf(user id.UserID, when int64) string {
	return fmt.Sprintf("%s %d", user.Localpart(), when%7)
}

func letters(random *rand.Rand, count int) string {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	text := make([]byte, count)
	for i := range text {
		text[i] = all[random.IntN(len(all))]
	}
	return string(text)
}
