"""Rules of the mapping language beyond the recorded lines."""

from __future__ import annotations

import contextlib
import json
from datetime import date

import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from dbt_segconn.actions import ACTIONS, compile_action, find_action
from dbt_segconn.delivery.batches import discard_reason
from dbt_segconn.errors import EvaluationError, MappingError, RecordError
from dbt_segconn.mapping import ALL_COLUMNS, columns_used, compile_mapping
from dbt_segconn.mapping import javascript as js
from dbt_segconn.mapping.compiler import expand
from dbt_segconn.mapping.directives import DIRECTIVES

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["__proto__", "length", "a", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "$.a",
        "a.b",
        "$.",
        "{{a}}",
        "{{{a.b[0]}}}",
        "{{ a | append: a }}",
        "{% if a %}x{% endif %}",
        "lower",
        "encode",
        "left",
        "",
        "$&",
    ]
)
MAPPINGS = st.recursive(
    SCALARS | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "a",
                    "value",
                    "exists",
                    "then",
                    "else",
                    "pattern",
                    "objects",
                    "apply",
                    "mapping",
                    "mode",
                    "operator",
                    "separator",
                    "direction",
                    "__proto__",
                ]
            ),
            inner,
            max_size=4,
        )
        | st.builds(lambda name, value: {name: value}, st.sampled_from(sorted(DIRECTIVES)), inner)
    ),
    max_leaves=16,
)


KEYS = st.sampled_from(["a", "value", "then", "@path", "@if", "@ path", "", "$", "__proto__"]) | st.text(max_size=3)
STRUCTURES = st.recursive(
    SCALARS | WORDS | st.integers(-(2**70), 2**70) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers() | st.none(), inner, max_size=3),
    max_leaves=12,
)
FIELDS = sorted({field.name for action in ACTIONS for field in find_action(action).fields})
ACTION_FIELDS = st.dictionaries(st.sampled_from(FIELDS), MAPPINGS | VALUES, max_size=6) | MAPPINGS | STRUCTURES
PAYLOADS = st.fixed_dictionaries({"a": VALUES}, optional={"b": VALUES, "properties": VALUES}) | VALUES


@fuzz(MAPPINGS | STRUCTURES, VALUES, examples=400)
def test_fuzzed_mapping_value_or_our_error(mapping, payload):
    try:
        value = compile_mapping({"r": mapping})({"a": payload})
        columns_used({"r": mapping})
    except (MappingError, EvaluationError):
        return
    assert isinstance(value, dict)


@fuzz(st.sampled_from(sorted(ACTIONS)), ACTION_FIELDS, PAYLOADS, PAYLOADS, examples=150)
def test_fuzzed_record_is_call_or_discard(action, fields, payload, other):
    """A call that no limit refuses is one object of JSON with somebody's id."""
    try:
        to_call = compile_action(action, fields)
    except MappingError:
        return
    for record in (payload, other):
        try:
            call = to_call(record)
        except RecordError:
            continue
        if discard_reason({**call, "messageId": "m"}) is None:
            assert call["type"] == action
            assert call.get("userId") or call.get("anonymousId")
            json.dumps(call, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"a": {0: "x"}}, "/a should only have strings as keys but one is 0."),
        ({"a": [{None: 1}]}, "/a/0 should only have strings as keys but one is None."),
        ({"a": {"@path": date(2026, 1, 2)}}, "/a/@path should be a JSON value but it is a date."),
    ],
)
def test_mapping_must_be_json(mapping, words):
    with pytest.raises(MappingError) as caught:
        compile_mapping(mapping)
    assert caught.value.problems == (words,)


@pytest.mark.parametrize("depth", [500, 5000])
def test_deep_nesting_raises_our_error(depth):
    mapping: object = {"@path": "$.a"}
    payload: object = "leaf"
    for _ in range(depth):
        mapping, payload = {"x": mapping}, {"x": payload}
    with contextlib.suppress(MappingError, EvaluationError):
        compile_mapping({"r": mapping})({"a": payload})


def test_json_keeps_keys_of_many_digits():
    key = "9" * 5_000
    printed = compile_mapping({"a": {"@json": {"mode": "encode", "value": {"@path": "$.b"}}}})({"b": {key: 1, "7": 2}})
    assert printed == {"a": f'{{"7":2,"{key}":1}}'}


def test_liquid_output_is_limited():
    doubling = "{% assign a = 'xxxxxxxx' %}" + "{% assign a = a | append: a %}" * 30 + "{{ a }}"
    with pytest.raises(EvaluationError, match="more than 1,000,000"):
        compile_mapping({"@liquid": doubling})({})


