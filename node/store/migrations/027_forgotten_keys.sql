-- Documents of a server older than that in server_keys, the newest first, with keys that newer ones don't list: events that these signed
-- are checked by them.
CREATE TABLE older_server_keys (
	server  CHARS NOT NULL,
	place   INT64 NOT NULL,
	fetched INT64 NOT NULL,
	raw     BYTES NOT NULL,
	PRIMARY KEY (server, place)
);
