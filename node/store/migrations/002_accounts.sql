CREATE TABLE users (
	user_id       CHARS PRIMARY KEY,
	password_hash CHARS NOT NULL,
	admin         INT64 NOT NULL,
	guest         INT64 NOT NULL,
	deactivated   INT64 NOT NULL,
	created       INT64 NOT NULL -- times of this server are ms since 1970
);

CREATE TABLE devices (
	user_id      CHARS NOT NULL,
	device_id    BYTES NOT NULL,
	display_name BYTES NOT NULL,
	created      INT64 NOT NULL,
	last_seen    INT64 NOT NULL,
	last_ip      BYTES NOT NULL,
	user_agent   BYTES NOT NULL,
	PRIMARY KEY (user_id, device_id)
) KEYED;

CREATE TABLE access_tokens (
	token_hash BYTES PRIMARY KEY,
	user_id    CHARS NOT NULL,
	device_id  BYTES NOT NULL
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);

CREATE TABLE registration_tokens (
	token   BYTES PRIMARY KEY,
	uses    INT64 NOT NULL,
	allowed INT64 NOT NULL, -- 0: any number
	expires INT64 NOT NULL  -- 0: never
);

CREATE TABLE profiles (
	user_id CHARS NOT NULL,
	field   BYTES NOT NULL,
	value   BYTES NOT NULL,
	PRIMARY KEY (user_id, field)
) KEYED;

CREATE TABLE account_data (
	user_id  CHARS NOT NULL,
	room_id  CHARS NOT NULL, -- '' for global
	type     BYTES NOT NULL,
	content  BYTES NOT NULL,
	deleted  INT64 NOT NULL,
	position INT64 NOT NULL,
	PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_position ON account_data (user_id, position);

CREATE TABLE receipts (
	room     INT64 NOT NULL,
	user_id  CHARS NOT NULL,
	type     CHARS NOT NULL,
	thread   BYTES NOT NULL,
	event_id CHARS NOT NULL,
	ts       INT64 NOT NULL,
	position INT64 NOT NULL,
	PRIMARY KEY (room, user_id, type, thread)
) KEYED;
CREATE INDEX receipts_position ON receipts (room, position);

CREATE TABLE filters (
	user_id   CHARS NOT NULL,
	filter_id INT64 NOT NULL,
	hash      BYTES NOT NULL,
	filter    BYTES NOT NULL,
	PRIMARY KEY (user_id, filter_id)
);
CREATE UNIQUE INDEX filters_hash ON filters (user_id, hash);

CREATE TABLE aliases (
	alias   CHARS PRIMARY KEY,
	room_id CHARS NOT NULL,
	creator CHARS NOT NULL
);
CREATE INDEX aliases_room ON aliases (room_id);

-- Requests of clients that were carried out. The newest are missing: see tail.go.
CREATE TABLE client_txns (
	txn_key  BYTES PRIMARY KEY, -- a hash of user, device, endpoint and transaction ID
	event_id CHARS NOT NULL,
	created  INT64 NOT NULL
) KEYED;
CREATE INDEX client_txns_created ON client_txns (created);
