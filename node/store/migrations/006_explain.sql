-- What became of an event, and of a server.

-- How an event came here first, as encodeArrival writes it. NULL: not kept.
ALTER TABLE events ADD COLUMN came BYTES;
ALTER TABLE staged ADD COLUMN came BYTES;
