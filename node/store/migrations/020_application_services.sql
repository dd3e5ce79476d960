-- How far application services are, and the rooms that they publish.

CREATE TABLE application_services (
	service          BYTES PRIMARY KEY, -- the id of its registration
	upto             INT64 NOT NULL,    -- it has what interests it up to here
	transaction_upto INT64 NOT NULL,    -- with the transaction that is under way it has it up to here; 0: there is none
	transaction_body BYTES NOT NULL     -- JSON: sent again as it is until it is taken
);

-- The published rooms of networks, beside the directory.
CREATE TABLE application_service_rooms (
	service BYTES NOT NULL,
	network BYTES NOT NULL,
	room    INT64 NOT NULL,
	PRIMARY KEY (service, network, room)
) KEYED;

-- Who reads all rooms' events in the order of their places finds most by number. These are the others: events that were stored
-- before they got their place, and memberships in rooms that this server takes no part in.
CREATE INDEX timeline_moved ON timeline (position) WHERE position <> number;
CREATE INDEX member_history_out_of_room ON member_history (position) WHERE out_of_room = 1;
