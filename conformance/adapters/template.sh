#!/usr/bin/env bash
# An adapter to fill in: doc/adapter.md has the contract. What is in capital letters comes from the environment.
set -euo pipefail
cd "$DATA_DIR" # empty at the first start, kept over restarts

# A certificate for the server's name and its address, by the authority that everybody in the run trusts.
if [ ! -e tls.crt ]; then
	host=${SERVER_NAME%:*}
	case $host in
	*[!0-9.]*) names="DNS:$host,IP:$BIND_ADDR" ;;
	*) names="IP:$host,IP:$BIND_ADDR" ;;
	esac
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout tls.key -subj "/CN=homeserver" -out tls.csr 2>/dev/null
	openssl x509 -req -in tls.csr -CA "$CA_CERT" -CAkey "$CA_KEY" -set_serial "0x$(openssl rand -hex 16)" -days 365 \
		-extfile <(printf 'subjectAltName=%s' "$names") -out tls.leaf 2>/dev/null
	cat tls.leaf "$CA_CERT" >tls.crt
fi

# The server's configuration. Rate limits are off, calls to loopback addresses are allowed, retries come soon.
cat >my-server.conf <<CONF
server_name = $SERVER_NAME
client_listener = http://$BIND_ADDR:8008
federation_listener = https://$BIND_ADDR:8448
certificate = $DATA_DIR/tls.crt
private_key = $DATA_DIR/tls.key
trusted_authorities = $CA_BUNDLE
dns_server = ${DNS_SERVER:-}
registration_shared_secret = $SHARED_SECRET
default_room_version = ${ROOM_VERSION:-10}
CONF

# exec: the signals that the suite sends must reach the server.
exec my-server --config my-server.conf
