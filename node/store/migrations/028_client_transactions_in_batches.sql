-- Client transactions in batches of those whose events came one after another: a new one changes a page of its batch, not one of any in
-- the table. What is there becomes one batch.
ALTER TABLE client_txns RENAME TO unbatched_client_txns;
CREATE TABLE client_txns (
	batch    INT64 NOT NULL,
	txn_key  BYTES NOT NULL, -- a hash of user, device, endpoint and transaction ID
	event_id CHARS NOT NULL,
	PRIMARY KEY (batch, txn_key)
) KEYED;
CREATE TABLE client_txn_batches (
	batch  INT64 PRIMARY KEY,
	newest INT64 NOT NULL -- when the newest was written
);
INSERT INTO client_txns (batch, txn_key, event_id) SELECT 0, txn_key, event_id FROM unbatched_client_txns ORDER BY txn_key;
INSERT INTO client_txn_batches (batch, newest) SELECT 0, COALESCE(MAX(created), 0) FROM unbatched_client_txns;
DROP TABLE unbatched_client_txns;
