-- Who of another server has sent a message to a device; '' where it is of a user of ours, or from before this step. stranger is 1 where that
-- server was in no room with the receiver.
ALTER TABLE to_device ADD COLUMN sender CHARS NOT NULL DEFAULT '';
ALTER TABLE to_device ADD COLUMN stranger INT64 NOT NULL DEFAULT 0;
