#!/bin/sh
# Measures the pool beside nginx and bare Go proxies, all in one run.
# Usage: run.sh [OUTDIR]; SCENARIOS, ROUNDS, TARGETS and KEYS narrow it down.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/../.cache/bench}/bin"
out=$(cd "${1:-$here/../.cache/bench}" && pwd)
command -v nginx >/dev/null || echo "nginx is not installed: ratios will be missing (apt-get install nginx-light)" >&2

(cd "$here/.." && go build -o "$out/bin/ollama-api-pool" ./cmd/ollama-api-pool)
port=9300
: >"$out/extra.json"
for n in ${KEYS:-100 100000}; do
  rm -rf "$out/data-$n"
  run() { DATA_DIR="$out/data-$n" "$out/bin/ollama-api-pool" "$@"; }
  awk -v n="$n" 'BEGIN { for (i = 0; i < n; i++) printf "sk-bench-%08d\n", i }' | run keys import - >/dev/null
  token=$(run tokens create bench --json | sed -n 's/.*"token": *"\([^"]*\)".*/\1/p')
  cat >>"$out/extra.json" <<J
,
  {"name": "pool-$n", "url": "http://127.0.0.1:$port/v1/chat/completions", "headers": {"Authorization": "Bearer $token"},
   "cmd": ["$out/bin/ollama-api-pool", "serve"],
   "env": ["LISTEN_ADDR=127.0.0.1:$port", "DATA_DIR=$out/data-$n", "OLLAMA_BASE_URL=http://127.0.0.1:9101", "LOG_LEVEL=error"]}
J
  port=$((port + 1))
done
EXTRA="$out/extra.json" sh "$here/limits/anchors.sh" "$out"
cd "$out"
exec bin/run -config anchors.json -rounds "${ROUNDS:-3}" -scenarios "${SCENARIOS:-S4,S5,S1,S2,S3}" \
  -targets "${TARGETS:-direct,nginx,go-handcopy,pool-100,pool-100000}" -md report.md -json report.json
