#!/bin/sh
# Starts Hanse as Complement wants it: named by SERVER_NAME, with a certificate of the authority in /complement/ca, and with the
# registrations of application services in /complement/appservice. It is run anew when the container is.
set -eu
ca=${COMPLEMENT_CA:-/complement/ca} services=${COMPLEMENT_APPSERVICES:-/complement/appservice}
export HANSE_SERVER_NAME="$SERVER_NAME" HANSE_DATA_DIR="${HANSE_DATA_DIR:-/data}"
mkdir -p "$HANSE_DATA_DIR"
cd "$HANSE_DATA_DIR"
printf 'subjectAltName=DNS:%s\n' "$SERVER_NAME" >names
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr -subj "/CN=$SERVER_NAME"
openssl x509 -req -in tls.csr -CA "$ca/ca.crt" -CAkey "$ca/ca.key" -set_serial "$(date +%s)" -days 2 -extfile names -out tls.crt

export HANSE_CLIENT_LISTEN="${HANSE_CLIENT_LISTEN:-0.0.0.0:8008}" HANSE_FEDERATION_LISTEN="${HANSE_FEDERATION_LISTEN:-0.0.0.0:8448}"
export HANSE_FEDERATION_CERTIFICATE="$PWD/tls.crt" HANSE_FEDERATION_KEY="$PWD/tls.key" HANSE_FEDERATION_TRUSTED_CAS="$ca/ca.crt"
# The other servers, the push gateways, the application services and the pages to preview are in the container engine's networks.
private=127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1/128,fc00::/7
export HANSE_FEDERATION_ALLOW_ADDRESSES="$private" HANSE_PUSH_ALLOW_ADDRESSES="$private"
export HANSE_MEDIA_URL_PREVIEWS=true HANSE_MEDIA_URL_PREVIEW_ADDRESSES="$private"
# A test registers its users first, many tests at once: cheap passwords.
export HANSE_PASSWORDS_ALGORITHM=bcrypt HANSE_PASSWORDS_BCRYPT_COST=4
export HANSE_REGISTRATION_OPEN=true HANSE_REGISTRATION_GUESTS=true HANSE_REGISTRATION_SHARED_SECRET=complement HANSE_RATE_LIMITS_DISABLED=true HANSE_LOG_LEVEL=debug
# Its tests were written for rooms whose creator is among the users of the power levels, and ask for files without a token.
export HANSE_ROOMS_DEFAULT_VERSION="${HANSE_ROOMS_DEFAULT_VERSION:-10}" HANSE_MEDIA_UNAUTHENTICATED_UNTIL=9999-12-31
registrations=
for file in "$services"/*.yaml; do
	if [ -e "$file" ]; then registrations="$registrations${registrations:+,}$file"; fi
done
export HANSE_APPLICATION_SERVICES="$registrations"
exec hanse serve
