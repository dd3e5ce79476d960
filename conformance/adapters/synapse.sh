#!/usr/bin/env bash
# The adapter for Synapse, the reference homeserver: doc/adapter.md. synapse-install.sh installs it.
# Synapse asks only the system's resolver: DNS_SERVER is ignored, so that names must be loopback literals with a port.
set -euo pipefail
venv=${SYNAPSE_VENV:-"$(cd "$(dirname "$0")/../.." && pwd)/.build/synapse"}
. "$(dirname "$0")/certificate.sh"
cd "$DATA_DIR"
certificate

if [ -n "${DATABASE_URL:-}" ]; then
	database="{name: psycopg2, allow_unsafe_locale: true, args: {dsn: \"$DATABASE_URL\"}}"
else
	database="{name: sqlite3, args: {database: \"$DATA_DIR/homeserver.db\"}}"
fi
services="[]"
if [ -n "${APPSERVICE_DIR:-}" ] && compgen -G "$APPSERVICE_DIR/*.yaml" >/dev/null; then
	services="[$(printf '"%s",' "$APPSERVICE_DIR"/*.yaml)]"
fi
unlimited='{per_second: 10000, burst_count: 10000}'
cat >homeserver.yaml <<YAML
server_name: "$SERVER_NAME"
pid_file: "$DATA_DIR/homeserver.pid"
listeners:
  - {port: 8008, type: http, bind_addresses: ["$BIND_ADDR"], resources: [{names: [client]}]}
  - {port: 8448, type: http, tls: true, bind_addresses: ["$BIND_ADDR"], resources: [{names: [federation, keys]}]}
tls_certificate_path: "$DATA_DIR/tls.crt"
tls_private_key_path: "$DATA_DIR/tls.key"
federation_custom_ca_list: ["$CA_BUNDLE"]
ip_range_blacklist: []
federation_ip_range_blacklist: []
database: $database
log_config: "$DATA_DIR/log.yaml"
media_store_path: "$DATA_DIR/media"
signing_key_path: "$DATA_DIR/signing.key"
registration_shared_secret: "$SHARED_SECRET"
enable_registration: true
enable_registration_without_verification: true
report_stats: false
trusted_key_servers: []
suppress_key_server_warning: true
default_room_version: "${ROOM_VERSION:-10}"
allow_public_rooms_over_federation: true
allow_public_rooms_without_auth: true
room_list_publication_rules: [{action: allow}]
app_service_config_files: $services
presence: {enabled: true}
# A test's outages are short: a peer that is back is found again at once.
federation: {destination_min_retry_interval: 1s, destination_max_retry_interval: 2s, destination_retry_multiplier: 2}
rc_message: $unlimited
rc_registration: $unlimited
rc_admin_redaction: $unlimited
rc_login: {address: $unlimited, account: $unlimited, failed_attempts: $unlimited}
rc_joins: {local: $unlimited, remote: $unlimited}
rc_joins_per_room: $unlimited
rc_invites: {per_room: $unlimited, per_user: $unlimited, per_issuer: $unlimited}
rc_room_creation: $unlimited
rc_federation: {window_size: 1000, sleep_limit: 10000, sleep_delay: 1, reject_limit: 10000, concurrent: 100}
rc_presence: {per_user: $unlimited}
YAML
cat >log.yaml <<YAML
version: 1
formatters: {precise: {format: '%(asctime)s - %(name)s - %(lineno)d - %(levelname)s - %(request)s - %(message)s'}}
handlers: {console: {class: logging.StreamHandler, formatter: precise}}
root: {level: INFO, handlers: [console]}
disable_existing_loggers: false
YAML
if [ ! -e signing.key ]; then
	"$venv/bin/python" -m synapse.app.homeserver --config-path homeserver.yaml --generate-keys
fi
exec "$venv/bin/python" -m synapse.app.homeserver --config-path homeserver.yaml
