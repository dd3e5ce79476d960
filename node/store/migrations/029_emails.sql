-- E-mail addresses of accounts, in their canonical form.
CREATE TABLE emails (
	address CHARS PRIMARY KEY,
	user_id CHARS NOT NULL,
	proven  INT64 NOT NULL, -- when it was shown that the user reads what is sent there, ms since 1970
	added   INT64 NOT NULL
);
CREATE INDEX emails_user ON emails (user_id, added);

-- Under way: somebody shows that they read what is sent to an address.
CREATE TABLE email_sessions (
	sid           CHARS PRIMARY KEY,
	client_secret CHARS NOT NULL,
	purpose       CHARS NOT NULL,
	address       CHARS NOT NULL,
	token         CHARS NOT NULL, -- what the mail has; '': it has none, and this proves nothing
	attempt       INT64 NOT NULL, -- the last one for which a mail was sent
	next_link     CHARS NOT NULL, -- '': none
	expires       INT64 NOT NULL,
	proven        INT64 NOT NULL  -- 0: not yet
);
CREATE UNIQUE INDEX email_sessions_client_secret ON email_sessions (client_secret, purpose, address);
CREATE INDEX email_sessions_expires ON email_sessions (expires);
