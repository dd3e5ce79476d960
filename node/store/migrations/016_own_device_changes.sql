-- The newest change of a user's keys that is the user's own affair: of the user-signing key, which nobody else gets.
ALTER TABLE device_changes ADD COLUMN own INT64 NOT NULL DEFAULT 0;
