#!/usr/bin/env bash
# The tests of warehouses that take more than CI's time or disk: tests/warehouses/run.sh [snowflake] [spark] [rendered]
# Each has a virtual environment of its own, .venv-NAME, of 0.7 to 1 GB. Spark needs Java 17 or newer.
#   snowflake  the contract and the values, by dbt-snowflake on a server of fakesnow
#   spark      the same, by dbt-spark in a session of pyspark
#   rendered   every statement as BigQuery, Databricks and Redshift are sent it, against tests/warehouses/rendered
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages() {
  case "$1" in
    snowflake) echo 'dbt-snowflake>=1.9 fakesnow[server]==0.12.1 snowflake-connector-python==3.18.1' ;;
    spark) echo 'dbt-spark[session]==1.11.0 pyspark==4.3.0' ;;
    rendered) echo 'dbt-bigquery==1.12.1 dbt-databricks==1.10.9 dbt-redshift==1.11.2' ;;
    *) echo "tests/warehouses/run.sh: $1 is none of snowflake, spark, rendered." >&2; return 1 ;;
  esac
}

for name in "${@:-snowflake spark rendered}"; do
  for one in $name; do
    wanted=$(packages "$one")
    if [ "$one" = spark ] && ! command -v java >/dev/null; then
      echo "Spark needs Java 17 or newer on the PATH: apt-get install openjdk-17-jre-headless" >&2
      exit 1
    fi
    # shellcheck disable=SC2086  several words
    VENV=".venv-$one" PACKAGES="$wanted" tests/run.sh --version
    case "$one" in
      snowflake) SEGCONN_WAREHOUSES=snowflake_fake VENV=".venv-$one" PACKAGES="$wanted" tests/run.sh -W default \
        tests/warehouses/test_contract.py tests/warehouses/test_values.py tests/warehouses/test_rendered_sql.py ;;
      spark) SEGCONN_WAREHOUSES=spark_session VENV=".venv-$one" PACKAGES="$wanted" tests/run.sh -W default \
        tests/warehouses/test_contract.py tests/warehouses/test_values.py tests/warehouses/test_rendered_sql.py ;;
      rendered) VENV=".venv-$one" PACKAGES="$wanted" tests/run.sh -W default tests/warehouses/test_rendered_sql.py ;;
    esac
  done
done
