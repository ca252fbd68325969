#!/usr/bin/env bash
# Makes the Python environment of the end-to-end tests, or brings it up to requirements.txt. Run again at will: without changes it
# takes a fraction of a second. Prints the folder.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
venv="${THERMOCLINE_VENV:-$HOME/.cache/thermocline/venv}"
stamp="$venv/requirements.txt"
if ! cmp -s "$here/requirements.txt" "$stamp" || ! "$venv/bin/python" -c 'import runpod' 2>/dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$stamp"
fi
echo "$venv"
