#!/usr/bin/env bash
# The adapter for Hanse on PostgreSQL: doc/adapter.md. It makes a database for each data folder on the server that
# HANSE_TEST_POSTGRES names ("postgres://user@host:port/postgres"; `.ci/postgres start FOLDER` starts one and prints it).
#
#   HANSE_TEST_POSTGRES=$(.ci/postgres start /tmp/pg) ./hanse testnet bench --adapter conformance/adapters/hanse-postgres.sh
set -euo pipefail
if [ -z "${DATABASE_URL:-}" ]; then
	if [ ! -s "$DATA_DIR/database" ]; then
		name="hanse_adapter_$(date +%s)_$$_$RANDOM"
		psql=$(command -v psql || ls /usr/lib/postgresql/*/bin/psql | tail -1)
		"$psql" -q "$HANSE_TEST_POSTGRES" -c "CREATE DATABASE $name ENCODING 'UTF8' TEMPLATE template0"
		echo "${HANSE_TEST_POSTGRES/\/postgres?/\/$name?}" >"$DATA_DIR/database"
	fi
	DATABASE_URL=$(cat "$DATA_DIR/database")
	export DATABASE_URL
fi
hanse=${HANSE_BIN:-"$(cd "$(dirname "$0")/../.." && pwd)/hanse"}
exec "$hanse" testnet node
