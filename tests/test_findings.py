"""`validate` reports findings with code, line and column in every format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from standing import ADA, MAPPING, WRITE_KEY

from dbt_segconn.commands import main
from dbt_segconn.project.findings import RULES

# Each faulty line ends in its codes.
MODELS = """
models:
  - name: customers
    config:
      contract: {enforced: true}
      meta:
        segconn:
          unique_identifier: customer_id  # SEG302
          mappings:
            - name: first
              destination: app
              action: identify
              frist_sync: send  # SEG201
              guards:
                max_rows: 3  # SEG201
                max_records: true  # SEG203
              fields:
                user_id: $customer_id
                timestamp: 2024-01-01  # SEG405
                usr_id: x  # SEG402
                traits:
                  email: $age  # SEG501
                  plan: $paln  # SEG303
                  on: always  # SEG601
                  version: 1.10  # SEG601
                  code: 010  # SEG601
                  at: 12:30:00  # SEG601
                  vip: yes  # SEG601
                  mail: a
                  mail: b  # SEG602
                  greeting: Hello {{ email }}  # SEG404
                  "quoted": "on"
                  since: 2024-01-01
            - name: second
              action: trakc  # SEG205
              destination: ap  # SEG206
              enabled: [no]  # SEG203 SEG601
              fields:
                event_name: Cost $plan  # SEG401
            - name: second  # SEG208
              action: track
              destination: off_duty  # SEG207
              fields:
                event_name: "Ordered ${plan}"  # SEG502
                user_id: {"@path": 3}  # SEG401
            - {name: third, action: track, destination: app, fields: {user_id: $customer_id}}  # SEG403
    columns:
      - {name: customer_id, data_type: varchar, data_tests: [not_null]}
      - {name: age, data_type: integer}
      - {name: email, data_type: varchar}
      - {name: plan, data_type: varchar}
"""
SETTINGS = """
destinations:
  app:
    write_key: "{{ env_var('WK') }}"
    regoin: us-west-2  # SEG201
    concurrency: many  # SEG203
    events_per_second: true  # SEG203
  off_duty: {write_key: x, enabled: false}
