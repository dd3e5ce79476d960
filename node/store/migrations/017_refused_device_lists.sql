-- When a list that is to be fetched is asked for again, and how often in a row its server refused it.
ALTER TABLE remote_device_lists ADD COLUMN again INT64 NOT NULL DEFAULT 0; -- Unix time in milliseconds
ALTER TABLE remote_device_lists ADD COLUMN refused INT64 NOT NULL DEFAULT 0;
