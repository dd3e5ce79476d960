-- Events that users have scheduled (MSC4140). What was sent or cancelled is gone.
CREATE TABLE delayed_events (
	delay_id      CHARS PRIMARY KEY,
	user_id       CHARS NOT NULL,
	txn           BYTES NOT NULL, -- a hash of what tells the request from others
	room_id       CHARS NOT NULL,
	type          BYTES NOT NULL,
	state_key     BYTES,          -- NULL: it is no state
	content       BYTES NOT NULL,
	redacts       CHARS NOT NULL, -- '': nothing
	ts            INT64 NOT NULL, -- what it says of when it was sent; 0: when it is
	delay         INT64 NOT NULL, -- ms
	running_since INT64 NOT NULL,
	send_at       INT64 NOT NULL
);
CREATE UNIQUE INDEX delayed_events_user ON delayed_events (user_id, txn);
CREATE INDEX delayed_events_send_at ON delayed_events (send_at);
