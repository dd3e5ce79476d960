-- What clients said of themselves for the OAuth 2.0 API.
CREATE TABLE oauth_clients (
	client_id  CHARS PRIMARY KEY,
	metadata   BYTES NOT NULL,
	registered INT64 NOT NULL -- when it did so last
) KEYED;
CREATE INDEX oauth_clients_registered ON oauth_clients (registered);

-- Codes that are, or become, an access token: one's own to hand over, and those of devices, which have another that a person types.
CREATE TABLE oauth_codes (
	code_hash    BYTES PRIMARY KEY,
	user_code    CHARS,          -- NULL for one to hand over
	client_id    CHARS NOT NULL,
	device_id    BYTES NOT NULL,
	scope        BYTES NOT NULL,
	redirect_uri BYTES NOT NULL, -- '' for a device's
	challenge    CHARS NOT NULL, -- likewise
	user_id      CHARS NOT NULL, -- '' until somebody has decided
	account      BYTES NOT NULL, -- what the account was when it was decided
	decision     INT64 NOT NULL, -- 0: none yet; 1: allowed; 2: refused
	expires      INT64 NOT NULL,
	uses         INT64 NOT NULL
) KEYED;
CREATE UNIQUE INDEX oauth_codes_user_code ON oauth_codes (user_code);
CREATE INDEX oauth_codes_expires ON oauth_codes (expires);

-- Devices that are of the OAuth 2.0 API.
CREATE TABLE oauth_grants (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	client_id CHARS NOT NULL,
	scope     BYTES NOT NULL,
	family    BYTES NOT NULL, -- the hash of what all its refresh tokens begin with
	code_hash BYTES NOT NULL, -- of the code that it was made for
	PRIMARY KEY (user_id, device_id)
) KEYED;
CREATE INDEX oauth_grants_client ON oauth_grants (client_id);
CREATE UNIQUE INDEX oauth_grants_family ON oauth_grants (family);