"""


def marked(text):
    """Return line → codes, from the comments at the ends of lines."""
    return {
        number: sorted(re.findall(r"SEG\d{3}", line.partition("  # ")[2]))
        for number, line in enumerate(text.splitlines(), start=1)
        if "  # SEG" in line
    }


def found(shop, *arguments):
    result = shop.segconn("validate", "--format", "json", *arguments)
    return json.loads(result.output)


def by_line(answer, file):
    lines = {}
    for one in answer["findings"]:
        if one["file"] == file:
            lines.setdefault(one["line"], []).append(one["code"])
    return {line: sorted(codes) for line, codes in lines.items()}


def codes(shop, *mappings, **meta):
    shop.manifest(*mappings, **meta)
    return [one["code"] for one in found(shop)["findings"]]


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def broken(shop, kept):
    """A project with every error, parsed by dbt."""
    shop.write("models/customers.yml", MODELS)
    shop.write("segconn.yml", SETTINGS)
    shop.rows(ADA)
    shop.parse(kept)
    return shop


def test_every_finding_has_its_line(broken):
    answer = found(broken)
    expected = marked(MODELS)
    # segconn.yml is invalid, so destinations are not checked
    for line, code in ((36, "SEG206"), (42, "SEG207")):
        expected[line].remove(code)
    assert by_line(answer, "models/customers.yml") == {line: codes for line, codes in expected.items() if codes}
    assert by_line(answer, "segconn.yml") == marked(SETTINGS)
    lines = MODELS.splitlines()
    for one in answer["findings"]:
        if one["file"] == "models/customers.yml" and one["path"]:
            key = one["path"].rpartition(".")[2].strip('"')
            at = lines[one["line"] - 1][one["column"] - 1 :].lstrip('"')
            assert at.startswith((key, "on:", "no]", "fields")), one

    broken.settings()
    settings = yaml.safe_load((broken.dir / "segconn.yml").read_text())
    settings["destinations"]["off_duty"] = {"write_key": "x", "enabled": False}
    broken.write("segconn.yml", settings)
    assert by_line(found(broken), "models/customers.yml") == marked(MODELS)


def test_run_lists_errors_and_sends_nothing(broken, api):
    broken.settings()
    result = broken.segconn("run", "--all")
    assert result.exit_code == 2
    assert "  models/customers.yml:20: model customers, mapping first: fields.usr_id: identify has no" in result.output
    assert api.received == []


def test_annotations_use_repository_paths(broken, monkeypatch):
    monkeypatch.setenv("GITHUB_WORKSPACE", str(broken.dir.parent))
    result = broken.segconn("validate", "--format", "github")
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("::")]
    assert len(lines) == len(found(broken)["findings"])
    pattern = r"::(error|warning) file=shop/(models/customers|segconn)\.yml,line=\d+,col=\d+,title=SEG\d{3} [a-z-]+::\S"
    assert all(re.match(pattern, line) for line in lines)
    assert any("{%25 raw %25}" in line for line in lines)


def test_github_properties_are_escaped():
    from dbt_segconn.commands.validate import Validation, as_github
    from dbt_segconn.project.findings import WRONG_VALUE, Finding

    finding = Finding(WRONG_VALUE, "100% wrong,\nreally: so", "", "a,b:c.yml", 3, 7)
    (line,) = as_github(Validation(Path("/r"), 1, 1, (finding,)), Path("/r"))
    assert line == ("::error file=a%2Cb%3Ac.yml,line=3,col=7,title=SEG204 wrong-value::100%25 wrong,%0Areally: so.")


# Required by the standard, and by GitHub code scanning
SARIF = {
    "type": "object",
    "required": ["version", "runs", "$schema"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": {"required": ["text"]},
                                                "help": {"required": ["text"]},
                                                "defaultConfiguration": {"$ref": "#/$defs/level"},
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {
                        "items": {
                            "required": ["message", "ruleId", "locations"],
                            "properties": {
                                "message": {
                                    "required": ["text"],
                                    "properties": {"text": {"type": "string", "minLength": 1}},
                                },
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "locations": {
                                    "items": {
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],
                                                        "properties": {
                                                            "uri": {"type": "string", "format": "uri-reference"}
                                                        },
                                                    },
                                                    "region": {
                                                        "additionalProperties": False,
                                                        "properties": {
                                                            "startLine": {"type": "integer", "minimum": 1},
                                                            "startColumn": {"type": "integer", "minimum": 1},
                                                        },
                                                    },
                                                },
                                            }
                                        },
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
    "$defs": {"level": {"properties": {"level": {"enum": ["none", "note", "warning", "error"]}}}},
}


def test_sarif_is_valid_and_links_rules(broken):
    import jsonschema

    log = json.loads(broken.segconn("validate", "--format", "sarif").output)
    jsonschema.validate(log, SARIF, jsonschema.Draft202012Validator)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    assert all(f"dbt-segconn docs {rule['id']}" in rule["help"]["text"] for rule in rules)
    assert len(run["results"]) == len(found(broken)["findings"])
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


def test_project_and_sql_meta_have_lines(shop):
    project = (shop.dir / "dbt_project.yml").read_text()
    inherited = """\
  +meta: {segconn: {mappings: 1}}
  shop:
    +meta:
      segconn:
        unique_identifier: a
        mappings:
          - name: m
            action: identfy
            fields: {}
