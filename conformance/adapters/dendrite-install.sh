#!/usr/bin/env bash
# Builds Dendrite, a homeserver in Go, from the module proxy into .build/dendrite of this repository, or $DENDRITE_DIR.
# Does nothing where this version is there already.
set -euo pipefail
version=v0.13.8
target=${DENDRITE_DIR:-"$(cd "$(dirname "$0")/../.." && pwd)/.build/dendrite"}
if [ -e "$target/.hanse-$version" ]; then exit 0; fi
mkdir -p "$target"
cd "$target" # away from this repository's module
GOBIN=$target GOFLAGS=-mod=mod "${GO:-go}" install "github.com/matrix-org/dendrite/cmd/dendrite@$version"
touch "$target/.hanse-$version"
echo "Dendrite $version is in $target"
