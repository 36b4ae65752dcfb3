#!/usr/bin/env bash
# Shows the main job from end to end: a shop is built by dbt on DuckDB and delivered to a local stand-in
# for Segment; then a day goes by, and what has changed is delivered. Needs Python 3.10 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
project=$PWD
venv=$project/target/venv
export DBT_PROFILES_DIR=$project SAMPLE_SHOP_DUCKDB=$project/target/shop.duckdb

say() {
  if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\n\033[1m== %s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi
}

# working WHAT COMMAND...: run a command with a dot every two seconds; show its output only if it fails
working() {
  local what=$1 started=$SECONDS status=0
  shift
  printf '%s ' "$what"
  while sleep 2; do printf .; done &
  dots=$!
  "$@" >target/demo.log 2>&1 || status=$?
  kill "$dots" && wait "$dots" 2>/dev/null || true
  dots=
  if [ "$status" -ne 0 ]; then
    printf ' failed:\n'
    cat target/demo.log
    return "$status"
  fi
  printf ' %s s\n' "$((SECONDS - started))"
}

dots= debugger=
stop() {
  local job
  for job in $dots $debugger; do
    kill "$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
  done
}
trap stop EXIT

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3.10 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "demo.sh needs Python 3.10 or newer on the PATH." >&2
  return 1
}

install() {
  local python
  python=$(find_python)
  mkdir -p target
  if ! cmp -s constraints.txt "$venv/constraints.txt"; then
    say "Installing dbt, DuckDB and dbt-segconn into sample_project/target/venv (once)"
    rm -rf "$venv"
    working "Making a virtual environment" "$python" -m venv "$venv"
    working "Installing packages" "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt \
      --editable '..[debugger]' dbt-duckdb
    cp constraints.txt "$venv/constraints.txt"
  fi
}

start_debugger() {
  rm -f target/calls.jsonl
  : >target/debugger.url # read below, perhaps before the debugger's shell has made it
  dbt-segconn debugger --port 0 --log target/calls.jsonl >target/debugger.url &
  debugger=$!
}

find_debugger() {
  for _ in $(seq 100); do
    SEGMENT_ENDPOINT=$(sed -n 's/^Listening on \(http[^ ]*\).*/\1/p' target/debugger.url)
    if [ -n "$SEGMENT_ENDPOINT" ]; then
      export SEGMENT_ENDPOINT
      echo "dbt-segconn's debugger stands in for Segment at $SEGMENT_ENDPOINT"
      return
    fi
    kill -0 "$debugger" 2>/dev/null || { echo "The debugger did not start." >&2; return 1; }
    sleep 0.1
  done
  echo "The debugger did not answer in time." >&2
  return 1
}

install
export PATH="$venv/bin:$PATH"
rm -f "$SAMPLE_SHOP_DUCKDB" "$SAMPLE_SHOP_DUCKDB.wal"

say "Day 1: dbt builds a shop: customers, accounts, orders, visits"
start_debugger # while dbt builds
working "dbt build" dbt --quiet build
find_debugger

say "Day 1: dbt-segconn run sends all of it"
dbt-segconn run
first=$(wc -l <target/calls.jsonl)

say "Day 2: customers and orders come, change and go, and dbt builds the shop again"
working "dbt build" dbt --quiet build --vars '{day: 2}'

say "Day 2: a look before the run: a customer who left, and the call for that"
dbt-segconn preview --mapping customer_deleted --change-type deleted --limit 1 --format text

say "Day 2: dbt-segconn run sends what has changed"
dbt-segconn run

say "What changed in the shop on day 2, and what arrived"
python show_calls.py target/calls.jsonl "$first"

say "Look around"
echo "Everything is in sample_project/target. Nothing has left this machine. In sample_project, try:"
echo "  target/venv/bin/dbt-segconn status"
echo "  target/venv/bin/dbt-segconn ui"
