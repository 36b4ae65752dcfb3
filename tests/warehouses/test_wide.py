"""Rows of many columns and of long values go through staging, delivery and settling like any others."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from standing import MAPPING, PROGRAM

COLUMNS = [f"column_{at:03}" for at in range(1, 512)]  # with the identifier, 512
LONG = 128 * 1024


def test_512_columns_by_name_and_as_the_whole_record(shop, api, warehouse):
    # BigQuery's stand-in turns concat() into operators, which it nests no deeper than 1,000
    names = COLUMNS[:300] if warehouse.name == "bigquery" else COLUMNS
    named = {**MAPPING, "name": "named", "fields": {"user_id": "$customer_id", "traits": {c: f"${c}" for c in names}}}
    whole = {**MAPPING, "name": "whole", "fields": {"user_id": "$customer_id", "traits": "$*"}}

    def run(last):
        api.forget()
        columns = ", ".join(f"{name} varchar(200)" for name in ("customer_id", *names))
        values = [f"'{name}'" for name in names]
        rows = (["'c1'", *values], ["'c2'", *values[:-1], last], ["'c3'", *["null"] * len(values)])
        shop.make(columns, *map(", ".join, rows))
        result = shop.run()
        assert result.exit_code == 0, result.output
        return {(call["userId"], "customer_id" in call["traits"]): call["traits"] for call in api.calls()}

    shop.manifest(named, whole)
    heard = run("'x'")
    as_they_are = {name: name for name in names}
    for user, traits in (
        ("c1", as_they_are),
        ("c2", {**as_they_are, names[-1]: "x"}),
        ("c3", dict.fromkeys(names)),
    ):
        assert heard[user, False] == traits
        assert heard[user, True] == {"customer_id": user, **traits}
    assert [heard[key][names[-1]] for key in run("'y'")] == ["x", "x"], "only the changed record goes, once for each"
    assert run("'y'") == {}


def test_a_value_of_128_kib_is_refused_where_it_is_sent_and_harmless_where_it_is_not(shop, api, warehouse):
    size = 65_520 if warehouse.name == "redshift" else LONG  # its texts have 65,535 bytes at most
    cut = {"@liquid": "{{ properties.note | slice: 0, 20 }}"}
    mappings = {
        "without": {"user_id": "$customer_id"},
        "cut": {"user_id": "$customer_id", "traits": {"note": cut}},
        "whole": {"user_id": "$customer_id", "traits": "$*"},
    }
    shop.manifest(*({**MAPPING, "name": name, "fields": fields} for name, fields in mappings.items()))

    def run(last):
        api.forget()
        text = "repeat('0123456789abcdef', {})"
        rows = (
            f"'c1', {text.format(size // 16 - 1)} || '{last}'",
            "'c2', 'short'",
            f"'c3', {text.format(1900)}",
        )
        shop.make(f"customer_id varchar(200), note varchar({size})", *rows)
        result = shop.run()
        artifact = json.loads((shop.dir / "target/segconn/run_results.json").read_text())
        return result, {one["name"].split(".")[1]: one["counts"] for one in artifact["results"]}

    result, counts = run("0123456789abcdef")
    assert result.exit_code == 1
    assert {name: (one["added"], one["confirmed"], one["discarded"]) for name, one in counts.items()} == {
        "without": (3, 3, 0),
        "cut": (3, 3, 0),
        "whole": (3, 2, 1),
    }
    traits = [(call["userId"], call.get("traits", {}).get("note")) for call in api.calls()]
    assert sorted(note for user, note in traits if user == "c1" and note) == ["0123456789abcdef0123"]
    assert sorted(len(note) for user, note in traits if user == "c3" and note) == [20, 30400]
    (discard,) = json.loads(f"[{shop.segconn('status', '--discards', '--format', 'json').output.strip()}]")
    assert discard["record_id"] == "c1"
    assert "32" in discard["reason"], discard

    _, counts = run("0123456789abcdeF")
    assert {name: one["updated"] + one["added"] for name, one in counts.items()} == {"without": 0, "cut": 1, "whole": 1}


@pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)
@pytest.mark.parametrize(("rows", "width"), [(3_000, 131_072), (15_000, 20_480)], ids=["refused", "sent"])
def test_memory_does_not_grow_with_the_width_of_rows(shop, api, warehouse, rows, width):
    """300 to 400 MB of text pass through a process of less than 400 MB."""
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"note": "$note"}}})
    warehouse.execute(
        f"create table customers as select 'c' || n as customer_id, repeat(md5(n::text), {width // 32}) as note "
        f"from generate_series(1, {rows}) as n"
    )
    api.take = lambda _raw, _headers: 200  # keeps nothing
    process = subprocess.Popen([PROGRAM, "run", "--all", "--project-dir", str(shop.dir)], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        peak = int(found[1]) if found else peak  # a process that has just ended has no such line
        time.sleep(0.02)
    assert process.returncode == (1 if width > 32_768 else 0)
    counts = shop.counts()
    assert counts["confirmed"] + counts["discarded"] == rows
    assert 0 < peak < 400_000, f"{peak // 1000} MB"
