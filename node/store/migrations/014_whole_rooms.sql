-- When rooms that were joined without all of their members got these: clients that want all members are shown the room from then on.
CREATE TABLE whole_rooms (
	room     INT64 PRIMARY KEY,
	position INT64 NOT NULL -- of the commit
);