"""
    shop.write("dbt_project.yml", project + inherited)
    mapping = {**MAPPING, "action": "grup", "fields": {"user_id": "$customer_id"}}
    meta = {"segconn": {"unique_identifier": "customer_id", "mappings": [mapping]}}
    shop.rows(ADA)
    sql = (shop.dir / "models/customers.sql").read_text()
    shop.write("models/customers.sql", f"{{{{ config(meta={meta}) }}}}\n{sql}")
    shop.write("models/bare.sql", "select 1 as a")
    shop.write("models/customers.yml", {"models": [{"name": "customers", "config": {"meta": {"owner": "x"}}}]})
    shop.dbt("parse")
    places = {(one["model"], one["file"], one["line"]) for one in found(shop)["findings"]}
    lines = project.count("\n") + 5, project.count("\n") + 8  # of the identifier and of the action
    bare = {("bare", "dbt_project.yml", line) for line in lines}
    assert places == bare | {("customers", "models/customers.sql", 1)}


def test_versions_and_seeds_have_lines(shop):
    shop.write(
        "models/customers.yml",
        """models:
  - name: customers
    latest_version: 1
    versions:
      - v: 1
        config: {meta: {segconn: {unique_identifier: customer_id, mappings: [{name: m, action: a, fields: {}}]}}}
      - v: 2
        config:
          meta:
            segconn:
              unique_identifier: customer_id
              mappings:
                - &base
                  name: m
                  action: identfy
                  fields: {user_id: $customer_id}
                - <<: *base
                  name: n
