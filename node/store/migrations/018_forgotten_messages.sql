-- What is kept for servers that are out has an age; 0: it was kept before that was noted.
ALTER TABLE outbox_kept ADD COLUMN since INT64 NOT NULL DEFAULT 0; -- Unix time in milliseconds
CREATE INDEX outbox_kept_since ON outbox_kept (since);

-- Servers for which too much was kept: it was dropped, and they are to be told that the lists of devices have changed of all
-- users after the one of whom they were told last.
CREATE TABLE outbox_forgotten (
	destination CHARS PRIMARY KEY,
	told        CHARS NOT NULL -- '': of nobody yet
);
