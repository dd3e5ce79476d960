-- 1: an accepted event was known to stand on it when it got its place, so it is no extremity when all is decided again.
ALTER TABLE unsure_events ADD COLUMN below INT64 NOT NULL DEFAULT 0;
