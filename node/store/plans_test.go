package store_test

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"hanse/node/store"
	"hanse/node/store/sqlite"
)

// asked are the statements of the suite's stores on SQLite, which decides by the indexes that there are how they are answered: an
// empty database tells it of a large one.
var asked = struct {
	sync.Mutex
	statements map[string]bool // guarded by the mutex
}{statements: map[string]bool{}}

// noteStatements is called before the store is stopped.
func noteStatements(s *store.Store, d store.Dialect) {
	if d.Name != "SQLite" {
		return
	}
	asked.Lock()
	defer asked.Unlock()
	for _, text := range append(s.WritingStatements(), s.ReadingStatements()...) {
		asked.statements[text] = true
	}
}

// wholesale are the statements that may go through a whole table, or all members of a room and the like: a part of the text, and why.
var wholesale = map[string]string{
	"FROM counters":                                             "one row",
	"WITH RECURSIVE n(i)":                                       "a test's",
	"FROM client_txn_batches":                                   "a row for some 100,000 events of two weeks",
	"FROM search_state":                                         "one row",
	"UPDATE counters":                                           "one row",
	"UPDATE search_state":                                       "one row",
	") AS oldest)":                                              "a batch of the oldest, in the order of an index",
	"DELETE FROM login_tokens WHERE expires <":                  "those of two minutes",
	"COUNT(*) FROM email_sessions":                              "those of an hour",
	"FROM email_sessions WHERE address IN":                      "those of an hour, 10,000 at most, when a password is changed",
	"DELETE FROM media WHERE expires > 0":                       "by an index of those that were not uploaded",
	"SET stale = 1 WHERE stale = 0":                             "when the database was put back",
	"UPDATE device_changes SET position = $1":                   "when the database was put back",
	"FROM search_pending":                                       "a batch of what waits",
	"FROM moved":                                                "those of the tail",
	"FROM partial_rooms":                                        "few; at the start",
	"FROM oauth_clients":                                        "at most 10,000; when one is new",
	"FROM oauth_codes":                                          "at most 10,000, of 15 minutes",
	"FROM application_services":                                 "few",
	"FROM status_messages":                                      "at the start: who says something",
	"FROM users WHERE":                                          "at the start: users of ours",
	"FROM pushers  ORDER BY":                                    "at the start: pushers of users of ours",
	"WHERE last_seen > 0":                                       "at the start: devices of users of ours",
	"FROM outbox_":                                              "at the start, or for an operator; bounded by outboxLog and a row a server and room",
	"FROM backoffs":                                             "at the start: servers",
	"FROM rooms LIMIT $1":                                       "at the start: rooms",
	"FROM rooms JOIN staged":                                    "at the start: rooms",
	"AND user_id LIKE $3":                                       "at the start, behind it",
	"FROM staged JOIN rooms":                                    "for an operator",
	"FROM gaps JOIN rooms":                                      "for an operator",
	"AS shared FROM room_servers":                               "for an operator",
	"joined > 0 AND resident = 1 ORDER BY":                      "for an operator",
	"SUM(CASE WHEN position <> 0":                               "for an operator",
	"FROM one_time_keys WHERE position <= $":                    "when the database was put back",
	"AS directory JOIN rooms":                                   "published rooms, once for all who ask",
	"FROM directory JOIN rooms":                                 "published rooms, once for all who ask",
	"remote_device_lists WHERE NOT EXISTS":                      "every ten minutes, a lookup a user",
	"FROM reports ORDER BY number":                              "as many as are asked for, from the end",
	"AS kept FROM reports":                                      "ten thousand at most, users.maxReportsKept",
	"FROM delayed_events ORDER BY send_at":                      "as many as are asked for, in the order of an index",
	"FROM members WHERE room = $1 ORDER":                        "all members are asked for",
	"FROM members WHERE room = $1 AND membership = $2 ORDER":    "all members are asked for",
	"FROM members WHERE room = $1 AND membership <> $2 ORDER":   "all members are asked for",
	"FROM member_history\n\t\tWHERE user_id = $1 AND position":  "all rooms of a user are asked for",
	"FROM member_history WHERE user_id = $1 AND position <= $2": "all rooms of a user are asked for",
}

// wide are the steps that grow with a room or a user, by a table that may have a hundred thousand rows of one.
var wide = regexp.MustCompile(`^SEARCH (\w+) .*(PRIMARY KEY|INDEX \w+) \((room=\?|user_id=\?)( AND position[<>]\?)*\)$`)

var wideTables = []string{"members", "member_history", "receipts", "timeline", "state_history"}

var _ = AfterSuite(func(ctx SpecContext) {
	db := &fixture{dialect: sqlite.OpenUnsynced(GinkgoT().TempDir() + "/hanse.db")}
	db.start()
	defer db.stop()
	var growing []string
	for query := range asked.statements {
		if allowed(query) {
			continue
		}
		for _, step := range db.plan(ctx, query) {
			if grows(query, step) {
				growing = append(growing, query+"\n"+step)
			}
		}
	}
	Expect(growing).To(BeEmpty(), "these statements go through all of a table, room or user; if they may, wholesale says why")
})

func allowed(query string) bool {
	for part := range wholesale {
		if strings.Contains(query, part) {
			return true
		}
	}
	return false
}

// grows tells whether a step goes through a whole table, or through all rows of a room or user.
func grows(query, step string) bool {
	if name, scan := strings.CutPrefix(step, "SCAN "); scan {
		name, _, _ = strings.Cut(name, " ")
		return regexp.MustCompile(`(FROM|JOIN|UPDATE) ` + name + `\b`).MatchString(query) // else it is a result that was limited before
	}
	found := wide.FindStringSubmatch(step)
	if found == nil {
		return false
	}
	name := found[1]
	if alias := regexp.MustCompile(`(?:FROM|JOIN) (\w+) AS ` + name + `\b`).FindStringSubmatch(query); alias != nil {
		name = alias[1]
	}
	few := strings.Contains(step, "members_user") || strings.Contains(step, "members_local") // a user's rooms; ours in a room
	return slices.Contains(wideTables, name) && !few &&
		!(name != "members" && strings.Contains(step, "position"))
}
