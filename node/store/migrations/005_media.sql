-- Media, ours and others'.
CREATE TABLE media (
	server       CHARS NOT NULL, -- its origin
	media_id     CHARS NOT NULL,
	file         CHARS NOT NULL UNIQUE, -- the name of the file that holds it, or will
	user_id      CHARS NOT NULL, -- who uploaded it; '' for others'
	content_type BYTES NOT NULL,
	filename     BYTES NOT NULL,
	size         INT64 NOT NULL, -- bytes
	disk         INT64 NOT NULL, -- bytes with the thumbnails
	created      INT64 NOT NULL, -- when it was uploaded or fetched
	used         INT64 NOT NULL, -- about when others' was last asked for; 0 for ours
	expires      INT64 NOT NULL, -- until when it must be uploaded; 0 once it is
	PRIMARY KEY (server, media_id)
);
CREATE INDEX media_used ON media (used) WHERE used > 0;
CREATE INDEX media_pending ON media (user_id, expires) WHERE expires > 0;

-- What each user has uploaded, and one row for the cache of others' media (user_id '').
CREATE TABLE media_usage (
	user_id CHARS PRIMARY KEY,
	files   INT64 NOT NULL,
	bytes   INT64 NOT NULL
);

CREATE TABLE openid_tokens (
	token_hash BYTES PRIMARY KEY,
	user_id    CHARS NOT NULL,
	expires    INT64 NOT NULL
);
CREATE INDEX openid_tokens_expires ON openid_tokens (expires);
