package clientapi

import (
	"crypto/rand"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"hanse/federation"
)

// The names under which the meeting place for logins by QR code is served while it is no part of the specification. One of two devices makes
// a meeting and shows its address in a QR code; the other scans it; then each leaves a message, encrypted for the other, and looks every second for
// the next one. MSC4108 (as of 2024) is what matrix-rust-sdk, Element X and Element Web use; MSC4388 is what follows it.
const (
	meetingFeature      = "org.matrix.msc4108"
	newerMeetingFeature = "io.element.msc4388"
	meetingPath         = "/_matrix/client/unstable/" + meetingFeature + "/rendezvous"
	newerMeetingPath    = "/_matrix/client/unstable/" + newerMeetingFeature + "/rendezvous"
)

// rendezvousRoutes are there with the OAuth 2.0 API alone, as such logins use its grant for devices.
func (a *API) rendezvousRoutes() []route {
	if !a.config.OAuth {
		return nil
	}
	const one = "/{sessionId}"
	return []route{
		{http.MethodPost, meetingPath, unversioned, withoutUser, logsIn, a.makeMeeting},
		{http.MethodGet, meetingPath + one, unversioned, withoutUser, ordinary, a.readMeeting},
		{http.MethodPut, meetingPath + one, unversioned, withoutUser, ordinary, a.writeMeeting},
		{http.MethodDelete, meetingPath + one, unversioned, withoutUser, ordinary, a.endMeeting},

		{http.MethodGet, newerMeetingPath, unversioned, withoutUser, ordinary, a.mayMeet},
		{http.MethodPost, newerMeetingPath, unversioned, withoutUser, logsIn, a.makeNewerMeeting},
		{http.MethodGet, newerMeetingPath + one, unversioned, withoutUser, ordinary, a.readNewerMeeting},
		{http.MethodPut, newerMeetingPath + one, unversioned, withoutUser, ordinary, a.writeNewerMeeting},
		{http.MethodPut, newerMeetingPath + one + "/{txnId}", unversioned, withoutUser, ordinary, a.writeNewerMeeting}, // as matrix-rust-sdk will
		{http.MethodDelete, newerMeetingPath + one, unversioned, withoutUser, ordinary, a.endNewerMeeting},
	}
}

// meeting is where two devices leave messages for each other, of which the newest is kept.
type meeting struct {
	from    string // the address of who made it
	expires time.Time

	data    string
	token   string // of data: another one for each message, also where the text is the same
	changed time.Time

	sent []sentMessage // the newest that had a transaction ID
}

type sentMessage struct{ txnID, token string }

func (m *meeting) set(data string, now time.Time) {
	m.data, m.token, m.changed = data, rand.Text(), now
}

// meetings are those under way. They are in memory: after a restart people scan again. Safe for concurrent use.
type meetings struct {
	mu  sync.Mutex
	all map[string]*meeting // guarded by mu
}

// open makes a meeting. When there are too many of an address, or at all, the oldest of those ends.
func (m *meetings) open(from, data string) (id string, made meeting) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var oldest, oldestFrom string
	older := func(id, than string) bool { return than == "" || m.all[id].expires.Before(m.all[than].expires) }
	count := 0
	for id, other := range m.all {
		if now.After(other.expires) {
			delete(m.all, id)
			continue
		}
		if older(id, oldest) {
			oldest = id
		}
		if other.from == from {
			count++
			if older(id, oldestFrom) {
				oldestFrom = id
			}
		}
	}
	switch {
	case count >= maxMeetingsEach:
		delete(m.all, oldestFrom)
	case len(m.all) >= maxMeetings:
		delete(m.all, oldest)
	}
	id, made = rand.Text(), meeting{from: from, expires: now.Add(meetingLife)}
	made.set(data, now)
	kept := made
	if m.all == nil {
		m.all = map[string]*meeting{}
	}
	m.all[id] = &kept
	return id, made
}

// change lets do see and change a meeting; what it is then is returned. An error is M_NOT_FOUND, or do's.
func (m *meetings) change(id string, do func(*meeting) error) (meeting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.all[id]
	if !ok || time.Now().After(found.expires) {
		return meeting{}, notFound("there is no such meeting, or not any more: show a new QR code")
	}
	err := do(found)
	return *found, err
}

func (m *meetings) find(id string) (meeting, error) {
	return m.change(id, func(*meeting) error { return nil })
}

func (m *meetings) end(id string) error {
	_, err := m.change(id, func(*meeting) error {
		delete(m.all, id)
		return nil
	})
	return err
}

func (a *API) openMeeting(r *request, data string) (string, meeting) {
	return a.meetings.open(limitedPrefix(a.address(r.Request)), data)
}

// messageFits holds a message against the bounds of one.
func messageFits(data string) error {
	if len(data) > maxMeetingBytes {
		return &federation.Error{Status: http.StatusRequestEntityTooLarge, Code: "M_TOO_LARGE",
			Message: fmt.Sprintf("the message is longer than %d bytes", maxMeetingBytes)}
	}
	if !utf8.ValidString(data) {
		return invalidParam("the message is not UTF-8")
	}
	return nil
}

// notShown refuses to hand out a message, which anybody can have written, as a page. Browsers tell what they ask for.
func notShown(r *request) error {
	dest := r.Header.Get("Sec-Fetch-Dest")
	if dest != "" && dest != "empty" || r.Header.Get("Sec-Fetch-Mode") == "navigate" || r.Header.Get("Sec-Fetch-User") == "?1" ||
		r.Header.Get("Sec-Fetch-Site") == "none" {
		return forbidden("this is for clients, not to be looked at in a browser")
	}
	return nil
}

