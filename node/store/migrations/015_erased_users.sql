-- Users who were deactivated and want that what they said is forgotten, as far as that goes.
ALTER TABLE users ADD COLUMN erased INT64 NOT NULL DEFAULT 0;
