#!/usr/bin/env bash
# All checks: formatting, lint, types, import contracts, tests with branch coverage.
# Makes its own virtual environment with pinned versions; needs Python 3.10 or newer.
# Arguments go to pytest: tests/run.sh tests/test_gate.py -k empty
# Snowflake's SQL, Spark and the SQL that other adapters render take packages of gigabytes: tests/warehouses/run.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 10))'; then
      echo "$candidate"
      return
    fi
  done
  echo "tests/run.sh needs Python 3.10 or newer on the PATH." >&2
  return 1
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
mypy
lint-imports
pytest -n auto --cov --cov-report=term:skip-covered
