#!/usr/bin/env bash
# Make the keys that the compose files and the Kubernetes manifests ask for: one that may do
# everything, which is printed once, and one with which Prometheus reads the metrics.
# Usage: deploy/keys.sh [FOLDER]     PYTHON: one that has vitrine_server, which `make export` installs
set -euo pipefail
folder=${1:-$(dirname "$0")/secrets}
python=${PYTHON:-.venv/export/bin/python}

if [ -e "$folder" ]; then
    echo "$folder is there already: add keys to $folder/api_keys, or remove the folder" >&2
    exit 1
fi
# The containers read the files as users of their own; the folder keeps this machine's other users out.
umask 022
mkdir -m 700 "$folder"
"$python" -m vitrine_server.api_keys admin admin >"$folder/api_keys"
"$python" -m vitrine_server.api_keys prometheus read >>"$folder/api_keys" 2>"$folder/shown"
sed 's/.*: //' "$folder/shown" | tr -d '\n' >"$folder/prometheus_key"
rm "$folder/shown"
