-- At which position a deactivated user wished that what they said is forgotten, as far as that goes; 0: never.
ALTER TABLE users ADD COLUMN erased INT64 NOT NULL DEFAULT 0;
