"""Any segconn.yml is read in time or refused with findings, which hold no secret."""

from __future__ import annotations

import json
import re
import time

import yaml
from fuzzing import SECONDS, fuzz
from hypothesis import strategies as st
from standing import MAPPING, WRITE_KEY

# fmt: off
NAMES = st.sampled_from([
    "destinations", "app", "write_key", "endpoint", "region", "oauth", "private_key", "client_id", "token_url", "state",
    "schema", "database", "alerts", "url", "when", "mappings", "budget", "max_calls_per_run", "consent", "required",
    "events_per_second", "concurrency", "gzip", "enabled", "pricing", "mtus", "price", "per", "currency", "<<", "on",
]) | st.text(max_size=4)
ATOMS = st.sampled_from([
    "env_var('WK')", "env_var('WK')", "env_var('NO')", "env_var('NO', 'd')", "var('x')", "target.name", "target", "1",
    "0", "'a'", "none", "true", "[]", "{}", "project_name", "nothing", "modules.re", "10 ** 9", "env_var", "'WK'",
])
# of one expression
CHAINS = st.sampled_from([
    "§", "§.x", "§[0]", "§['x']", "§ | int", "§ | length", "§ | float", "§ | upper", "§ | list", "§ | tojson",
    "§ | as_number", "§ | as_bool", "§ | nothing", "§ ~ 'x'", "-§", "§()", "§.format(1)", "§ | join('x')",
    "§.encode()", "§ | round", "§ | replace('w', 'x')", "§ | center(99)", "§ is nothing", "§ | xmlattr",
    "env_var(§)", "var(§)", "target[§]", "[][§]", "{}[§]", "§.__class__", "§ | attr('x')", "§ % 1", "{§: 1}", "{",
])
PAIRS = st.sampled_from(["§ + §", "§ * §", "§ / §", "§[§]", "§ | replace(§, §)", "§ ~ §", "§ ** §", "§ if § else §"])
FORMS = st.sampled_from([
    "{{ § }}", "{{ § }}", "x{{ § }}y", "{% if § %}1{% endif %}", "{% set a = § %}{{ a }}", "{{ § }}{{ § }}",
    "http://{{ § }}", "{{ §", "{% § %}",
])
# fmt: on
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: (
        st.builds(lambda chain, one: chain.replace("§", one), CHAINS, inner)
        | st.builds(lambda pair, one, other: pair.replace("§", one, 1).replace("§", other), PAIRS, inner, inner)
    ),
    max_leaves=4,
)
TEMPLATES = st.builds(lambda form, one: form.replace("§", one), FORMS, EXPRESSIONS)
VALUES = (
    TEMPLATES
    | TEMPLATES
    | st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4)
    )
)
TREES = st.recursive(
    VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=3), max_leaves=8
)
DESTINATION = st.fixed_dictionaries(
    {"write_key": VALUES},
    optional={
        "endpoint": VALUES,
        "region": VALUES,
        "events_per_second": VALUES,
        "concurrency": VALUES,
        "gzip": VALUES,
        "oauth": TREES,
        "enabled": VALUES,
    },
)
WHOLE = st.fixed_dictionaries(
    {"destinations": st.dictionaries(NAMES, DESTINATION, max_size=2)},
    optional={
        "state": TREES,
        "alerts": TREES,
        "budget": TREES,
        "consent": TREES,
        "pricing": TREES,
    },
)
# fmt: off
TAGS = st.sampled_from([
    b"!!python/object/apply:os.system ['x']", b"!!binary x", b"!!timestamp 2026", b"!x y", b"&a [*a]", b"*b", b"? [a]",
    b"!!set {a, a}", b"{a: 1, a: 2}", b"0o9", b"1_0:30", b".nan", b"!!float x", b"!!int x", b"\t", b"%YAML 9.9\n---",
])
# fmt: on
DUMPED = (WHOLE | WHOLE | TREES).map(lambda tree: yaml.safe_dump(tree, allow_unicode=True).encode(errors="replace"))


def spliced(text: bytes, at: int, piece: bytes, cut: int) -> bytes:
    at = at % (len(text) + 1)
    return text[:at] + piece + text[at + cut :]


FILES = st.one_of(
    DUMPED,
    DUMPED,
    (WHOLE | TREES).map(lambda tree: json.dumps(tree, default=str).encode()),
    st.builds(spliced, DUMPED, st.integers(0, 10_000), TAGS | st.binary(max_size=6), st.integers(0, 5)),
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode(errors="replace")),
)


@fuzz(FILES, examples=40)
def test_fuzzed_settings_read_or_refused(shop, content):
    if not (shop.dir / "target").exists():
        shop.manifest(MAPPING)
    (shop.dir / "segconn.yml").write_bytes(content)
    shop.watch.texts.clear()  # the fixture looks for keys in all of them at the end
    began = time.monotonic()
    result = shop.segconn("validate")
    assert time.monotonic() - began < (60 if SECONDS else 10)
    assert result.exit_code in {0, 1, 2}
    assert result.output
    assert "Traceback" not in result.output
    assert "bug of dbt-segconn" not in result.output
    for secret in (WRITE_KEY, WRITE_KEY[::-1], WRITE_KEY.upper(), repr(WRITE_KEY.encode())[2:-1]):
        assert secret not in re.sub(r"\s", "", result.output)
    assert not [place for place, _, text in shop.watch.texts if WRITE_KEY in text and "traceback" not in place]
