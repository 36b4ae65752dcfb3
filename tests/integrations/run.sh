#!/usr/bin/env bash
# Tests of orchestrators, each with the real tool in a virtual environment of its own, .venv-NAME, of 0.4 to 0.6 GB:
#   tests/integrations/run.sh [airflow] [dagster] [prefect] [github]
# Without arguments: all of them. They need Python 3.11 to 3.13. github is the action in .github/actions, with linters of
# actions, and its workflow as a whole.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/python.sh
[ $# -gt 0 ] || set -- airflow dagster prefect github

for name in "$@"; do
  packages=tests/integrations/$name.txt
  if [ ! -f "$packages" ]; then
    echo "tests/integrations/run.sh: $name is none of airflow, dagster, prefect, github." >&2
    exit 2
  fi
  if ! cmp -s "$packages" ".venv-$name/packages.txt"; then
    python=${PYTHON:-$(python_of 3.13 || python_of 3.12 || python_of 3.11)}
    "$python" -m venv --clear ".venv-$name"
    ".venv-$name/bin/pip" install --quiet --disable-pip-version-check --requirement "$packages" --editable '.[dev]'
    cp "$packages" ".venv-$name/packages.txt"
  fi
  # their own warnings of their own future; they start slowly
  PATH="$PWD/.venv-$name/bin:$PATH" pytest -W default --timeout 1200 "tests/integrations/test_$name"*.py
done
