package bench

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"hanse/federation"
	"hanse/federation/event"
	"hanse/federation/id"
	"hanse/federation/roomstate"
	"hanse/testnet/wholestate"
)

// handler is what a server of the bench answers: its keys, transactions, and the rooms it is resident in.
func (s *server) handler() http.Handler {
	const v1, v2 = "/_matrix/federation/v1/", "/_matrix/federation/v2/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_matrix/key/v2/server", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.keys) })
	mux.HandleFunc("GET "+v1+"version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []byte(`{"server":{"name":"bench","version":"1"}}`))
	})
	mux.HandleFunc("PUT "+v1+"send/{txn}", s.serveSend)
	mux.HandleFunc("GET "+v1+"make_join/{room}/{user}", s.inRoom(s.serveMakeJoin))
	mux.HandleFunc("PUT "+v2+"send_join/{room}/{event}", s.inRoom(s.serveSendJoin))
	mux.HandleFunc("GET "+v1+"event/{event}", s.serveEvent)
	mux.HandleFunc("GET "+v1+"state/{room}", s.inRoom(s.serveState))
	mux.HandleFunc("GET "+v1+"state_ids/{room}", s.inRoom(s.serveStateIDs))
	mux.HandleFunc("GET "+v1+"event_auth/{room}/{event}", s.inRoom(s.serveEventAuth))
	mux.HandleFunc("GET "+v1+"backfill/{room}", s.inRoom(s.serveBackfill))
	mux.HandleFunc("POST "+v1+"get_missing_events/{room}", s.inRoom(s.serveMissing))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, federation.CodeUnrecognized, "the bench has no such endpoint")
	})
	return mux
}

func answer(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // who went away misses it
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(map[string]any{"errcode": code, "error": message}))
}

// serveSend writes a transaction down. What is in it is judged later.
func (s *server) serveSend(w http.ResponseWriter, q *http.Request) {
	body, err := readBody(q)
	if err != nil {
		return // the sender went away, and sends it again
	}
	s.world.box().add(arrival{
		server: s.index, at: time.Now(), txn: q.PathValue("txn"), uri: q.RequestURI, authorization: q.Header.Get("Authorization"), body: body,
	})
	answer(w, []byte(`{"pdus":{}}`))
}

func readBody(q *http.Request) ([]byte, error) {
	if q.ContentLength < 0 || q.ContentLength > maxBody {
		return io.ReadAll(io.LimitReader(q.Body, maxBody))
	}
	body := make([]byte, q.ContentLength)
	_, err := io.ReadFull(q.Body, body)
	return body, err
}

func (s *server) inRoom(serve func(w http.ResponseWriter, q *http.Request, r *room)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		r := s.world.room(id.RoomID(q.PathValue("room")))
		if r == nil {
			refuse(w, http.StatusNotFound, federation.CodeNotFound, "the bench has no such room")
			return
		}
		serve(w, q, r)
	}
}

