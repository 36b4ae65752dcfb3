"""Inputs and outputs of Segment's real code: one test a line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dbt_segconn.actions import compile_action
from dbt_segconn.errors import MappingError, RecordError
from dbt_segconn.mapping import MISSING, compile_mapping

GOLDEN = Path(__file__).parents[1] / "golden"
LINES = [
    json.loads(line)
    for name in ("upstream", "probes", "random")
    for line in (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
# Lines that cannot pass, each with its reason
EXCEPTIONS = {
    "q-0014": "integers beyond 2^53 keep their exact value here",
    "q-0015": "integers beyond 2^53 keep their exact value here",
    "q-0122": "the name of a method of Object.prototype, which no record holds",
    "q-0416": "python-liquid gives texts a size, but no length",
    "q-0452": "python-liquid has no escaped quotes in texts",
    "q-0483": "liquidjs's block tag belongs to its layouts, which Segment disables",
    "q-0537": "Segment's validate() looks into no array; its transform(), which compiles here, takes one as an object",
    "q-0660": "the trigger of a subscription, which is the sync mode here",
    "q-0661": "a setting of Segment's destination, which is segconn.yml here",
    "s1-t00017": "a property of a number in liquid",
    "up-0333": "a template that is not a text, which @template refuses with its path",
}
# Segment's user interface fills these in where a mapping leaves them out
DEFAULT_FIELDS = {"message_id": {"@path": "$.messageId"}, "consent": {"@path": "$.context.consent"}}


def revived(value):
    """Turn what JSON cannot say into values: undefined, NaN, infinities, -0."""
    if isinstance(value, dict):
        if value == {"$undefined": True}:
            return MISSING
        if set(value) == {"$number"}:
            return float(value["$number"])
        return {key: revived(one) for key, one in value.items()}
    return [revived(one) for one in value] if isinstance(value, list) else value


def on_the_wire(value):
    """Reduce a value to what JSON carries, numbers compared as JavaScript's."""
    if value is MISSING or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, dict):
        return {key: on_the_wire(one) for key, one in value.items() if one is not MISSING}
    if isinstance(value, list):
        return [on_the_wire(one) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return value


def evaluate(line):
    """Run a line through the public doors."""
    kind = line["kind"]
    payload = revived(line.get("payload", {"$undefined": True}))
    if kind in {"transform", "validate"}:
        compiled = compile_mapping(revived(line["mapping"]))
        return compiled(payload) if kind == "transform" else None
    if kind == "render":
        return compile_mapping({"@template": line["template"]})(payload)
    if kind == "liquid":
        return compile_mapping({"@liquid": line["template"]})(payload)
    if kind == "get":
        return compile_mapping({"@path": f"$.{line['path']}"})(payload)
    if kind == "flatten":
        options = {"separator": line.get("separator", "."), "omitArrays": line.get("ignoreArrays", False)}
        return compile_mapping({"@flatten": {"value": {"@path": "$.p"}, **options}})({"p": payload})
    fields = {**(DEFAULT_FIELDS if line.get("use_default_mappings") else {}), **revived(line["mapping"])}
    return {"batch": [compile_action(line["action"], fields)(payload)]}


def reason_to_skip(line):
    if line["kind"] == "clean":
        return "cleaning by any JSON schema; here it is done by the fields of the five actions, which their lines test"
    if line["kind"] == "get" and not isinstance(line["path"], str):
        return "a path that is not a text, which @path refuses"
    return EXCEPTIONS.get(line["id"])


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["id"])
def test_result_equals_segments(line):
    if reason := reason_to_skip(line):
        pytest.skip(reason)
    if "error" in line:
        with pytest.raises((MappingError, RecordError)) as caught:
            evaluate(line)
        if "@liquid" not in json.dumps(line.get("mapping", "@liquid")):
            said = getattr(caught.value, "problems", None) or (str(caught.value),)
            assert sorted(said) == sorted(line.get("errors") or [line["error"]])
    else:
        expected = revived(line["output"])
        assert on_the_wire(evaluate(line)) == on_the_wire(expected)
