#!/usr/bin/env bash
# The whole story in one terminal: start, greet twice, rotate under way, greet again, stop.
# It works in a folder of its own and on a free port: nothing of yours is touched.
set -euo pipefail

folder=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi
    rm -rf "$folder"
}
trap cleanup EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
run() { printf '$ %s\n' "$*"; "$@"; }

export HANDCLASP_STATE=state
cd "$folder"

say "1. An authority, a server's credential, a client's"
run handclasp-pki init
run handclasp-pki issue server localhost --dns localhost --ip 127.0.0.1 --ip ::1
run handclasp-pki issue client alice --email alice@example.com

say "2. Serve"
handclasp-serve --credential state/credentials/localhost --bind localhost:0 >ready 2>log &
server=$!
for _ in $(seq 600); do grep -q https ready && break; kill -0 "$server" || { cat log; exit 1; }; sleep 0.1; done
cut -d')' -f1 ready | sed 's/$/)/'
url=$(grep -o 'https://[^ ]*' ready | head -1)
export HANDCLASP_CREDENTIAL=state/credentials/alice HANDCLASP_URL="$url"

say "3. Greet twice: the name is the one in the certificate that was verified"
run handclasp-http1 greet
run handclasp-http2 greet

say "4. Rotate both, while the server runs and a client goes on asking"
handclasp-http2 greet --repeat 2000 >answers &
client=$!
run handclasp-pki rotate --all
wait "$client"
printf 'meanwhile: %s answers, %s of them other than the greeting\n' \
    "$(wc -l <answers)" "$(grep -cv 'Hello alice@example.com!' answers || true)"

say "5. Greet again: another key, the same identity"
sleep 1
grep reloaded log | tail -1
run handclasp-http2 greet

say "6. Stop: requests in flight would have ended first"
kill "$server"
wait "$server" && echo "the server ended with exit code $?"
server=
