package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"hanse/federation"
	"hanse/federation/canonicaljson"
	"hanse/federation/exactjson"
	"hanse/federation/id"
	"hanse/node/store"
)

// Pusher is how a client sees one.
//
// spec:client-server-api#get_matrixclientv3pushers
type Pusher struct {
	AppID             string          `json:"app_id"`
	PushKey           string          `json:"pushkey"`
	Kind              string          `json:"kind"`
	AppDisplayName    string          `json:"app_display_name"`
	DeviceDisplayName string          `json:"device_display_name"`
	ProfileTag        string          `json:"profile_tag,omitempty"`
	Lang              string          `json:"lang"`
	Data              json.RawMessage `json:"data"`
}

// Config is what pushing needs. Store and Source must be set.
type Config struct {
	Store  *store.Store
	Source Source
	// Client calls push gateways; nothing else should be reachable through it than what users may have this server call.
	Client *http.Client
	// AllowHTTP lets gateways be called without TLS.
	AllowHTTP bool
	// Log may be nil: silent.
	Log *slog.Logger
}

// Pushers tells push gateways what users are notified of. It follows the commits and never makes one wait. Safe for
// concurrent use.
//
// spec:push-gateway-api#homeserver-behaviour
type Pushers struct {
	config  Config
	log     *slog.Logger
	feed    *store.Follower
	looking chan struct{} // bounds the pushers that look for what is new at a time
	slots   chan struct{} // bounds the gateways that are called at a time
	moved   chan struct{} // a pusher is further than is saved

	// reading is held from a look into the store until what it gave is in users: an older one must not undo a newer one.
	reading sync.Mutex
	mu      sync.Mutex
	users   map[id.UserID]map[pusherKey]*worker // guarded by mu
	workers sync.WaitGroup
	ctx     context.Context // guarded by mu: Run's; nil before it
}

type pusherKey struct{ appID, pushKey string }

// NewPushers makes it; Run does the pushing.
func NewPushers(config Config) (*Pushers, error) {
	if config.Store == nil || config.Source == nil || config.Client == nil {
		return nil, errors.New("push: Store, Source and Client are needed")
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Pushers{
		config: config, log: config.Log.With("part", "push"), feed: config.Store.Follow(feedBuffer),
		looking: make(chan struct{}, maxLooking), slots: make(chan struct{}, maxGateways), moved: make(chan struct{}, 1), users: map[id.UserID]map[pusherKey]*worker{},
	}, nil
}

// List gives a user's pushers.
func (p *Pushers) List(ctx context.Context, user id.UserID) ([]Pusher, error) {
	stored, err := p.config.Store.Pushers(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]Pusher, 0, len(stored))
	for _, s := range stored {
		list = append(list, readPusher(s))
	}
	return list, nil
}

func readPusher(s store.Pusher) Pusher {
	var pusher Pusher
	_ = exactjson.Unmarshal(s.Data, &pusher) // it was written by Set
	pusher.AppID, pusher.PushKey = s.AppID, s.PushKey
	return pusher
}

// Set stores a user's pusher, which lives as long as the device that set it. Unless oneMore, those of other users with the
// same app and key go: somebody else has the app now. Errors: M_MISSING_PARAM, M_INVALID_PARAM.
//
// spec:client-server-api#post_matrixclientv3pushersset
func (p *Pushers) Set(ctx context.Context, user id.UserID, device string, pusher Pusher, oneMore bool) error {
	if err := p.check(pusher); err != nil {
		return err
	}
	mine, err := p.config.Store.Pushers(ctx, user)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(mine, func(s store.Pusher) bool { return s.AppID == pusher.AppID && s.PushKey == pusher.PushKey })
	if !known && len(mine) >= maxPushers {
		return federation.InvalidParam(fmt.Sprintf("a user has at most %d pushers", maxPushers))
	}
	data, err := canonicaljson.Append(nil, pusher.Data, canonicaljson.Lenient)
	if err != nil {
		return federation.BadJSON("data is not JSON as Matrix has it: " + err.Error())
	}
	pusher.Data = data
	raw, err := json.Marshal(pusher)
	if err != nil {
		return err
	}
	others, err := p.config.Store.SetPusher(ctx, store.Pusher{
		User: user, AppID: pusher.AppID, PushKey: pusher.PushKey, Device: device, Data: raw, Updated: time.Now(),
	}, oneMore)
	if err != nil {
		return err
	}
	for _, changed := range append(others, user) {
		err = errors.Join(err, p.loadUser(ctx, changed))
	}
	return err
}

