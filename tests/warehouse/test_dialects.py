"""A warehouse is a folder with its macros. No other folder has them, and each replaces a macro that is called."""

from __future__ import annotations

import re

import pytest

from dbt_segconn.warehouse.adapter import SQL_FOLDER
from dbt_segconn.warehouse.dialect import FOLDERS

ADAPTERS = sorted(path.parent.name for path in FOLDERS.glob("*/__init__.py"))
PREFIXED = re.compile(r"\b([a-z]+)__(segconn_\w+)")


def sql(folder):
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.sql")))


def macros(text):
    return re.findall(r"{% macro (\w+)\(", text)


def test_shared_sql_names_no_warehouse():
    assert len(ADAPTERS) > 7
    assert {prefix for prefix, _ in PREFIXED.findall(sql(SQL_FOLDER))} == {"default"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dialect_macros_override_defaults(adapter):
    shared, own = sql(SQL_FOLDER), sql(FOLDERS / adapter)
    called = {*re.findall(r"dispatch\('(\w+)'", shared), *(name.removeprefix("default__") for name in macros(shared))}
    for macro in macros(own):
        prefix, _, name = macro.partition("__")
        assert prefix == adapter
        assert name in called or own.count(f"{macro}(") > 1
