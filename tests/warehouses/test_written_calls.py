"""Calls that a warehouse writes equal those that Python makes: generated mappings, and rows of every value type."""

from __future__ import annotations

from collections import Counter
from random import Random

from fuzzing import fuzz
from hypothesis import strategies as st
from standing import MAPPING

from dbt_segconn.delivery import Delivery
from dbt_segconn.engine.calls import CallMaker

NAMES = [
    "''",
    "'Ada'",
    "'0'",
    "' '",
    "'ü \"q\" \\ / <b>'",
    "chr(9) || chr(10) || chr(127)",
    "repeat('é', 17000)",
    "'👩‍🚀'",
    "'t'",
]
DOUBLES = [
    "0",
    "1",
    "-1.5",
    "0.1",
    "1e15",
    "1e16",
    "123456789012345680",
    "1e21",
    "1e-7",
    "5e-324",
    "1.7976931348623157e308",
]
DOUBLES += ["'NaN'", "'-Infinity'", "'-0'", "9007199254740993", "0.30000000000000004"]
DOCUMENTS = [r"""'{{"b": [1.50, null], "a": "\n\ud83d\ude80"}}'""", "'null'", "'1e300'", """'{{"__proto__": 1}}'"""]
# column → its type and some values, for both warehouses
VALUES = {
    "name": ("varchar", NAMES),
    "code": ("varchar", ["'a1'", "'00123'", "'true'"]),
    "padded": ("char(5)", ["'ab'"]),
    "small": ("integer", ["0", "-7", "2147483647"]),
    "large": ("bigint", ["9007199254740993", "-9223372036854775808", "1"]),
    "huge": ("numeric(38,0)", ["12345678901234567890123456789012345678", "1000000000000000000000", "42"]),
    "price": ("numeric(12,2)", ["12.50", "0", "-0.01", "1000000000.00"]),
    "precise": ("numeric(38,20)", ["123456789012345678.90123456789012345678", "0.00000000000000000001"]),
    "double": ("double precision", DOUBLES),
    "single": ("real", ["0.1", "16777216", "'NaN'", "1e-7", "-0.5"]),
    "flag": ("boolean", ["true", "false"]),
    "day": ("date", ["'2024-02-29'", "'0044-03-15{bc}'", "'infinity'", "'9999-12-31'"]),
    "at": (
        "timestamp",
        ["'2024-02-29 12:00:00'", "'2024-02-29 12:00:00.123456'", "'-infinity'", "'0044-03-15{bc} 12:00:00'"],
    ),
    "at_zone": ("timestamptz", ["'2024-02-29 12:00:00.5+02'", "'9999-12-31 23:59:59.999+00'"]),
    "hour": ("time", ["'12:34:56.5'"]),
    "took": ("interval", ["'14 months 3 days'", "'0 seconds'", "'-90.5 seconds'"]),
    "bytes": ("{blob}", ["{zeros}", "''"]),
    "uuid": ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    "doc": (
        "json",
        ["""'{{"b": [1, 1.50, 1e2], "a": "ü"}}'""", "'null'", "'7'", """'{{"a": 1, "a": 2}}'""", """'[1e400]'"""],
    ),
    "numbers": (
        "double precision[]",
        ["array['0.5', 'NaN', '-Infinity']::double precision[]", "array[1e16, 7]::double precision[]"],
    ),
    "words": ("text[]", ["array['x', null, 'a\"b']", "array[]::text[]"]),
}
OWN = {
    "duckdb": {"bc": " (BC)", "blob": "blob", "zeros": r"'\x00\xFFa'"},
    "postgres": {"bc": "", "blob": "bytea", "zeros": r"'\x00ff61'"},
}
EXTRA = {
    "duckdb": {
        "nul": ("varchar", ["'a' || chr(0)"]),
        "sum": ("hugeint", ["170141183460469231731687303715884105727", "3"]),
    },
    "postgres": {
        "any": ("numeric", ["0.10", "12.00", "1e400 + 0.5", "1e-400", "'NaN'", "1e22", "-3.25"]),
        "document": ("jsonb", DOCUMENTS),
    },
}
TEXTS = ["name", "code", "padded", "small", "large", "huge", "flag", "day", "at", "at_zone", "took", "uuid"]

