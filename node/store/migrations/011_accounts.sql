-- What users reported to the administrators.
CREATE TABLE reports (
	number   INT64 PRIMARY KEY,
	received INT64 NOT NULL,
	reporter CHARS NOT NULL,
	room_id  CHARS NOT NULL, -- '' for a user
	event_id CHARS NOT NULL, -- '' for a room or a user
	user_id  CHARS NOT NULL, -- '' for a room or an event
	reason   BYTES NOT NULL
);
CREATE INDEX reports_reporter ON reports (reporter, received);

-- The words of users' names, for the user directory. They are looked at again when they are found: names change.
CREATE TABLE user_words (
	word    BYTES NOT NULL,
	user_id CHARS NOT NULL,
	PRIMARY KEY (word, user_id)
) KEYED;

-- Refresh tokens, and tokens to log in with once; access tokens that end.
CREATE TABLE refresh_tokens (
	token_hash BYTES PRIMARY KEY,
	user_id    CHARS NOT NULL,
	device_id  BYTES NOT NULL,
	access     BYTES NOT NULL, -- the hash of the access token that came with it
	successor  BYTES           -- the refresh token that was given for it; NULL: not used yet
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_access ON refresh_tokens (access);
CREATE INDEX refresh_tokens_successor ON refresh_tokens (successor);
ALTER TABLE access_tokens ADD COLUMN expires INT64;
CREATE TABLE login_tokens (
	token_hash BYTES PRIMARY KEY,
	user_id    CHARS NOT NULL,
	expires    INT64 NOT NULL
);
