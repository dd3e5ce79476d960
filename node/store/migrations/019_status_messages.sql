-- What users say of themselves with their presence, where it isn't empty.
CREATE TABLE status_messages (
	user_id CHARS PRIMARY KEY,
	message BYTES NOT NULL
);
