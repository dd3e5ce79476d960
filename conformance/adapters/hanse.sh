#!/bin/sh
# The adapter for Hanse: doc/adapter.md. HANSE_BIN is the program to start; without it, the installed one.
exec "${HANSE_BIN:-hanse}" testnet node
