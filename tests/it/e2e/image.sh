#!/usr/bin/env bash
# Makes the container image of the end-to-end tests, `thermocline-e2e:<version>`, out of Debian's packages and the platform's SDK:
# no registry of images is asked. Needs a running engine, root, debootstrap and pip. Run again at will.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version="$(cat "$here/requirements.txt" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)"
image="thermocline-e2e:$version"
if ! docker image inspect "$image" >/dev/null 2>&1; then
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
    # 3.11 is the Python of Debian 12; the SDK's compiled parts are fetched for it, whatever Python this machine has.
    debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$folder/root" >"$folder/log" 2>&1 ||
        { tail -5 "$folder/log" >&2; exit 1; }
    grep -v schemathesis "$here/requirements.txt" >"$folder/requirements.txt"
    "$("$here/venv.sh")/bin/pip" install --quiet --disable-pip-version-check --root-user-action=ignore --python-version 3.11 --only-binary=:all: \
        --requirement "$folder/requirements.txt" --target "$folder/root/usr/lib/python3/dist-packages" >&2
    rm -rf "$folder/root/var/cache/apt" "$folder/root/var/lib/apt/lists" "$folder/root/usr/share/doc"
    tar --create --directory "$folder/root" . | docker import - "$image" >/dev/null
fi
echo "$image"
