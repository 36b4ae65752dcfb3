#!/usr/bin/env bash
# Tests of warehouses whose packages are too large for every run, by name: tests/warehouses/run.sh redshift bigquery
#   redshift   the contract, values, identifiers, wide rows, conflicts, lost connections and a few histories of
#              tests/guarantee.sh, by dbt-redshift on a real PostgreSQL behind a proxy, which speaks as Redshift
#   bigquery   the contract, values, identifiers and wide rows, by dbt-bigquery on a server of local-bigquery; needs
#              Python 3.13 or newer
#   snowflake  the contract and the values, by dbt-snowflake on a server of fakesnow
#   spark      the contract, the values, inserts of several processes and errors, by dbt-spark on a Thrift server of
#              pyspark; the contract and the values also in a session. Java comes from PyPI, too
#   rendered   every statement as BigQuery, Databricks and Redshift are sent it, against tests/warehouses/rendered
# Each makes a virtual environment of its own, .venv-NAME, of 0.6 to 1.6 GB. Without arguments: all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests=(tests/warehouses/test_contract.py tests/warehouses/test_values.py tests/warehouses/test_rendered_sql.py)
[ $# -gt 0 ] || set -- redshift bigquery snowflake spark rendered

run() {
  local name=$1 warehouse=$2
  shift 2
  if ! cmp -s "tests/warehouses/$name.txt" ".venv-$name/packages.txt"; then
    "${PYTHON:-python3}" -m venv --clear ".venv-$name"
    # some of these adapters need other versions of what nothing here depends on
    grep -vE '^(certifi|cffi|cryptography|pycparser|sqlglot)==' tests/constraints.txt >".venv-$name/constraints.txt"
    ".venv-$name/bin/pip" install --quiet --disable-pip-version-check --constraint ".venv-$name/constraints.txt" \
      --requirement "tests/warehouses/$name.txt" --editable '.[dev]'
    cp "tests/warehouses/$name.txt" ".venv-$name/packages.txt"
  fi
  # their drivers warn of their own future
  PATH="$PWD/.venv-$name/bin:$PATH" SEGCONN_WAREHOUSES=$warehouse pytest -rs -W default "$@"
}

for name in "$@"; do
  case "$name" in
    redshift)
      run redshift redshift_fake "${tests[@]}" tests/warehouses/test_identifiers.py tests/warehouses/test_wide.py \
        tests/warehouses/test_redshift.py tests/test_guarantee.py -k redshift
      ;;
    bigquery) run bigquery bigquery_fake "${tests[@]}" tests/warehouses/test_{bigquery,identifiers,wide}.py \
        -k bigquery ;;
    snowflake) run snowflake snowflake_fake "${tests[@]}" ;;
    spark)
      # one statement takes seconds, and the server as long as several tests to start
      run spark "spark_thrift spark_session" -o timeout=1800 "${tests[@]}" tests/warehouses/test_spark.py
      ;;
    rendered) run rendered duckdb_file tests/warehouses/test_rendered_sql.py ;;
    *)
      echo "tests/warehouses/run.sh: $name is none of redshift, bigquery, snowflake, spark, rendered." >&2
      exit 2
      ;;
  esac
done
