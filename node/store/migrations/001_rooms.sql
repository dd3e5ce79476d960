-- INT64, BYTES, CHARS (compared byte by byte) and KEYED (rows found by primary key alone) are the dialect's words.
-- CHARS columns hold only what the identifiers' grammars let through (no NUL); what clients choose freely is BYTES.

CREATE TABLE meta (
	name  CHARS PRIMARY KEY,
	value CHARS NOT NULL
);

-- One row: the newest position, the oldest of the negative ones that history gets, and the position up to which
-- event_ids, timeline and client_txns know the events (see tail.go).
CREATE TABLE counters (
	position INT64 NOT NULL,
	history  INT64 NOT NULL,
	indexed  INT64 NOT NULL
);
INSERT INTO counters (position, history, indexed) VALUES (0, 0, 0);

CREATE TABLE rooms (
	room     INT64 PRIMARY KEY,
	room_id  CHARS NOT NULL UNIQUE,
	version  CHARS NOT NULL,
	created  INT64 NOT NULL, -- 1: we have its state
	position INT64 NOT NULL, -- of the newest commit
	forward  BYTES NOT NULL, -- JSON list of event IDs
	depth    INT64 NOT NULL,
	state    BYTES NOT NULL, -- hash of the root of the current state
	resident INT64 NOT NULL,
	cited    INT64 NOT NULL  -- all that cites an event is in citations if that was stored later than this
);

CREATE TABLE room_servers (
	room   INT64 NOT NULL,
	server CHARS NOT NULL,
	joined INT64 NOT NULL,
	PRIMARY KEY (room, server)
) KEYED;

CREATE TABLE directory (
	room INT64 PRIMARY KEY
);

-- In the order of writing: a commit appends. The ways to find an event by its place are in timeline.
CREATE TABLE events (
	number       INT64 PRIMARY KEY, -- the position; of what was an outlier first, a number that no position has
	event_id     CHARS NOT NULL,
	room         INT64 NOT NULL,
	position     INT64 NOT NULL, -- 0 outlier, negative history
	stored       INT64 NOT NULL, -- the newest position when it was first stored
	depth        INT64 NOT NULL,
	status       INT64 NOT NULL, -- 0 accepted, 1 soft-failed, 2 rejected
	backfilled   INT64 NOT NULL,
	state_before BYTES,          -- root hashes; NULL for outliers
	state_after  BYTES,          -- NULL: the same as before
	verdict      BYTES,          -- JSON: why it was not accepted
	redacted_by  CHARS,
	txn_key      BYTES,          -- of a local send: the key in client_txns,
	txn_device   BYTES,          -- the sender's device and its transaction ID
	txn_id       BYTES,
	json         BYTES NOT NULL  -- canonical, as received: never the redacted form of it
);

-- The newest events are missing here and in timeline: see tail.go.
CREATE TABLE event_ids (
	event_id CHARS PRIMARY KEY,
	number   INT64 NOT NULL
) KEYED;

-- The accepted events that have a place.
CREATE TABLE timeline (
	room     INT64 NOT NULL,
	position INT64 NOT NULL,
	depth    INT64 NOT NULL,
	number   INT64 NOT NULL,
	PRIMARY KEY (room, position)
) KEYED;
CREATE INDEX timeline_depth ON timeline (room, depth, position);

-- The events of the tail that were outliers before.
CREATE TABLE moved (
	position INT64 PRIMARY KEY,
	number   INT64 NOT NULL
);

-- Which state events have an event among their auth events; see citations.go.
CREATE TABLE citations (
	cited  INT64 NOT NULL, -- a hash of the ID
	citing INT64 NOT NULL, -- the number
	PRIMARY KEY (cited, citing)
) KEYED;

-- Parents we have heard of and do not have.
CREATE TABLE gaps (
	missing  CHARS NOT NULL,
	child    CHARS NOT NULL,
	room     INT64 NOT NULL,
	depth    INT64 NOT NULL, -- the child's
	PRIMARY KEY (missing, child)
) KEYED;
CREATE INDEX gaps_room ON gaps (room, depth);

CREATE TABLE staged (
	event_id CHARS PRIMARY KEY,
	room     INT64 NOT NULL,
	position INT64 NOT NULL,
	json     BYTES NOT NULL
);
CREATE INDEX staged_room ON staged (room, position);

CREATE TABLE redactions (
	target   CHARS NOT NULL,
	event_id CHARS NOT NULL,
	PRIMARY KEY (target, event_id)
) KEYED;

CREATE TABLE state_nodes (
	hash BYTES PRIMARY KEY,
	node BYTES NOT NULL
);

CREATE TABLE state_history (
	room     INT64 NOT NULL,
	position INT64 NOT NULL,
	state    BYTES NOT NULL,
	PRIMARY KEY (room, position)
) KEYED;

CREATE TABLE members (
	room        INT64 NOT NULL,
	user_id     CHARS NOT NULL,
	membership  CHARS NOT NULL,
	event_id    CHARS NOT NULL,
	sender      CHARS NOT NULL,
	position    INT64 NOT NULL,
	local       INT64 NOT NULL,
	forgotten   INT64 NOT NULL,
	out_of_room INT64 NOT NULL,
	stripped    BYTES,
	PRIMARY KEY (room, user_id)
) KEYED;
CREATE INDEX members_user ON members (user_id);
CREATE INDEX members_local ON members (room) WHERE local = 1;

-- What local users' memberships were, for /sync.
CREATE TABLE member_history (
	user_id     CHARS NOT NULL,
	position    INT64 NOT NULL,
	room        INT64 NOT NULL,
	membership  CHARS NOT NULL,
	event_id    CHARS NOT NULL,
	sender      CHARS NOT NULL,
	out_of_room INT64 NOT NULL,
	stripped    BYTES,
	PRIMARY KEY (user_id, position, room)
) KEYED;
