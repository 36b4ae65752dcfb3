"""The guarantee: whatever happens on the way, Segment ends up equal to the model, and hears nothing twice.

Random histories of a real DuckDB table and a real Tracking API: rows come, change, return and go; the API
resets connections before and after it took a batch, answers 401, 429 and 500, refuses some records (always
the same: what it once took it would take again) until it is mended at the end; the process dies between
two statements, with everything that it remembers. GUARANTEE_EXAMPLES=1000 runs more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import pairwise

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standing import WRITE_KEY, Api, new_shop, serving

import dbt_segconn
from dbt_segconn.delivery import attempts
from dbt_segconn.warehouse.session import Session

EXAMPLES = int(os.environ.get("GUARANTEE_EXAMPLES", "8"))
MAPPING = {
    "name": "state",
    "action": "track",
    "sync_mode": ["added", "updated", "deleted"],
    "guards": {"max_deleted_percent": 100},
    "fields": {
        "event_name": "State",
        "user_id": "$__segment_id",
        "properties": {"email": "$email", "plan": "$plan"},
    },
}
GONE = {"email": None, "plan": None}

ROWS = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from("xyz"), st.sampled_from([None, "1", "2"])))
FAULTS = st.lists(
    st.sampled_from([500, "reset", "lost", 401, 200, (429, {"Retry-After": "0"})]),
    max_size=2,
)
# After how many statements of a run the process dies; most runs live
DEATHS = st.none() | st.none() | st.integers(0, 40)
HISTORIES = st.lists(st.tuples(ROWS, FAULTS, DEATHS), min_size=1, max_size=5)


class Killed(BaseException):
    """The process is gone: no statement after it reaches the warehouse."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, parsed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WK", WRITE_KEY)
        patch.setattr(attempts, "BACKOFF_SECONDS", 0.001)
        api = Api()
        with serving(api) as url:
            shop = new_shop(tmp_path_factory.mktemp("guarantee"), url)
            shop.parsed = parsed
            shop.manifest(MAPPING)
            yield shop, api


def fill(shop, rows):
    values = [(key, *row) for key, row in rows.items()]
    with duckdb.connect(str(shop.dir / "shop.duckdb")) as connection:
        connection.execute("create or replace table main.customers (customer_id varchar, email varchar, plan varchar)")
        if values:
            connection.executemany("insert into main.customers values (?, ?, ?)", values)


def run(shop, api, faults=(), death=None):
    """Run once; returns whether everything went well."""
    api.faults = list(faults)
    statements = [0]
    real = Session.run

    def counted(session, *arguments, **named):
        statements[0] += 1
        if death is not None and statements[0] > death:
            raise Killed
        return real(session, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Session, "run", counted)
        result = dbt_segconn.run(project_dir=shop.dir, profiles_dir=shop.dir, all=True, break_lock=True, threads=1)
        return result.success
    return False


def heard(api):
    """Replay what the API accepted, each messageId once: every user's states in their order."""
    states = {}
    for call in api.accepted.values():
        states.setdefault(call["userId"], []).append(call["properties"])
    return states


@given(HISTORIES, st.sampled_from([(), ("z",)]))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_after_a_last_clean_run_segment_equals_the_model_and_heard_nothing_twice(project, history, refused):
    shop, api = project
    api.refuses = lambda call: call["properties"]["email"] in refused
    (shop.dir / "shop.duckdb").unlink(missing_ok=True)
    api.forget()
    for rows, faults, death in history:
        fill(shop, rows)
        run(shop, api, faults, death)
    api.refuses = lambda _call: False
    for _ in range(2):  # the first may finish an outbox that holds records which were refused
        assert run(shop, api)
    states = heard(api)
    model = {key: {"email": email, "plan": plan} for key, (email, plan) in rows.items()}
    assert {user: all_of[-1] for user, all_of in states.items() if all_of[-1] != GONE} == model
    for user, all_of in states.items():
        assert all(one != other for one, other in pairwise(all_of)), f"{user} heard twice"
    accepted = len(api.accepted)
    assert run(shop, api)
    assert len(api.accepted) == accepted, "a run with nothing changed sends nothing"