""",
    )
    shop.rows(ADA)
    sql = (shop.dir / "models/customers.sql").read_text()
    shop.write("models/customers_v1.sql", sql)
    shop.write("models/customers_v2.sql", sql)
    (shop.dir / "models/customers.sql").unlink()
    shop.write("seeds/people.csv", "id\n1\n")
    shop.write(
        "seeds/people.yml",
        "seeds:\n  - name: people\n    config: {meta: {segconn: {unique_identifier: id,\n"
        "      mappings: [{name: p, action: track}]}}}\n",
    )
    shop.dbt("parse")
    lines = {(one["model"], one["mapping"], one["line"]) for one in found(shop)["findings"] if one["code"] == "SEG205"}
    assert lines == {("customers.v1", "m", 6), ("customers.v2", "m", 15), ("customers.v2", "n", 15)}
    assert ("people", "p", 4, "SEG202") in {
        (one["model"], one["mapping"], one["line"], one["code"]) for one in found(shop)["findings"]
    }


@pytest.mark.parametrize(
    ("action", "fields", "expected"),
    [
        ("identify", {"traits": {}}, ["SEG403"]),
        ("identify", {"anonymous_id": "$a"}, []),
        ("identify", {"user_id": ""}, ["SEG403"]),
        ("group", {"user_id": "$a"}, ["SEG403"]),
        ("track", {"user_id": "$a"}, ["SEG403"]),
        ("track", {"@path": "$.properties"}, []),
        ("page", {"user_id": "$a", "timestamp": "2024-01-01T00:00:00Z"}, []),
        ("page", {"user_id": "$a", "timestamp": 20240101}, ["SEG405"]),
        ("page", {"user_id": "$a", "message_id": "m"}, ["SEG405"]),
        ("page", {"user_id": "$a", "properties": {"x": "y" * 32_001}}, ["SEG405"]),
        ("page", {"user_id": "$a", "properties": {"keywords": "a, b", "title": 3}}, ["SEG501", "SEG501"]),
        ("identify", {"user_id": "$a", "traits": {"address": "${a} ${b}", "age": "4"}}, ["SEG501", "SEG501"]),
        ("identify", {"user_id": "$a", "traits": {"address": {"city": "$b"}, "email": "$b", "age": 4}}, []),
        ("identify", {"user_id": "$a", "traits": {"createdAt": True, "company": ["x"]}}, ["SEG501", "SEG501"]),
        ("track", {"user_id": "$a", "event_name": "$b"}, []),
        ("track", {"user_id": "$a", "event_name": "${b}"}, []),
        ("track", {"user_id": "$a", "event_name": "Bought ${b}"}, ["SEG502"]),
        ("track", {"user_id": "$a", "event_name": "Bought "}, ["SEG502"]),
    ],
)
def test_doubtful_fields_are_warnings(shop, action, fields, expected):
    assert codes(shop, {**MAPPING, "action": action, "fields": fields}) == expected


def many(count):
    return {f"t{at}": "$email" for at in range(count)}


@pytest.mark.parametrize(
    ("action", "fields", "columns", "expected"),
    [
        ("identify", {"traits": many(301)}, 0, ["SEG407"]),
        ("identify", {"traits": many(300)}, 0, []),
        ("identify", {"traits": {**many(200), "more": many(101)}}, 0, ["SEG407"]),
        ("identify", {"traits": "$*"}, 301, ["SEG407"]),
        ("identify", {"traits": "$*"}, 300, []),
        ("identify", {"traits": {"all": "$*"}}, 301, ["SEG407"]),
        ("page", {"properties": {"@literal": many(301)}}, 0, ["SEG407"]),
        ("page", {"properties": {"@excludeWhenNull": {"@path": "$.properties"}}}, 301, ["SEG407"]),
        (
            "track",
            {"event_name": "Paid", "properties": {"@merge": {"direction": "right", "objects": [many(301), {}]}}},
            0,
            ["SEG407"],
        ),
    ],
)
def test_too_many_traits_are_found(shop, action, fields, columns, expected):
    mapping = {**MAPPING, "action": action, "fields": {"user_id": "$customer_id", **fields}}
    shop.manifest(mapping)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    named = ["customer_id", *(f"c{at}" for at in range(1, columns))]
    node = manifest["nodes"]["model.shop.customers"]
    node["columns"] = {name: {"name": name, "data_type": "varchar"} for name in named}
    path.write_text(json.dumps(manifest))
    assert [one["code"] for one in found(shop)["findings"]] == expected


def test_two_spellings_of_event_are_found(shop):
    one, two = (
        {**MAPPING, "action": "track", "fields": {"user_id": "$a", "event_name": name}} for name in ("Paid", "paid")
    )
    assert codes(shop, one, {**two, "name": "other"}) == ["SEG502"]
    assert codes(shop, one, {**one, "name": "other"}) == []


@pytest.mark.parametrize(
    ("identifier", "tests", "constraints", "words"),
    [
        ("a", [("unique", "a"), ("not_null", "a")], [], None),
        ("A", [("unique", "a"), ("not_null", "a")], [], None),
        ("a", [("unique", "a")], [], "a is not tested not_null"),
        ("a", [("not_null", "a"), ("unique", "b")], [], "a is not tested unique"),
        ("a", [], [], "a is not tested unique and not_null"),
        ("a", [], [{"type": "primary_key", "columns": ["a"]}], None),
        (["a", "b"], [("unique", "a"), ("not_null", "a"), ("not_null", "b")], [], None),
        (["a", "b"], [("together", "a,b"), ("not_null", "a"), ("not_null", "b")], [], None),
        (["a", "b"], [("together", "a,b"), ("not_null", "a")], [], "a and b is not tested not_null on b"),
        (
            ["a", "b"],
            [("together", "a,b,c"), ("not_null", "a"), ("not_null", "b")],
            [],
            "unique_combination_of_columns",
        ),
    ],
)
def test_untested_identifier_is_a_warning(shop, identifier, tests, constraints, words):
    shop.manifest(MAPPING, unique_identifier=identifier)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    nodes = {key: node for key, node in manifest["nodes"].items() if not key.startswith("test.")}
    nodes["model.shop.customers"]["constraints"] = constraints
    for at, (name, columns) in enumerate(tests):
        together = name == "together"
        nodes[f"test.shop.t{at}"] = {
            "resource_type": "test",
            "attached_node": "model.shop.customers",
            "column_name": None if together else columns,
            "test_metadata": {
                "name": "unique_combination_of_columns" if together else name,
                "kwargs": {"combination_of_columns": columns.split(",")} if together else {},
            },
        }
    path.write_text(json.dumps({**manifest, "nodes": nodes}))
    answer = [one for one in found(shop)["findings"] if one["code"] == "SEG302"]
    assert [one["severity"] for one in answer] == (["warning"] if words else [])
    assert not words or words in answer[0]["message"]


def test_changed_file_is_found(shop):
    shop.manifest(MAPPING)
    assert found(shop)["findings"] == []
    for edited in ({**MAPPING, "fields": {"user_id": "$email"}}, {**MAPPING, "enabled": True}):
        shop.mappings(edited)
        assert [(one["code"], one["severity"]) for one in found(shop)["findings"]] == [("SEG104", "warning")]
    jinja = {**MAPPING, "fields": {**MAPPING["fields"], "locale": "{{ var('locale', 'en') }}"}}
    shop.mappings(jinja)
    shop.rows(ADA)
    shop.dbt("parse")
    assert found(shop)["findings"] == []


def test_old_catalog_only_warns(shop):
    shop.rows(ADA)
    shop.dbt("run")
    shop.mappings({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$emial", "name": "$EMAIL"}}})
    shop.dbt("docs", "generate")
    assert [one["code"] for one in found(shop)["findings"]] == ["SEG303"]
    shop.dbt("parse", "--no-partial-parse")
    shop.rows(ADA)
    (answer,) = found(shop)["findings"]
    assert (answer["code"], answer["severity"]) == ("SEG304", "warning")
    assert "Did you mean 'email'?" in answer["fix"]
    online = found(shop, "--online")["findings"]
    lines = (shop.dir / "models/customers.yml").read_text().splitlines()
    assert [(one["code"], lines[one["line"] - 1].strip()) for one in online] == [("SEG303", "email: $emial")]
    (shop.dir / "shop.duckdb").unlink()
    shop.connect().close()
    assert [one["code"] for one in found(shop, "--online")["findings"]] == ["SEG209"]


def test_column_near_a_documented_one_warns(shop):
    fields = {"user_id": "$customer_id", "traits": {"a": "$custmer_id", "b": "$consumer_id", "c": "$other"}}
    shop.manifest({**MAPPING, "fields": fields})
    answer = found(shop)["findings"]
    assert [(one["code"], one["path"]) for one in answer] == [("SEG304", "fields.traits.a")]


def test_warnings_as_errors_fails(shop):
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": 3}}})
    result = shop.segconn("validate")
    assert result.exit_code == 0
    assert "1 warning in 1 mapping on 1 model." in result.output
    assert shop.segconn("validate", "--warnings-as-errors").exit_code == 1


@pytest.mark.parametrize("code", RULES)
def test_every_code_is_explained(code):
    result = CliRunner().invoke(main, ["validate", "--explain", code.lower()])
    assert result.exit_code == 0
    assert result.output.startswith(f"{code} {RULES[code].name} ({RULES[code].severity})\n{RULES[code].title}")
    assert result.output.endswith(f"Manual: dbt-segconn docs {code}\n")


def test_missing_manifest_is_an_error(shop):
    result = shop.segconn("validate")
    assert result.exit_code == 2
    assert "Run `dbt run` or `dbt build` first" in result.output


@pytest.mark.parametrize(("at", "words"), [(0, "SEG205"), (1, "is not an action")])
def test_pre_commit_hooks_run(shop, at, words):
    hook = yaml.safe_load((Path(__file__).parent.parent / ".pre-commit-hooks.yaml").read_text())[at]
    shop.manifest({**MAPPING, "action": "x"})
    entry = [str(Path(sys.executable).parent / hook["entry"].split()[0]), *hook["entry"].split()[1:]]
    env = {**os.environ, "WK": WRITE_KEY}
    result = subprocess.run(entry, cwd=shop.dir, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == (1, 2)[at]
    assert words in result.stdout + result.stderr
    assert hook["pass_filenames"] is False
    assert all(re.search(hook["files"], name) for name in ("models/a.yml", "segconn.yml", "x/models/a.sql"))


def test_infinite_number_breaks_no_command(shop):
    """dbt writes `.inf` of YAML as Infinity into the manifest."""
    shop.manifest({**MAPPING, "guards": {"max_updated_percent": 12345}})
    path = shop.dir / "target/manifest.json"
    path.write_text(path.read_text().replace("12345", "Infinity"))
    assert [one["code"] for one in found(shop)["findings"]] == ["SEG204"]
