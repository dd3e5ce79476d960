-- What an EDU is about: for a server that is far behind, only the newest of each subject is kept. '' = all are.
ALTER TABLE outbox_log ADD COLUMN subject CHARS NOT NULL DEFAULT '';
ALTER TABLE outbox_kept ADD COLUMN subject CHARS NOT NULL DEFAULT '';
