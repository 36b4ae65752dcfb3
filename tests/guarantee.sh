#!/usr/bin/env bash
# Run random histories of tests/test_guarantee.py, in shards of 50 with one seed each:
#   tests/guarantee.sh duckdb 2000        # seeds 1 to 40
#   tests/guarantee.sh postgres 500 101   # seeds 101 to 110
#   tests/guarantee.sh redshift 50        # on the stand-in, once tests/warehouses/run.sh redshift has made .venv-redshift
# A failing shard does not end the others. The output names the file with its history and how to replay it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
warehouse=$1 histories=$2 seed=${3:-1} shard=${SHARD:-50}
options=(-q -n 0 --no-cov --tb=short)
case $warehouse in
  duckdb) tests=segment_equals_the_model ;;
  postgres) tests=on_a_server ;;
  redshift)
    tests=on_redshift PATH="$PWD/.venv-redshift/bin:$PATH"
    options+=(-W default)  # its driver warns of its own future
    ;;
  *) echo "usage: tests/guarantee.sh duckdb|postgres|redshift HISTORIES [FIRST_SEED]" >&2; exit 2 ;;
esac
# A machine that is busy for hours is slow, not broken
export SEGCONN_TEST_PATIENCE=${SEGCONN_TEST_PATIENCE:-3600}
export GUARANTEE_EXAMPLES=$shard GUARANTEE_POSTGRES_EXAMPLES=$shard GUARANTEE_REDSHIFT_EXAMPLES=$shard
failed=()
for ((ran = 0; ran < histories; ran += shard, seed++)); do
  python -m pytest "${options[@]}" tests/test_guarantee.py -k "$tests" --hypothesis-seed="$seed" ||
    failed+=("$seed")
  echo "$(date -u +%FT%TZ) $warehouse: seed $seed, $((ran + shard)) of $histories histories, failed: ${failed[*]:-none}"
done
[ ${#failed[@]} -eq 0 ]
