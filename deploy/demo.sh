#!/usr/bin/env bash
# The whole path once: serve, ingest the 24 sample drawings, search with one of them, stop.
# Usage: deploy/demo.sh EXPORT_ENVIRONMENT SERVE_ENVIRONMENT (what `make demo` calls)
set -euo pipefail
export_env=$1 serve_env=$2

# Its own folder and ports: a server that runs already, and its data, are left alone.
folder=build/demo
rm -rf "$folder"
mkdir -p "$folder"
read -r http triton_http triton_grpc triton_metrics < <("$serve_env/bin/python" -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(each.getsockname()[1] for each in sockets))')
export VITRINE_DATA=$folder/data VITRINE_HTTP_PORT=$http VITRINE_TRITON_HTTP_PORT=$triton_http
export VITRINE_TRITON_GRPC_PORT=$triton_grpc VITRINE_TRITON_METRICS_PORT=$triton_metrics
export VITRINE_GRPC_PORT=0
export VITRINE_URL=http://127.0.0.1:$http

show() {
    printf '\n$ %s\n' "$*"
    "$serve_env/bin/$1" "${@:2}"
}

"$export_env/bin/python" -m vitrine_training.samples "$folder/samples"

"$serve_env/bin/vitrine-serve" >"$folder/log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null && wait "$server" || true' EXIT
until grep -q 'Vitrine is ready' "$folder/log"; do
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.2
done
cat "$folder/log"

query=$(find "$folder/samples" -name '*.png' | sort | head -n 1)
show vitrine ingest "$folder/samples" --metadata "$folder/samples/metadata.csv"
show vitrine search "$query" --k 5
show vitrine search "$query" --k 3 --group-by group

kill "$server"
wait "$server"
trap - EXIT
printf '\nStopped. The log is %s/log; `make serve` starts a server that stays.\n' "$folder"
