"""A lint of the SQL macros. Jinja renders an undefined name as nothing, and dispatch skips a misspelled macro silently.

`test_rendered_sql.py` parses the rendered statements in each dialect.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from dbt_common.clients.jinja import get_environment
from jinja2 import nodes

import dbt_segconn
from dbt_segconn.state.diff import Diff
from dbt_segconn.warehouse.adapter import SQL_FOLDER
from dbt_segconn.warehouse.dialect import FOLDERS

PACKAGE = Path(dbt_segconn.__file__).parent
FILES = sorted((*SQL_FOLDER.glob("*.sql"), *FOLDERS.glob("*/*.sql")))
# dbt prefixes the names of macros in its syntax trees
PREFIX = "dbt_macro__"
GLOBALS = frozenset({"adapter", "dbt", "dict", "local_md5", "loop", "namespace", "return", "target", "tojson"})
# A macro that builds an expression is clearer on one long line than in pieces
EXPRESSION = re.compile(r"\s*\{[{%]-")
MAX_LINE = 120


def macros_of(path):
    return get_environment(None).parse(path.read_text()).find_all(nodes.Macro)


MACROS = {macro.name.removeprefix(PREFIX): (path, macro) for path in FILES for macro in macros_of(path)}


def names(macro, context):
    return {name.name for name in macro.find_all(nodes.Name) if name.ctx == context}


def test_every_name_in_a_macro_is_defined():
    for name, (path, macro) in MACROS.items():
        defined = {*names(macro, "param"), *names(macro, "store"), *MACROS, *GLOBALS}
        assert not names(macro, "load") - defined, f"{path.name}: {name}"


def test_every_macro_is_used():
    python = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    called = set().union(*(names(macro, "load") for _, macro in MACROS.values()))
    unused = {name for name in MACROS if "__" not in name} - called - set(re.findall(r'"(segconn_\w+)"', python))
    assert not unused


def test_every_dialect_macro_has_a_default():
    called = set().union(*(names(macro, "load") for _, macro in MACROS.values()))
    for name, (path, _) in MACROS.items():
        adapter, separator, base = name.partition("__")
        if separator and adapter != "default":
            assert path.parent.name == adapter, name
            assert f"default__{base}" in MACROS or name in called, f"{path.name}: {name} replaces no macro"


def test_macros_read_fields_of_diff():
    known = {field.name for field in fields(Diff)} | {"over_all_rows"}
    for name, (path, macro) in MACROS.items():
        read = {one.attr for one in macro.find_all(nodes.Getattr) if getattr(one.node, "name", "") == "diff"}
        assert read <= known, f"{path.name}: {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-2:]))
def test_layout(path):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        assert line == line.rstrip(), f"white space at the end of line {number}"
        assert "\t" not in line, f"tab in line {number}"
        assert len(line) <= MAX_LINE or EXPRESSION.match(line), f"line {number} has more than {MAX_LINE} characters"