// meetingText reads a message of MSC4108: the body as it is.
func meetingText(r *request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return "", invalidParam("the body must be text/plain")
	}
	raw, err := r.body()
	if err != nil {
		return "", err
	}
	return string(raw), messageFits(string(raw))
}

// showMeeting sets the headers of MSC4108. Clients read a message's token in ETag, and compare it as it stands there: no-transform asks proxies
// to leave it so.
func showMeeting(r *request, m meeting) {
	h := r.writer.Header()
	h.Set("ETag", `"`+m.token+`"`)
	h.Set("Expires", m.expires.UTC().Format(http.TimeFormat))
	h.Set("Last-Modified", m.changed.UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("Pragma", "no-cache")
}

// named tells whether a header, If-Match or If-None-Match, names a message. Proxies that compress all the same make the name a weak one (W/),
// which says no less of a message.
func named(header []string, m meeting) bool {
	for tag := range strings.SplitSeq(strings.Join(header, ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == `"`+m.token+`"` {
			return true
		}
	}
	return false
}

func (a *API) makeMeeting(r *request) (any, error) {
	text, err := meetingText(r)
	if err != nil {
		return nil, err
	}
	id, m := a.openMeeting(r, text)
	showMeeting(r, m)
	return answer{status: http.StatusCreated, body: map[string]string{"url": a.base() + meetingPath + "/" + id}}, nil
}

func (a *API) readMeeting(r *request) (any, error) {
	if err := notShown(r); err != nil {
		return nil, err
	}
	m, err := a.meetings.find(r.PathValue("sessionId"))
	if err != nil {
		return nil, err
	}
	showMeeting(r, m)
	if named(r.Header["If-None-Match"], m) {
		r.writer.WriteHeader(http.StatusNotModified)
		return served{http.StatusNotModified}, nil
	}
	r.writer.Header().Set("Content-Type", "text/plain") // clients want it so, without parameters
	r.writer.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(r.writer, m.data) // the client is gone: nothing to do
	return served{http.StatusOK}, nil
}

func (a *API) writeMeeting(r *request) (any, error) {
	text, err := meetingText(r)
	if err != nil {
		return nil, err
	}
	if r.Header.Get("If-Match") == "" {
		return nil, missingParam("the header If-Match")
	}
	written := false
	m, err := a.meetings.change(r.PathValue("sessionId"), func(m *meeting) error {
		if written = named(r.Header["If-Match"], *m); written {
			m.set(text, time.Now())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	showMeeting(r, m)
	if !written {
		return answer{status: http.StatusPreconditionFailed, body: map[string]string{
			"errcode": "M_UNKNOWN", "error": "there is another message meanwhile", meetingFeature + ".errcode": "M_CONCURRENT_WRITE"}}, nil
	}
	r.writer.WriteHeader(http.StatusAccepted)
	return served{http.StatusAccepted}, nil
}

func (a *API) endMeeting(r *request) (any, error) {
	if err := a.meetings.end(r.PathValue("sessionId")); err != nil {
		return nil, err
	}
	r.writer.WriteHeader(http.StatusNoContent)
	return served{http.StatusNoContent}, nil
}

// mayMeet tells clients of MSC4388 that they can make meetings.
func (a *API) mayMeet(*request) (any, error) {
	return map[string]bool{"create_available": true}, nil
}

// newerMessage is what clients of MSC4388 send.
type newerMessage struct {
	Data          *string `json:"data"`
	SequenceToken *string `json:"sequence_token"`
}

func readNewerMessage(r *request) (form newerMessage, err error) {
	if err = r.decode(&form); err != nil {
		return form, err
	}
	if form.Data == nil {
		return form, missingParam("data")
	}
	return form, messageFits(*form.Data)
}

func untilExpiry(m meeting) int64 { return max(time.Until(m.expires).Milliseconds(), 0) }

func (a *API) makeNewerMeeting(r *request) (any, error) {
	form, err := readNewerMessage(r)
	if err != nil {
		return nil, err
	}
	id, m := a.openMeeting(r, *form.Data)
	return map[string]any{"id": id, "sequence_token": m.token, "expires_in_ms": untilExpiry(m)}, nil
}

func (a *API) readNewerMeeting(r *request) (any, error) {
	if err := notShown(r); err != nil {
		return nil, err
	}
	m, err := a.meetings.find(r.PathValue("sessionId"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"data": m.data, "sequence_token": m.token, "expires_in_ms": untilExpiry(m)}, nil
}

func (a *API) writeNewerMeeting(r *request) (any, error) {
	form, err := readNewerMessage(r)
	if err != nil {
		return nil, err
	}
	if form.SequenceToken == nil {
		return nil, missingParam("sequence_token")
	}
	txnID, err := r.txnID() // "" in the older form
	if err != nil {
		return nil, err
	}
	var token string
	m, err := a.meetings.change(r.PathValue("sessionId"), func(m *meeting) error {
		before := slices.IndexFunc(m.sent, func(sent sentMessage) bool { return sent.txnID == txnID })
		if before >= 0 { // it was written, and its answer lost
			token = m.sent[before].token
			return nil
		}
		if m.token != *form.SequenceToken {
			return &federation.Error{Status: http.StatusConflict, Code: "IO_ELEMENT_MSC4388_CONCURRENT_WRITE", Message: "there is another message meanwhile"}
		}
		m.set(*form.Data, time.Now())
		if token = m.token; txnID != "" {
			m.sent = append(m.sent[max(0, len(m.sent)+1-maxMeetingSent):], sentMessage{txnID, token})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"sequence_token": token, "expires_in_ms": untilExpiry(m)}, nil
}

func (a *API) endNewerMeeting(r *request) (any, error) {
	return nil, a.meetings.end(r.PathValue("sessionId"))
}
