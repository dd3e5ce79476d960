-- What is unread, and pushers.

-- What a user had not read of a room, of what notifies, when the room was looked at up to a position. It saves looking
-- again: what is lost of it is counted anew.
CREATE TABLE unread (
	user_id CHARS NOT NULL,
	room    INT64 NOT NULL,
	upto    INT64 NOT NULL,
	rules   INT64 NOT NULL, -- the position of the account data by which it was decided
	content BYTES NOT NULL,
	PRIMARY KEY (user_id, room)
) KEYED;

CREATE TABLE pushers (
	user_id   CHARS NOT NULL,
	app_id    BYTES NOT NULL,
	pushkey   BYTES NOT NULL,
	device_id BYTES NOT NULL, -- whose access token set it
	pusher    BYTES NOT NULL, -- JSON: what the client gave
	updated   INT64 NOT NULL,
	upto      INT64 NOT NULL, -- everything up to here was pushed, or was not to be
	PRIMARY KEY (user_id, app_id, pushkey)
) KEYED;
CREATE INDEX pushers_key ON pushers (app_id, pushkey);
