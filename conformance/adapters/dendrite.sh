#!/usr/bin/env bash
# The adapter for Dendrite, a homeserver in Go: doc/adapter.md. dendrite-install.sh builds it.
# Dendrite asks only the system's resolver: DNS_SERVER is ignored, so that names must be loopback literals with a port.
set -euo pipefail
program=${DENDRITE_DIR:-"$(cd "$(dirname "$0")/../.." && pwd)/.build/dendrite"}/dendrite
. "$(dirname "$0")/certificate.sh"
cd "$DATA_DIR"
certificate
if [ ! -e signing.key ]; then
	printf -- '-----BEGIN MATRIX PRIVATE KEY-----\nKey-ID: ed25519:dendrite\n\n%s\n-----END MATRIX PRIVATE KEY-----\n' \
		"$(openssl rand -base64 32)" >signing.key
fi

# One PostgreSQL database for all of its components, or one SQLite file for each.
database() { # the component
	if [ -z "${DATABASE_URL:-}" ]; then printf 'database: {connection_string: "file:%s/%s.db"}' "$DATA_DIR" "$1"; fi
}
global="database: {connection_string: \"${DATABASE_URL:-}\", max_open_conns: 50}"
if [ -z "${DATABASE_URL:-}" ]; then global=""; fi
services="[]"
if [ -n "${APPSERVICE_DIR:-}" ] && compgen -G "$APPSERVICE_DIR/*.yaml" >/dev/null; then
	services="[$(printf '"%s",' "$APPSERVICE_DIR"/*.yaml)]"
fi
cat >dendrite.yaml <<YAML
version: 2
global:
  server_name: "$SERVER_NAME"
  private_key: "$DATA_DIR/signing.key"
  key_validity_period: 168h0m0s
  presence: {enable_inbound: true, enable_outbound: true}
  report_stats: {enabled: false}
  jetstream: {storage_path: "$DATA_DIR/jetstream", topic_prefix: Dendrite}
  cache: {max_size_estimated: 64mb, max_age: 1h}
  $global
app_service_api: {config_files: $services}
client_api:
  registration_disabled: false
  guests_disabled: false
  registration_shared_secret: "$SHARED_SECRET"
  rate_limiting: {enabled: false}
federation_api:
  $(database federationapi)
  key_perspectives: []
  prefer_direct_fetch: true
  # A destination is given up after 2^16 seconds only; one that is heard from is tried again at once.
  send_max_retries: 16
media_api:
  $(database mediaapi)
  base_path: "$DATA_DIR/media"
  max_file_size_bytes: 104857600
  dynamic_thumbnails: true
room_server:
  $(database roomserver)
  default_room_version: "${ROOM_VERSION:-10}"
sync_api:
  $(database syncapi)
  search: {enabled: true, index_path: "$DATA_DIR/search"}
user_api:
  $(if [ -z "${DATABASE_URL:-}" ]; then database userapi | sed s/database:/account_database:/; fi)
  bcrypt_cost: 4
key_server:
  $(database keyserver)
relay_api:
  $(database relayapi)
mscs:
  $(database mscs)
  mscs: []
logging: [{type: std, level: info}]
YAML

# Whom to trust is a thing of Go's, not of the configuration.
export SSL_CERT_FILE=$CA_BUNDLE
exec "$program" -config dendrite.yaml -really-enable-open-registration \
	-http-bind-address "$BIND_ADDR:8008" -https-bind-address "$BIND_ADDR:8448" -tls-cert tls.crt -tls-key tls.key
