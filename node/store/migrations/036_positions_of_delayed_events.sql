-- The newest position when an event was scheduled: state that somebody else has set after it takes its place. Of those from before that isn't known.
ALTER TABLE delayed_events ADD COLUMN position INT64 NOT NULL DEFAULT 9223372036854775807;