columns = st.sampled_from([*VALUES, "key"]).map(lambda name: f"${name}")
texts = st.sampled_from(TEXTS)
templates = st.lists(
    texts.map(lambda name: f"${{{name}}}") | st.sampled_from(["u-", '"', "é\\", " "]), min_size=1, max_size=3
).map("".join)
constants = st.sampled_from(["pro", "", 'quo"ted\n', 7, 1.5, True, None, 2**60])
ids = st.just("$key") | templates | texts.map(lambda name: f"${name}") | st.just("$__segment_id")
leaves = columns | templates | constants
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b c", 'q"', "ü"]), inner, max_size=3)
    ),
    max_leaves=4,
)
members = st.dictionaries(st.sampled_from(["email", "plan", "address", "name", 'a "b"']), values, max_size=4)
fixed = texts.map(lambda name: f"${name}") | templates | st.sampled_from(["x", ""])


@st.composite
def fields(draw):
    action = draw(st.sampled_from(["identify", "track", "group", "page", "screen"]))
    body = "properties" if action in {"track", "page", "screen"} else "traits"
    given = draw(
        st.fixed_dictionaries(
            {"user_id": ids, body: members | st.just("$*")},
            optional={
                "anonymous_id": ids,
                "timestamp": st.sampled_from(["$at", "$at_zone"]),
                "locale": fixed,
                "device": st.fixed_dictionaries(
                    {}, optional={"id": fixed, "model": fixed, "adTracking_Enabled": st.just(True)}
                ),
                "page": st.fixed_dictionaries({}, optional={"title": fixed, "url": fixed}),
            },
        )
    )
    own = {"track": {"event_name": draw(ids | st.just("Bought"))}, "group": {"group_id": draw(ids)}}
    return {"action": action, "fields": {**given, **own.get(action, {})}, "sync_null_values": draw(st.booleans())}


MAPPINGS = st.lists(fields(), min_size=6, max_size=8)
SEEDS = st.integers(0, 2**30)
ROWS = 40


def make_model(shop, seed):
    """Make a model with a column for each value type; values and nulls are random."""
    own, chance = OWN[shop.warehouse.name], Random(seed)
    types = {**VALUES, **EXTRA[shop.warehouse.name]}
    values = {name: ["null", *(one.format(**own) for one in pool)] for name, (_, pool) in types.items()}
    rows = ([f"'k{number}'", *map(chance.choice, values.values())] for number in range(ROWS))
    columns = (f'"{name}" {kind.format(**own)}' for name, (kind, _) in types.items())
    shop.make(", ".join(['"key" varchar', *columns]), *map(", ".join, rows))


LENIENT = {"constant_ids": "allowed", "guards": {"allow_junk_ids": True, "max_records_per_id": 1000}}


def outcome(shop, api, monkeypatch, *, written):
    """Return the calls of a first sync without messageIds, the discards, and how many calls the warehouse wrote."""
    api.forget()
    counts = []
    send_written = Delivery.send_written

    def count(delivery, last, changes, calls, text):
        counts.append(calls)
        send_written(delivery, last, changes, calls, text)

    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "send_written", count)
        if not written:
            patch.setattr(CallMaker, "written", lambda *_: None)
        result = shop.run("--full-refresh")
    assert " ERROR=0 SKIP=0 " in result.output, result.output
    sent = Counter()
    for call in api.calls():
        assert call.pop("messageId")
        sent[repr(sorted_all(call))] += 1
    discards = f"{shop.warehouse.state_schema}.discards"
    found = shop.warehouse.query(f"select mapping, record_id, reason from {discards} where change_type <> 'closed'")
    shop.warehouse.execute(f"delete from {discards}")
    return sent, Counter(map(tuple, found)), sum(counts)


def sorted_all(value):
    if isinstance(value, dict):
        return {key: sorted_all(value[key]) for key in sorted(value)}
    return [*map(sorted_all, value)] if isinstance(value, list) else value


@fuzz(MAPPINGS, SEEDS, examples=3, shrinks=False)
def test_written_calls_equal_calls_of_python(shop, api, monkeypatch, mappings, seed):
    make_model(shop, seed)
    extra = EXTRA[shop.warehouse.name]
    plain = {name: f"${name}" for name in [*VALUES, *extra] if name != "doc"}
    fields = {"user_id": "$key", "timestamp": "$at", "traits": {**plain, "text": "${name} of ${code}"}}
    several = [*mappings, {"fields": fields}, {"fields": fields, "sync_null_values": False}]
    named = [{**MAPPING, "name": f"m{at}", **LENIENT, **mapping} for at, mapping in enumerate(several)]
    shop.manifest(*named, unique_identifier="key")
    sent, discards, written = outcome(shop, api, monkeypatch, written=True)
    wanted, refused, _ = outcome(shop, api, monkeypatch, written=False)
    assert (sent - wanted, wanted - sent) == (Counter(), Counter())
    assert discards == refused
    assert written > ROWS / 2
