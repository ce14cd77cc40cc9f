#!/usr/bin/env bash
# Runs the public suite of tests for HTTP caches (npm package http-cache-tests) against the node, and prints how many
# requirements it meets and which it does not. docs/rfc9111.md explains those.
#
#   scripts/conformance.sh FOREBAY
#
# The suite was made for RFC 7234; where RFC 9111 says otherwise, the node follows RFC 9111.
set -eu

forebay=$(realpath "$1")
cd "$(dirname "$0")/.."
work=target/conformance
suite=$work/node_modules/http-cache-tests
mkdir -p "$work"

if [ ! -d "$suite" ]; then
    echo '{ "private": true }' >"$work/package.json"
    npm install --prefix "$work" --no-audit --no-fund --ignore-scripts --loglevel=error http-cache-tests@0.4.5
fi

pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# Waits until a log holds a line, and prints what of it matches: line_of LOG PATTERN
line_of() {
    for _ in $(seq 100); do
        if grep -om1 "$2" "$1"; then return 0; fi
        sleep 0.1
    done
    echo "conformance: no line like '$2' in $1" >&2
    return 1
}

: >"$work/origin.log"
(
    cd "$suite"
    export npm_config_protocol=http npm_config_port=0 npm_config_pidfile=/dev/null
    exec node server/server.mjs
) >"$work/origin.log" 2>&1 &
pids+=($!)
origin=http://127.0.0.1:$(line_of "$work/origin.log" ':[0-9][0-9]*/' | tr -d ':/')

sed "s|ORIGIN|$origin|" tests/conformance/forebay.toml >"$work/forebay.toml"
: >"$work/node.log"
"$forebay" serve --config "$work/forebay.toml" >"$work/node.log" 2>&1 &
pids+=($!)
node=http://$(line_of "$work/node.log" '127[.]0[.]0[.]1:[0-9][0-9]*')
line_of "$work/node.log" '"ready"' >/dev/null

(
    cd "$suite"
    export npm_config_base="$node" npm_config_id= npm_package_config_id=
    exec timeout 300 node --no-warnings cli.mjs
) >"$work/results.json"
node --no-warnings tests/conformance/report.mjs "$suite" "$work/results.json"
