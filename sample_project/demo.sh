#!/usr/bin/env bash
# Shows the main job from end to end: a shop is built by dbt on DuckDB and delivered to a local stand-in
# for Segment; then a day goes by, and what has changed is delivered. Needs Python 3.10 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
project=$PWD
venv=$project/target/venv
export DBT_PROFILES_DIR=$project SAMPLE_SHOP_DUCKDB=$project/target/shop.duckdb

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3.10 python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 10))'; then
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
    say "Installing into target/venv (once)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt \
      --editable '..[debugger]' dbt-duckdb
    cp constraints.txt "$venv/constraints.txt"
  fi
}

start_debugger() {
  rm -f target/calls.jsonl
  : >target/debugger.url # read below, perhaps before the debugger's shell has made it
  dbt-segconn debugger --port 0 --log target/calls.jsonl >target/debugger.url &
  debugger=$!
  trap 'kill "$debugger" 2>/dev/null || true; wait "$debugger" 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    SEGMENT_ENDPOINT=$(sed -n 's/^Listening on \(http[^ ]*\).*/\1/p' target/debugger.url)
    if [ -n "$SEGMENT_ENDPOINT" ]; then
      export SEGMENT_ENDPOINT
      echo "Listening on $SEGMENT_ENDPOINT"
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

say "Day 1: dbt build"
dbt --quiet build
echo "The shop is built: 5 models, 1 snapshot, their tests passed."

say "The debugger stands in for Segment"
start_debugger

say "Day 1: dbt-segconn run"
dbt-segconn run

say "Day 2: customers and orders come, change and go; dbt build"
dbt --quiet build --vars '{day: 2}'
echo "The shop is built again."

say "What dbt-segconn would send now (one call of each mapping that has any)"
dbt-segconn preview --limit 1 | python show_calls.py preview

say "Day 2: dbt-segconn run"
dbt-segconn run

say "What arrived"
python show_calls.py arrived target/calls.jsonl

say "The last sync of every mapping"
dbt-segconn status
