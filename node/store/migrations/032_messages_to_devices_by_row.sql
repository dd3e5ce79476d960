-- Where rows are found by their primary key alone SQLite keeps no more than a quarter of a page of one in it: an encrypted message to a
-- device is larger, and had a page of its own.
ALTER TABLE to_device RENAME TO keyed_to_device;
CREATE TABLE to_device (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	position  INT64 NOT NULL,
	message   BYTES NOT NULL,
	PRIMARY KEY (user_id, device_id, position)
);
INSERT INTO to_device (user_id, device_id, position, message) SELECT user_id, device_id, position, message FROM keyed_to_device
	ORDER BY user_id, device_id, position;
DROP TABLE keyed_to_device;
