-- The words of what is said in rooms that are not encrypted, for searching. Written behind the commits.
CREATE TABLE search_words (
	room   INT64 NOT NULL,
	word   BYTES NOT NULL,
	number INT64 NOT NULL,
	PRIMARY KEY (room, word, number)
) KEYED;

-- Events that got their place after their number was passed.
CREATE TABLE search_pending (
	number INT64 PRIMARY KEY
);

-- One row: the numbers up to which live events, and down to which history, are in search_words; and those between which
-- events were stored before there was a table of relations, which are looked through for these too.
CREATE TABLE search_state (
	forward  INT64 NOT NULL,
	backward INT64 NOT NULL,
	newest   INT64 NOT NULL,
	oldest   INT64 NOT NULL
);
INSERT INTO search_state (forward, backward, newest, oldest) SELECT 0, 0, position, history FROM counters;
