-- What was rejected of a state that was given, a JSON list of event IDs: it is of the state if it isn't when all is decided again.
ALTER TABLE unsure_events ADD COLUMN left_out BYTES;
