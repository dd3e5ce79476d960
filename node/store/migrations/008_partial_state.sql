-- Rooms that were joined without all of their members, until these have come.
CREATE TABLE partial_rooms (
	room    INT64 PRIMARY KEY,
	join_id CHARS NOT NULL -- our join, before which the state isn't whole
);

-- The servers that are in such a room by the word of the one that it was joined through.
CREATE TABLE partial_servers (
	room   INT64 NOT NULL,
	server CHARS NOT NULL,
	PRIMARY KEY (room, server)
) KEYED;

-- What was decided in such a room, in this order, to be decided again. Where the state before an event was given, it is the event's.
CREATE TABLE unsure_events (
	room       INT64 NOT NULL,
	ordinal    INT64 NOT NULL,
	event_id   CHARS NOT NULL,
	backfilled INT64 NOT NULL,
	given      INT64 NOT NULL,
	PRIMARY KEY (room, ordinal)
) KEYED;
