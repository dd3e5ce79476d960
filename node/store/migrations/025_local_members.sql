-- Who of ours is in a room: by the room alone SQLite goes through all its members instead.
DROP INDEX members_local;
CREATE INDEX members_local ON members (room, membership, user_id) WHERE local = 1;
