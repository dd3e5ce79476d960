#!/usr/bin/env bash
# Installs Synapse, the reference homeserver, from PyPI into an environment of its own: .build/synapse of this
# repository, or $SYNAPSE_VENV. Does nothing where this version is there already.
set -euo pipefail
version=1.163.2
venv=${SYNAPSE_VENV:-"$(cd "$(dirname "$0")/../.." && pwd)/.build/synapse"}
if [ -e "$venv/.hanse-$version" ]; then exit 0; fi
if ! command -v python3 >/dev/null || ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q && apt-get install -q -y --no-install-recommends python3 python3-venv
fi
python3 -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check "matrix-synapse==$version" psycopg2-binary
touch "$venv/.hanse-$version"
echo "Synapse $version is in $venv"