@pytest.mark.parametrize("template", ["{% include 'x' %}", "{% render 'x' %}", "{% for x in a %}{% endfor %}"])
def test_liquid_has_no_files_and_no_loops(template):
    with pytest.raises(EvaluationError):
        compile_mapping({"@liquid": template})({"a": [1]})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_is_printed_in_shortest_form(number):
    text = js.number_to_text(number)
    assert js.to_number(text) == number
    assert "e" not in text or abs(number) >= 1e21 or abs(number) < 1e-6
    assert not text.endswith(".0")


@given(st.integers())
def test_integer_keeps_every_digit(number):
    if abs(number) < 10**21:
        assert js.number_to_text(number) == str(number)


@given(VALUES)
def test_printed_json_parses_to_same_value(value):
    text = js.stringify(value)
    read = json.loads(text)
    assert js.stringify(read) == text


@given(st.text(max_size=20))
def test_utf16_units_join_to_same_text(text):
    units = js.utf16_units(text)
    assert len(units) == js.utf16_length(text)
    assert js.joined("".join(units)) == text


@given(st.text(alphabet="aAbBkKſß$&`' ", max_size=12), st.text(alphabet="aAkK$", min_size=1, max_size=3))
def test_replacing_by_match_is_identity(text, pattern):
    assert js.replace(text, pattern, "$&", every=True, ignore_case=False) == text
    assert js.replace(text, pattern, "$&", every=True, ignore_case=True) == text


@pytest.mark.parametrize(
    ("given_", "expanded"),
    [
        ("$email", {"@path": "$.properties.email"}),
        ("$__segment_id", {"@path": "$.properties.__segment_id"}),
        ("$*", {"@path": "$.properties"}),
        ("${first} ${last}", {"@template": "{{properties.first}} {{properties.last}}"}),
        ("${Full Name}!", {"@template": "{{properties['Full Name']}}!"}),
        ("${email}", {"@template": "{{properties.email}}"}),
        ("pro", "pro"),
        ("$5", "$5"),
        ("$.name", "$.name"),
        ("5$", "5$"),
        ("$$email", "$email"),
        ("$$ and ${a}", {"@template": "$ and {{properties.a}}"}),
        ({"@path": "$x"}, {"@path": "$x"}),
        ({"a": ["$b", {"c": "$d"}]}, {"a": [{"@path": "$.properties.b"}, {"c": {"@path": "$.properties.d"}}]}),
        (7, 7),
    ],
)
def test_shorthand_expands_to_directives(given_, expanded):
    assert expand(given_) == expanded


@pytest.mark.parametrize("text", ["$name is here", "hello $name", "${}", "${a.b}", "a $* b", "${it's}"])
def test_invalid_dollar_has_a_path(text):
    with pytest.raises(MappingError) as caught:
        expand({"traits": {"x": text}})
    assert caught.value.problems[0].startswith("/traits/x ")


@pytest.mark.parametrize(
    ("mapping", "columns"),
    [
        ({"@path": "$.properties.a.b"}, {"a"}),
        ({"@path": "$.properties['Full Name']"}, {"Full Name"}),
        ({"x": {"@template": "{{properties.a}} {{{properties.b}}} {{messageId}}"}}, {"a", "b"}),
        ({"@liquid": "{{ properties.a | append: properties.b.c }}"}, {"a", "b"}),
        ({"@arrayPath": ["$.properties.items", {"s": {"@path": "$.properties.sku"}}]}, {"items"}),
        ({"@if": {"exists": {"@path": "$.properties.a"}, "then": {"@path": "$.properties.b"}}}, {"a", "b"}),
        ({"@transform": {"apply": {"z": {"@path": "$.properties.a"}}, "mapping": {"@path": "$.properties"}}}, {"a"}),
        ({"x": {"@path": "$.context.consent"}}, set()),
    ],
)
def test_columns_used_by_mapping(mapping, columns):
    assert columns_used(mapping) == columns


@pytest.mark.parametrize(
    "mapping",
    [
        {"@path": "$.properties"},
        {"@path": "$."},
        {"@path": {"@path": "$.properties.a"}},
        {"@merge": {"objects": [{"@path": "$.properties"}], "direction": "left"}},
    ],
)
def test_whole_record_uses_all_columns(mapping):
    assert columns_used({"traits": mapping}) is ALL_COLUMNS
