-- Device keys, one-time keys, messages to devices, key backups.

-- Keys of this server's devices, as uploaded, without unsigned.
CREATE TABLE device_keys (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	keys      BYTES NOT NULL,
	PRIMARY KEY (user_id, device_id)
) KEYED;

CREATE TABLE one_time_keys (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	algorithm BYTES NOT NULL,
	key_id    BYTES NOT NULL,
	content   BYTES NOT NULL,
	position  INT64 NOT NULL, -- when it was uploaded: the oldest is handed out first
	PRIMARY KEY (user_id, device_id, algorithm, key_id)
) KEYED;

CREATE TABLE fallback_keys (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	algorithm BYTES NOT NULL,
	key_id    BYTES NOT NULL,
	content   BYTES NOT NULL,
	used      INT64 NOT NULL,
	PRIMARY KEY (user_id, device_id, algorithm)
) KEYED;

-- Cross-signing keys, of this server's users and of others'.
CREATE TABLE cross_signing_keys (
	user_id CHARS NOT NULL,
	usage   CHARS NOT NULL, -- master, self_signing, user_signing
	keys    BYTES NOT NULL,
	PRIMARY KEY (user_id, usage)
) KEYED;

-- Signatures that this server's users made of keys.
CREATE TABLE key_signatures (
	user_id     CHARS NOT NULL, -- whose key was signed
	target      BYTES NOT NULL, -- a device's ID, or a cross-signing key itself
	signer      CHARS NOT NULL,
	key_id      BYTES NOT NULL, -- the key that signed
	signature   BYTES NOT NULL,
	position    INT64 NOT NULL,
	PRIMARY KEY (user_id, target, signer, key_id)
) KEYED;
CREATE INDEX key_signatures_signer ON key_signatures (signer, position);

-- The newest change of each user's devices or cross-signing keys. stream is the newest stream_id that other servers were
-- told, of this server's users.
CREATE TABLE device_changes (
	user_id  CHARS PRIMARY KEY,
	position INT64 NOT NULL,
	stream   INT64 NOT NULL
);
CREATE INDEX device_changes_position ON device_changes (position);
CREATE INDEX members_position ON members (position);

-- Other servers' users whose devices are known. fetched is the position at which they were asked for.
CREATE TABLE remote_device_lists (
	user_id CHARS PRIMARY KEY,
	stream  INT64 NOT NULL,
	fetched INT64 NOT NULL,
	stale   INT64 NOT NULL -- an update was missed: the list is to be fetched again
);
CREATE INDEX remote_device_lists_stale ON remote_device_lists (user_id) WHERE stale = 1;
CREATE TABLE remote_devices (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	device    BYTES NOT NULL, -- as user/devices has it
	PRIMARY KEY (user_id, device_id)
) KEYED;

-- What waits for devices until they have acknowledged it.
CREATE TABLE to_device (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	position  INT64 NOT NULL,
	message   BYTES NOT NULL,
	PRIMARY KEY (user_id, device_id, position)
) KEYED;

-- What was taken: messages of other servers by their ID, requests of clients by their transaction.
CREATE TABLE to_device_seen (
	hash     BYTES PRIMARY KEY,
	received INT64 NOT NULL
) KEYED;
CREATE INDEX to_device_seen_received ON to_device_seen (received);

CREATE TABLE key_backups (
	user_id   CHARS NOT NULL,
	version   INT64 NOT NULL,
	algorithm BYTES NOT NULL,
	auth_data BYTES NOT NULL,
	etag      INT64 NOT NULL,
	deleted   INT64 NOT NULL,
	PRIMARY KEY (user_id, version)
) KEYED;
CREATE TABLE key_backup_sessions (
	user_id    CHARS NOT NULL,
	version    INT64 NOT NULL,
	room_id    BYTES NOT NULL,
	session_id BYTES NOT NULL,
	session    BYTES NOT NULL,
	PRIMARY KEY (user_id, version, room_id, session_id)
) KEYED;
