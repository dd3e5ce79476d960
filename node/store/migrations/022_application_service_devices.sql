-- Devices that application services have made. What they would read by /sync may go to their services in transactions.
CREATE TABLE application_service_devices (
	user_id   CHARS NOT NULL,
	device_id BYTES NOT NULL,
	service   BYTES NOT NULL, -- the id of its registration
	PRIMARY KEY (user_id, device_id)
) KEYED;
CREATE INDEX application_service_devices_service ON application_service_devices (service, user_id);

-- Names a transaction that doesn't lead to another place: one without events.
ALTER TABLE application_services ADD COLUMN transaction_id CHARS NOT NULL DEFAULT '';
