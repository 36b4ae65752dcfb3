#!/usr/bin/env bash
# All checks: formatting, lint, types, import contracts, tests with branch coverage on the newest Python here, and the
# main job with the oldest dbt that is made for a Python here. Other pairs of dbt and Python: tests/matrix.sh
# Makes its own virtual environments with pinned versions; needs Python 3.10 to 3.13.
# Arguments go to pytest: tests/run.sh tests/test_gate.py -k empty
# Snowflake's SQL, Spark and the SQL that other adapters render take packages of gigabytes: tests/warehouses/run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}

source tests/python.sh

find_python() {
  if [ -n "${PYTHON:-}" ]; then
    echo "$PYTHON"
  elif ! python_of 3.13 && ! python_of 3.12 && ! python_of 3.11 && ! python_of 3.10; then
    echo "tests/run.sh needs Python 3.10 to 3.13, on the PATH or under pyenv." >&2
    return 1
  fi
}

if ! cmp -s tests/constraints.txt "$venv/constraints.txt"; then
  python=$(find_python)
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint tests/constraints.txt --editable '.[dev]'
  cp tests/constraints.txt "$venv/constraints.txt"
fi
export PATH="$PWD/$venv/bin:$PATH"

if [ $# -gt 0 ]; then
  exec pytest "$@"
fi
ruff format --check .
ruff check .
biome check --error-on-warnings dbt_segconn/web
mypy
lint-imports
# beside the suite, which often waits
old_pair=$(mktemp)
trap 'rm -f "$old_pair"' EXIT
tests/matrix.sh oldest:oldest -- -q -n 0 tests/warehouses/test_contract.py \
  -k 'duckdb_file and (after_dbt or by_kind or killed_in_the_middle)' >"$old_pair" 2>&1 &
passed=0
pytest -n logical --dist worksteal --cov --cov-report=term:skip-covered || passed=$?
wait $! || passed=$?
cat "$old_pair"
exit "$passed"
