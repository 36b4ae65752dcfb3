"""Error messages of drivers reach the user without the values of rows."""

from __future__ import annotations

import pytest
from standing import ADA

from dbt_segconn.warehouse.dialect import Dialect
from dbt_segconn.warehouse.dialects import databricks, spark
from dbt_segconn.warehouse.session import masked_text

SECRET = "ada@example.com"


class Error(Exception): ...


class DatabaseError(Error): ...


class DataError(DatabaseError): ...


class InvalidTextRepresentationError(DataError): ...


class ProgrammingError(DatabaseError):
    sqlstate = "22018"


class CapturedError(Error):
    def getSqlState(self):  # noqa: N802  pyspark's name
        return "22018"


def wrapped(error, text):
    """Wrap it as dbt does: the driver's error is the cause of dbt's, which has its text."""
    try:
        try:
            raise error
        except Error as cause:
            raise RuntimeError(text) from cause
    except RuntimeError as raised:
        return raised


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f'invalid input syntax for type integer: "{SECRET}"', "invalid input syntax for type integer: '…'"),
        (f"Could not convert string '{SECRET}' to INT32", "Could not convert string '…' to INT32"),
        (f"Could not convert string 'O'{SECRET}' to INT32\n\nLINE 5: select", "Could not convert string '…' to INT32"),
        (f"Could not convert string '{SECRET}", "Could not convert string '…'"),
        (
            (
                'null value in column "plan" of relation "customers" violates not-null constraint'
                f"\nDETAIL:  Failing row contains (c1, {SECRET}, null).\nCONTEXT: x {SECRET}"
            ),
            'null value in column "plan" of relation "customers" violates not-null constraint',
        ),
        (
            f'Runtime Error\n  duplicate key value violates unique constraint "pkey"\n  DETAIL:  Key (a)=({SECRET})',
            'Runtime Error\n  duplicate key value violates unique constraint "pkey"',
        ),
        (f'value "a\nDETAIL: {SECRET}" is out of range', "value '…'"),
        (f"Bad int64 value: {SECRET}", "Bad int64 value: '…'"),
        ("Division by zero: 491.5 / 0; at [3:7]", "Division by zero: '…'"),
        ("Type INT64 with value 491711223344 can't be cast", "Type INT64 with value '…' can'…'"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [InvalidTextRepresentationError(), ProgrammingError(), CapturedError()],
    ids=["class", "sqlstate", "pyspark"],
)
def test_values_of_rows_are_masked_and_the_rest_is_kept(error, text, masked):
    assert masked_text(wrapped(error, text), Dialect()) == (masked, True)


def test_other_errors_keep_their_words():
    text = "Catalog Error: Table with name 'customers' does not exist!\nLINE 1: select * from customers"
    assert masked_text(wrapped(DatabaseError(), text), Dialect()) == (text, False)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("cast(email as integer)", "Could not convert string '…' to INT32"),
        ("(email::json)::varchar", "Malformed JSON"),
        ("strptime(email, '%Y')::varchar", "Could not parse string"),
    ],
)
def test_a_view_that_fails_while_it_is_read_does_not_tell_of_its_rows(shop, plan, words):
    shop.write(
        "models/customers.sql",
        "{{ config(materialized='view') }}\n"
        f"select id as customer_id, email, {plan} as plan from (values {ADA[:2]}) as t(id, email)",
    )
    shop.dbt("run")
    result = shop.segconn("run", "--log-format", "json")
    assert result.exit_code == 1
    assert words in result.output
    assert SECRET not in result.output
    assert SECRET not in (shop.dir / "target/segconn/run_results.json").read_text()
    assert SECRET not in shop.segconn("status").output


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"[USER_RAISED_EXCEPTION] {SECRET} SQLSTATE: P0001", "[USER_RAISED_EXCEPTION] '…' SQLSTATE: P0001"),
        (f"Error: [A.B] a.B: [A.B] {SECRET}\n{SECRET}\nSQLSTATE: P0001\n\tat a.b(c)", "[A.B] '…' SQLSTATE: P0001"),
        (
            f"[CAST_INVALID_INPUT] The value '{SECRET}' is bad. SQLSTATE: 22018",
            "[CAST_INVALID_INPUT] The value '…' is bad. SQLSTATE: '…'",
        ),
    ],
)
def test_values_in_errors_of_spark_are_masked(text, masked):
    assert masked_text(spark.SparkError(text), spark.DIALECT) == (masked, True)


def test_values_in_errors_of_databricks_are_masked():
    error = wrapped(Error(), f"[CAST_INVALID_INPUT] The value '{SECRET}' cannot be cast. SQLSTATE: 22018")
    assert masked_text(error, databricks.DIALECT)[0].startswith("[CAST_INVALID_INPUT] The value '…' cannot")
