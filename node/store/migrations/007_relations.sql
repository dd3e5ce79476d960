-- What events say they relate to (m.relates_to): of accepted events that have a place and are not redacted.
CREATE TABLE relations (
	target   CHARS NOT NULL,
	rel_type BYTES NOT NULL,
	sender   CHARS NOT NULL,
	position INT64 NOT NULL, -- of the event that relates, as all that follows
	room     INT64 NOT NULL,
	depth    INT64 NOT NULL,
	number   INT64 NOT NULL,
	ts       INT64 NOT NULL,
	type     BYTES NOT NULL,
	key      BYTES NOT NULL, -- an annotation's; '' of others
	event_id CHARS NOT NULL,
	PRIMARY KEY (target, rel_type, sender, position)
) KEYED;
CREATE INDEX relations_place ON relations (target, depth, position);
CREATE INDEX relations_number ON relations (number);

-- The roots of threads, with the place of each thread's latest event.
CREATE TABLE threads (
	room     INT64 NOT NULL,
	root     CHARS NOT NULL,
	depth    INT64 NOT NULL,
	position INT64 NOT NULL,
	PRIMARY KEY (room, root)
) KEYED;
CREATE INDEX threads_place ON threads (room, depth, position);
