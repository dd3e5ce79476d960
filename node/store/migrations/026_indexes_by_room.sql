-- What SQLite goes by where it would otherwise go through all members of a room, or all that a user ever was in: it takes an index with
-- two columns of a condition only if that has all that is read, or one column of it is compared.
DROP INDEX members_since;
CREATE INDEX members_since ON members (room, since);
DROP INDEX members_local;
CREATE INDEX members_local ON members (room, membership, user_id, since) WHERE local = 1;
DROP INDEX member_history_room;
CREATE INDEX member_history_room ON member_history (user_id, room, position, membership, out_of_room);
