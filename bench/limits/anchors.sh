#!/bin/sh
# Builds the tools and limit proxies and writes two configurations for `run`:
# anchors.json (direct, nginx, haproxy where installed, the Go limits) and
# tls.json (the upstream behind TLS, HTTP/1.1 or HTTP/2; the mock's TLS side is
# net/http and dear, so compare the proxies' CPU only).
# Usage: anchors.sh OUTDIR   then   OUTDIR/bin/run -config OUTDIR/anchors.json
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:?output directory}/bin"
out=$(cd "$1" && pwd)
cd "$here"
go build -o "$out/bin/" ./cmd/...
for x in revproxy handcopy fasthttp hybrid raw; do go build -o "$out/bin/limit-$x" "./limits/$x"; done
up=127.0.0.1:9101
tls=127.0.0.1:9443
port=9200
list=
add() { # name, command (JSON array), env (JSON array), scenarios to skip (JSON array)
  list="$list,
  {\"name\": \"$1\", \"url\": \"http://127.0.0.1:$port/v1/chat/completions\", \"headers\": {\"Authorization\": \"Bearer bench-token\"}, \"cmd\": $2, \"env\": ${3:-[]}, \"skip\": ${4:-[]}}"
  port=$((port + 1))
}
fill() { # template, output, name, value, scheme, upstream
  sed "s#@PORT@#$port#g; s#@UPSTREAM@#$6#g; s#@SCHEME@#$5#g; s#@DIR@#$out#g; s#@$3@#$4#g" "limits/conf/$1" >"$2"
}
limit() { # name, program, env, skip, more arguments
  add "$1" "[\"$out/bin/limit-$2\", \"-listen\", \"127.0.0.1:$port\"${5:-, \"-upstream\", \"http://$up\"}]" "${3:-[]}" "${4:-[]}"
}
emit() {
  cat >"$out/$1" <<J
{"mock": {"url": "http://$up", "cmd": ["$out/bin/mockupstream", "-listen", "$up", "-tls", "$tls"]},
 "targets": [
  {"name": "direct", "url": "http://$up/v1/chat/completions", "headers": {"Authorization": "Bearer sk-bench-00000000"}}$list
 ]}
J
  echo "$out/$1"
  list=
}

if command -v nginx >/dev/null; then
  for w in 1 2; do
    fill nginx.conf.tmpl "$out/nginx-$w.conf" WORKERS $w http $up
    name=nginx; [ $w = 1 ] || name=nginx-2w
    add $name "[\"nginx\", \"-e\", \"stderr\", \"-c\", \"$out/nginx-$w.conf\"]"
  done
fi
if command -v haproxy >/dev/null; then
  fill haproxy.cfg.tmpl "$out/haproxy.cfg" THREADS 2 http $up
  add haproxy-2t "[\"haproxy\", \"-f\", \"$out/haproxy.cfg\"]"
fi
for x in revproxy handcopy fasthttp hybrid raw; do limit go-$x $x; done
limit go-handcopy-gogc400 handcopy '["GOGC=400"]' '["S4"]'
limit go-hybrid-gogc400 hybrid '["GOGC=400"]' '["S4"]'
# More targets, as JSON objects each with a comma in front.
if [ -n "${EXTRA:-}" ]; then list="$list$(cat "$EXTRA")"; fi
emit anchors.json

if command -v nginx >/dev/null; then
  fill nginx.conf.tmpl "$out/nginx-tls.conf" WORKERS 1 https $tls
  add nginx "[\"nginx\", \"-e\", \"stderr\", \"-c\", \"$out/nginx-tls.conf\"]"
fi
limit go-handcopy-tls-h1 handcopy '[]' '[]' ", \"-upstream\", \"https://$tls\""
limit go-handcopy-tls-h2 handcopy '[]' '[]' ", \"-upstream\", \"https://$tls\", \"-h2\""
limit go-hybrid-tls-h1 hybrid '[]' '[]' ", \"-upstream\", \"https://$tls\""
emit tls.json
