-- Since when an account is locked or suspended, ms since 1970; 0: it is not.
ALTER TABLE users ADD COLUMN locked INT64 NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN suspended INT64 NOT NULL DEFAULT 0;