// Delete removes a user's pusher, if there is one.
func (p *Pushers) Delete(ctx context.Context, user id.UserID, appID, pushKey string) error {
	if err := checkKey(appID, pushKey); err != nil {
		return err
	}
	if err := p.config.Store.DeletePusher(ctx, user, appID, pushKey); err != nil {
		return err
	}
	return p.loadUser(ctx, user)
}

func checkKey(appID, pushKey string) error {
	switch {
	case appID == "" || utf8.RuneCountInString(appID) > maxAppID || !utf8.ValidString(appID):
		return federation.InvalidParam(fmt.Sprintf("app_id has 1 to %d characters", maxAppID))
	case pushKey == "" || len(pushKey) > maxPushKey || !utf8.ValidString(pushKey):
		return federation.InvalidParam(fmt.Sprintf("pushkey has 1 to %d bytes", maxPushKey))
	}
	return nil
}

func (p *Pushers) check(pusher Pusher) error {
	if err := checkKey(pusher.AppID, pusher.PushKey); err != nil {
		return err
	}
	if pusher.Kind != "http" {
		return federation.InvalidParam(fmt.Sprintf("pushers of the kind %q are not offered, only http", pusher.Kind))
	}
	for _, text := range []string{pusher.AppDisplayName, pusher.DeviceDisplayName, pusher.ProfileTag, pusher.Lang} {
		if len(text) > maxPusherText {
			return federation.InvalidParam(fmt.Sprintf("the texts of a pusher have at most %d bytes", maxPusherText))
		}
	}
	if len(pusher.Data) > maxPusherData || !canonicaljson.IsObject(pusher.Data) {
		return federation.InvalidParam(fmt.Sprintf("data is an object of at most %d bytes", maxPusherData))
	}
	address, err := gatewayURL(pusher.Data)
	switch {
	case err != nil:
		return federation.InvalidParam(err.Error())
	case address.Path != "/_matrix/push/v1/notify":
		return federation.InvalidParam("data.url must have the path /_matrix/push/v1/notify")
	case address.Scheme != "https" && (address.Scheme != "http" || !p.config.AllowHTTP):
		return federation.InvalidParam("data.url must be an HTTPS URL")
	}
	return nil
}

// gatewayURL reads where a pusher's gateway is.
func gatewayURL(data json.RawMessage) (*url.URL, error) {
	var where struct {
		URL    string `json:"url"`
		Format string `json:"format"`
	}
	if err := exactjson.Unmarshal(data, &where); err != nil {
		return nil, errors.New("data.url and data.format must be texts")
	}
	if where.URL == "" {
		return nil, errors.New("data.url is missing")
	}
	address, err := url.Parse(where.URL)
	if err != nil || address.Host == "" || address.User != nil || address.Fragment != "" {
		return nil, errors.New("data.url is not the URL of a push gateway")
	}
	return address, nil
}

