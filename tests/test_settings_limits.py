"""Invalid segconn.yml and model YAML cause no crash, hang or leak."""

from __future__ import annotations

import time

import pytest
from standing import MAPPING, WRITE_KEY

FILE = """\
destinations:
  app:
    write_key: "{{{{ env_var('WK') }}}}"
    endpoint: http://127.0.0.1:9
    concurrency: {value}
"""
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            "\"{{ env_var('WK') * 10**9 }}\"",
            "cannot be rendered: the result of * has more than 100,000 characters or items",
        ),
        ('"{{ [1, 2] * 10**9 }}"', "the result of * has more than 100,000 characters or items"),
        ('"{{ 10 ** 100000 }}"', "the exponent of ** must be at most 1000"),
        ('"{{ 1 / 0 }}"', "it raises ZeroDivisionError"),
        ('"{% for i in range(10) %}{{ i }}{% endfor %}"', "{% for %} is not supported here"),
        ("\"{% include 'x' %}\"", "{% include %} is not supported here"),
        ("\"{% import 'x' as y %}\"", "{% import %} is not supported here"),
        ("\"{{ env_var('WK').__class__.__mro__ }}\"", "cannot be rendered"),
        ("\"{{ env_var('WK').x }}\"", "cannot be rendered: str has no 'x'"),
        ("\"{{ [env_var('WK').x] }}\"", "cannot be rendered: str has no 'x'"),
        ("\"{{ env_var('WK'\"", "cannot be rendered"),
        ("\"{{ env_var(env_var('WK')) }}\"", "a computed name is not set"),
        ("\"{{ var(env_var('WK')) }}\"", "a computed name is not set"),
        ("\"{{ [1] | map(env_var('WK')) | list }}\"", "No filter named '…'"),
        ("\"{{ {}[env_var('WK')] ~ '' }}\"", "a computed name is not defined"),
        ("\"{{ {}[env_var('WK')] }}\"", "a computed name is not defined"),
        ("\"{{ log(env_var('WK'), info=True) }}\"", "'log' is not defined"),
        ("\"{{ 'x' | center(10 ** 9) }}\"", "it needs more than 256 MB of memory"),
        ("\"{{ modules.re.match('(a+)+$', 'a' * 40 ~ '!') }}\"", "it needs more than 2 seconds of CPU time"),
        ("\"{{ 'x' * 99999 ~ 'yy' }}\"", "the result has more than 100,000 characters"),
        ("&x {y: *x}", "the alias *x is inside the node that it refers to"),
        ("2026-02-30", "not a valid timestamp"),
        (f"'{'9' * 5000}'", "exceeded maximum size"),
        ("!!timestamp x", "not a valid timestamp"),
        ("!!int x", "not a valid int"),
        ("!!binary é", "not valid YAML"),
        (f"*{WRITE_KEY}", "found undefined alias '…'"),
        (f"!{WRITE_KEY} x", "could not determine a constructor for the tag '…'"),
        ("[" * 300 + "]" * 300, "must be nested at most 200 levels deep"),
    ],
)
def test_unreadable_settings_are_findings(shop, value, words):
    shop.manifest(MAPPING)
    shop.write("segconn.yml", FILE.format(value=value))
    began = time.process_time()
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "segconn.yml:5: " in result.output
    assert WRITE_KEY not in result.output
    assert time.process_time() - began < 20


def test_loading_a_profile_has_no_limit(shop, monkeypatch):
    """The first template that reads `target.schema` imports dbt, which takes seconds on a slow machine."""
    from dbt_segconn.project import jinja
    from dbt_segconn.warehouse import adapter

    load = adapter.load_profile
    monkeypatch.setattr(adapter, "load_profile", lambda *arguments: sum(range(2 * 10**7)) and load(*arguments))
    monkeypatch.setattr(jinja, "CPU_SECONDS", 0.1)
    shop.state = {"schema": "segconn_{{ target.schema }}"}
    shop.settings()
    shop.manifest(MAPPING)
    result = shop.segconn("validate")
    assert result.exit_code == 0, result.output


def test_unquoted_template_is_a_finding(shop):
    shop.manifest(MAPPING)
    shop.write("segconn.yml", "destinations:\n  app:\n    write_key: {{ env_var(WK) }}\n")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert "segconn.yml:3: " in result.output
    assert "Quote" in result.output


@pytest.mark.parametrize("name", ["segconn.yml", "dbt_project.yml", "models/customers.yml"])
def test_billion_laughs_fail_fast(shop, name):
    shop.manifest(MAPPING)
    shop.write(name, LAUGHS + (shop.dir / name).read_text())
    began = time.process_time()
    for command in (("run", "--all"), ("validate",)):
        result = shop.segconn(*command)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert name.startswith("models") or "must hold at most 1,000,000 nodes" in result.output
    assert time.process_time() - began < 30


@pytest.mark.parametrize("name", ["dbt_project.yml", "profiles.yml"])
def test_impossible_date_names_its_line(shop, name):
    shop.manifest(MAPPING)
    shop.write(name, f"x: 2026-02-30\n{(shop.dir / name).read_text()}")
    result = shop.segconn("run", "--all")
    assert result.exit_code == 2
    assert f"{name}:1: not valid YAML: not a valid timestamp" in result.output