func (s *server) serveMakeJoin(w http.ResponseWriter, q *http.Request, r *room) {
	user := q.PathValue("user")
	tip, state := r.end()
	draft := stateDraft(id.UserID(user), "m.room.member", user, map[string]any{"membership": "join"})
	draft.RoomID, draft.Depth, draft.PrevEvents = r.id, tip.Depth()+1, []id.EventID{tip.ID()}
	draft.AuthEvents, draft.OriginServerTS = r.selection(draft, state), time.Now().UnixMilli()
	template, err := draft.Template(r.rules, s.name)
	if err != nil {
		refuse(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	answer(w, encode(map[string]any{"room_version": string(r.rules.Version), "event": json.RawMessage(template)}))
}

// serveSendJoin takes a join and answers with the room's state, which was encoded before.
func (s *server) serveSendJoin(w http.ResponseWriter, q *http.Request, r *room) {
	raw, err := readBody(q)
	if err != nil {
		return
	}
	join, err := event.Parse(r.rules, raw)
	if err != nil {
		refuse(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	if err := r.join(join); err != nil {
		refuse(w, http.StatusBadRequest, federation.CodeBadJSON, err.Error())
		return
	}
	s.world.mu.Lock()
	whole := s.world.whole
	s.world.mu.Unlock()
	body := []byte(`{"event":` + string(join.JSON()) + `,"origin":` + strconv.Quote(string(s.name)) + `,`)
	if q.URL.Query().Get("omit_members") == "true" && !whole {
		body = append(append(body, r.lazyAnswer(join)...), '}')
	} else {
		body = append(append(body, r.stateAnswer(join.PrevEvents()[0])...), '}')
	}
	answer(w, body)
	s.world.mu.Lock()
	joined := s.world.joins
	s.world.mu.Unlock()
	if joined != nil {
		joined(r, time.Now())
	}
}

// prepare encodes the answer to the next send_join, before the clock starts.
func (r *room) prepare() {
	tip, _ := r.end()
	r.stateAnswer(tip.ID())
}

// stateAnswer is `"members_omitted":false,"state":[…],"auth_chain":[…]` of the state after an event.
func (r *room) stateAnswer(at id.EventID) []byte {
	r.mu.Lock()
	state := r.after[at]
	if r.answer != nil && r.at == state.Hash() {
		defer r.mu.Unlock()
		return r.answer
	}
	r.mu.Unlock()
	events, authChain := r.stateEvents(state)
	encoded := append([]byte(`"members_omitted":false,"state":`), list(events)...)
	encoded = append(append(encoded, `,"auth_chain":`...), list(authChain)...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer, r.at = encoded, state.Hash()
	return encoded
}

// lazyAnswer is the same without the members, but for those whom the others' auth chain needs (faster joins).
func (r *room) lazyAnswer(join *event.Event) []byte {
	r.mu.Lock()
	full := r.after[join.PrevEvents()[0]]
	r.mu.Unlock()
	var lazy roomstate.Map
	servers := map[id.ServerName]bool{join.Sender().Server(): true}
	for key, eventID := range wholestate.All(full) {
		if key.Type != "m.room.member" {
			lazy = wholestate.With(lazy, key.Type, key.StateKey, eventID)
			continue
		}
		servers[id.UserID(key.StateKey).Server()] = true
	}
	events, authChain := r.stateEvents(lazy)
	names := make([]string, 0, len(servers))
	for name := range servers {
		names = append(names, string(name))
	}
	encoded := append([]byte(`"members_omitted":true,"servers_in_room":`), encode(names)...)
	encoded = append(append(encoded, `,"state":`...), list(events)...)
	return append(append(encoded, `,"auth_chain":`...), list(authChain)...)
}

// list is a JSON list of events.
func list(events []*event.Event) []byte {
	size := 2
	for _, e := range events {
		size += len(e.JSON()) + 1
	}
	encoded := append(make([]byte, 0, size), '[')
	for i, e := range events {
		if i > 0 {
			encoded = append(encoded, ',')
		}
		encoded = append(encoded, e.JSON()...)
	}
	return append(encoded, ']')
}

func (s *server) serveEvent(w http.ResponseWriter, q *http.Request) {
	s.world.mu.Lock()
	rooms := make([]*room, 0, len(s.world.rooms))
	for _, r := range s.world.rooms {
		rooms = append(rooms, r)
	}
	s.world.mu.Unlock()
	for _, r := range rooms {
		if e := r.event(id.EventID(q.PathValue("event"))); e != nil {
			s.answerPDUs(w, []*event.Event{e})
			return
		}
	}
	refuse(w, http.StatusNotFound, federation.CodeNotFound, "the bench has no such event")
}

// stateBefore is the state before an event: after the one it is on top of.
func (r *room) stateBefore(eventID id.EventID) (roomstate.Map, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.events[eventID]
	if e == nil || len(e.PrevEvents()) == 0 {
		return roomstate.Map{}, false
	}
	state, ok := r.after[e.PrevEvents()[0]]
	return state, ok
}

func (s *server) serveState(w http.ResponseWriter, q *http.Request, r *room) {
	state, ok := r.stateBefore(id.EventID(q.URL.Query().Get("event_id")))
	if !ok {
		refuse(w, http.StatusNotFound, federation.CodeNotFound, "the bench does not know the state there")
		return
	}
	events, authChain := r.stateEvents(state)
	body := append([]byte(`{"pdus":`), list(events)...)
	body = append(append(body, `,"auth_chain":`...), list(authChain)...)
	answer(w, append(body, '}'))
}

func (s *server) serveStateIDs(w http.ResponseWriter, q *http.Request, r *room) {
	state, ok := r.stateBefore(id.EventID(q.URL.Query().Get("event_id")))
	if !ok {
		refuse(w, http.StatusNotFound, federation.CodeNotFound, "the bench does not know the state there")
		return
	}
	events, authChain := r.stateEvents(state)
	answer(w, encode(map[string]any{"pdu_ids": ids(events), "auth_chain_ids": ids(authChain)}))
}

func (s *server) serveEventAuth(w http.ResponseWriter, q *http.Request, r *room) {
	e := r.event(id.EventID(q.PathValue("event")))
	if e == nil {
		refuse(w, http.StatusNotFound, federation.CodeNotFound, "the bench has no such event")
		return
	}
	var state roomstate.Map
	_, authChain := r.stateEvents(wholestate.With(state, e.Type(), "", e.ID()))
	body := append([]byte(`{"auth_chain":`), list(authChain)...)
	answer(w, append(body, '}'))
}

func (s *server) serveBackfill(w http.ResponseWriter, q *http.Request, r *room) {
	var from []id.EventID
	for _, v := range q.URL.Query()["v"] {
		from = append(from, id.EventID(v))
	}
	limit, err := strconv.Atoi(q.URL.Query().Get("limit"))
	if err != nil {
		limit = missedPerAnswer
	}
	s.answerPDUs(w, r.missing(from, nil, min(limit, missedPerAnswer), true))
}

func (s *server) serveMissing(w http.ResponseWriter, q *http.Request, r *room) {
	var ask federation.MissingEventsRequest
	body, err := readBody(q)
	if err != nil || json.Unmarshal(body, &ask) != nil {
		refuse(w, http.StatusBadRequest, federation.CodeNotJSON, "the body is not what was expected")
		return
	}
	events := r.missing(ask.LatestEvents, ask.EarliestEvents, min(ask.Limit, missedPerAnswer), false)
	answer(w, append(append([]byte(`{"events":`), list(events)...), '}'))
}

func (s *server) answerPDUs(w http.ResponseWriter, events []*event.Event) {
	body := encode(map[string]any{"origin": s.name, "origin_server_ts": time.Now().UnixMilli()})
	body = append(append(body[:len(body)-1], `,"pdus":`...), list(events)...)
	answer(w, append(body, '}'))
}

func ids(events []*event.Event) []id.EventID {
	found := make([]id.EventID, len(events))
	for i, e := range events {
		found[i] = e.ID()
	}
	return found
}
