-- Since when somebody is a member, knocks, is banned and so on, whatever became of name and picture meanwhile.
ALTER TABLE members ADD COLUMN since INT64 NOT NULL DEFAULT 0;
UPDATE members SET since = position;
DROP INDEX members_position;
CREATE INDEX members_since ON members (since);
