#!/bin/sh
# Make .venv (runtime) or add what development needs. Says in one sentence what is missing.
set -eu
kind=$1 python=$2 venv=$3

if [ ! -x "$venv/bin/python" ]; then
    command -v "$python" >/dev/null 2>&1 || { echo "fleetward: $python was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fleetward: $("$python" --version 2>&1) is too old; Fleetward needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
    "$python" -c 'import venv, ensurepip' 2>/dev/null || { echo "fleetward: this Python has no venv module; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
    echo "Making $venv ..."
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
fi

case $kind in
runtime)
    echo "Installing Fleetward into $venv (about a minute the first time) ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[postgres,nats]'
    ;;
development)
    echo "Installing what tests and checks need ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --group dev
    ;;
esac
