-- How many keys a backup has, and how many bytes they are: both were counted anew at each upload, over all keys, and bytes are bounded now.
ALTER TABLE key_backups ADD COLUMN key_count INT64 NOT NULL DEFAULT 0;
ALTER TABLE key_backups ADD COLUMN weight INT64 NOT NULL DEFAULT 0;
UPDATE key_backups SET
	key_count = (SELECT COUNT(*) FROM key_backup_sessions AS k WHERE k.user_id = key_backups.user_id AND k.version = key_backups.version),
	weight = (SELECT COALESCE(SUM(LENGTH(session)), 0) FROM key_backup_sessions AS k WHERE k.user_id = key_backups.user_id AND k.version = key_backups.version);
