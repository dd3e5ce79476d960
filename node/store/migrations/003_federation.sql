CREATE TABLE server_keys (
	server      CHARS PRIMARY KEY,
	fetched     INT64 NOT NULL,
	raw         BYTES NOT NULL
);

CREATE TABLE inbound_transactions (
	origin   CHARS NOT NULL,
	txn_id   BYTES NOT NULL,
	response BYTES NOT NULL,
	received INT64 NOT NULL,
	PRIMARY KEY (origin, txn_id)
) KEYED;
CREATE INDEX inbound_transactions_received ON inbound_transactions (received);

-- What goes to other servers, in order; see outbox.go.
CREATE TABLE outbox_log (
	position     INT64 PRIMARY KEY,
	room         INT64 NOT NULL, -- 0 for EDUs
	event_id     CHARS NOT NULL, -- '' for EDUs
	destinations INT64 NOT NULL,
	edu          BYTES,          -- the EDU, as sent
	keep         INT64 NOT NULL  -- an EDU that must not be dropped
);

CREATE TABLE outbox_destinations (
	destinations INT64 PRIMARY KEY,
	hash         BYTES NOT NULL UNIQUE,
	servers      BYTES NOT NULL -- JSON list
);

CREATE TABLE outbox_cursors (
	destination CHARS PRIMARY KEY,
	position    INT64 NOT NULL
);

CREATE TABLE outbox_catchup (
	destination CHARS NOT NULL,
	room        INT64 NOT NULL,
	event_id    CHARS NOT NULL, -- the newest that was to be sent
	position    INT64 NOT NULL,
	PRIMARY KEY (destination, room)
) KEYED;

CREATE TABLE outbox_kept (
	destination CHARS NOT NULL,
	position    INT64 NOT NULL,
	edu         BYTES NOT NULL,
	PRIMARY KEY (destination, position)
) KEYED;

CREATE TABLE backoffs (
	destination CHARS PRIMARY KEY,
	backoff     BYTES NOT NULL
);