// Run pushes until ctx ends.
func (p *Pushers) Run(ctx context.Context) error {
	defer p.feed.Close()
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()
	for err := p.load(ctx); err != nil && ctx.Err() == nil; err = p.load(ctx) {
		p.log.Error("the pushers can't be read; nobody is notified until they can", "error", err)
		select {
		case <-time.After(loadPause):
		case <-ctx.Done():
		}
	}
	p.startAll(everybody(looks))
	var saving <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			p.workers.Wait()
			p.save(context.WithoutCancel(ctx))
			return nil
		case <-p.feed.Wake:
			p.follow(ctx)
		case <-p.moved:
			if saving == nil {
				saving = time.After(saveCursors)
			}
		case <-saving:
			saving = nil
			p.save(ctx)
		}
	}
}

// load brings what is in memory to what is stored.
func (p *Pushers) load(ctx context.Context) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	all, err := p.config.Store.AllPushers(ctx)
	if err != nil {
		return err
	}
	of := map[id.UserID][]store.Pusher{}
	for _, s := range all {
		of[s.User] = append(of[s.User], s)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.users {
		if of[user] == nil {
			p.replace(user, nil)
		}
	}
	for user, list := range of {
		p.replace(user, list)
	}
	return nil
}

func (p *Pushers) loadUser(ctx context.Context, user id.UserID) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	list, err := p.config.Store.Pushers(ctx, user)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replace(user, list)
	return nil
}

// replace sets a user's pushers. The caller holds mu.
func (p *Pushers) replace(user id.UserID, list []store.Pusher) {
	old, workers := p.users[user], map[pusherKey]*worker{}
	for _, s := range list {
		key := pusherKey{s.AppID, s.PushKey}
		w := old[key]
		if w == nil {
			w = &worker{pushers: p, key: key, user: user, upto: s.Upto, saved: s.Upto, badge: -1}
		}
		w.stored = s
		workers[key] = w
		if old[key] == nil {
			p.start(w, looks)
		}
	}
	for key, w := range old {
		w.gone = workers[key] == nil
	}
	if p.users[user] = workers; len(workers) == 0 {
		delete(p.users, user)
	}
}

// follow finds out whose pushers may have something to do.
func (p *Pushers) follow(ctx context.Context) {
	notices, _, lost := p.feed.Take()
	p.mu.Lock()
	nobody := len(p.users) == 0
	p.mu.Unlock()
	if nobody {
		return
	}
	rooms, users := map[id.RoomID]bool{}, map[id.UserID]why{}
	for _, notice := range notices {
		if notice.Kind == store.KindEvents {
			rooms[notice.Room] = true
		}
		for _, user := range notice.Users {
			users[user] = acted
		}
	}
	for room := range rooms {
		joined, err := p.config.Store.LocalJoined(ctx, room)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("who is to be notified can't be read; everybody is looked after", "room", room, "error", err)
			lost = true
		}
		for _, user := range joined {
			users[user] = max(users[user], looks)
		}
	}
	if lost {
		p.startAll(everybody(acted))
		return
	}
	p.startAll(func(user id.UserID) why { return users[user] })
}

// why is why a pusher is started.
type why int

const (
	rests why = iota // it isn't
	looks            // there may be something to push
	acted            // its user may have read something, too
)

func everybody(w why) func(id.UserID) why { return func(id.UserID) why { return w } }

// startAll has the pushers of some users look for what is new.
func (p *Pushers) startAll(of func(id.UserID) why) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user, workers := range p.users {
		reason := of(user)
		if reason == rests {
			continue
		}
		for _, w := range workers {
			p.start(w, reason)
		}
	}
}

// save writes down how far the pushers are. What isn't saved is pushed again after a start, and known by its event's ID.
func (p *Pushers) save(ctx context.Context) {
	p.mu.Lock()
	var list []store.Pusher
	for _, workers := range p.users {
		for _, w := range workers {
			if w.upto > w.saved {
				w.saved = w.upto
				moved := w.stored
				moved.Upto = w.upto
				list = append(list, moved)
			}
		}
	}
	p.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if err := p.config.Store.Pushed(ctx, list); err != nil && ctx.Err() == nil {
		p.log.Warn("how far users were notified was not saved; after a restart some may be notified again", "error", err)
	}
}
