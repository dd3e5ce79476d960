#!/usr/bin/env bash
# Installs matrix-js-sdk from npm, in the versions of package-lock.json, into .build/client of this repository, or $CLIENT_DIR.
# Does nothing where they are there already. Node.js comes from Debian's packages where there is none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CLIENT_DIR:-"$here/../../../.build/client"}
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q && apt-get install -q -y --no-install-recommends nodejs npm
fi
mkdir -p "$target"
if ! cmp -s "$here/package-lock.json" "$target/.installed"; then
	cp "$here/package.json" "$here/package-lock.json" "$target/"
	(cd "$target" && npm ci --no-audit --no-fund --loglevel=error)
	cp "$here/package-lock.json" "$target/.installed"
fi
cp "$here/client.mjs" "$target/"
