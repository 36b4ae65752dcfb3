"""What is peculiar to Redshift: transactions that conflict, connections that are lost, widths of texts, its types."""

from __future__ import annotations

import re
import threading

import pytest
from standing import ADA, BOB, EVE, MAPPING
from warehouses.redshift_proxy import CONFLICTS, LOST, LOST_AFTER

pytest.importorskip("dbt.adapters.redshift", reason="tests/warehouses/run.sh redshift installs it")
pytestmark = pytest.mark.parametrize("warehouse", ["redshift_fake"], indirect=True)

VALUE = re.compile(r"'(?:[^'\\]|''|\\.)*'|\d+")
COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)
# Statements of a sync that write, other than those of locks
WRITES = re.compile(
    r"(insert into|delete from) \S+\.\"(sync_history|discards|records)|(create|drop) table \S*outbox_|drop"
)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    from dbt_segconn.warehouse import session

    monkeypatch.setattr(session, "CONFLICT_SECONDS", 0.01)


def form(statements):
    """Return the statements of a transaction without their values."""
    return ";".join(VALUE.sub("?", COMMENT.sub("", one).strip()) for one in statements)


def is_write(statements):
    """Return whether the last statement writes, or commits one that does."""
    last = COMMENT.sub("", statements[-1]).strip()
    if last == "COMMIT":
        return any(is_write(statements[: at + 1]) for at in range(len(statements) - 1))
    return bool(WRITES.match(last))


class Conflicts:
    """Lets each statement of each transaction fail once, with the errors in turn."""

    def __init__(self):
        self.met = set()

    def __call__(self, statements):
        statement = form(statements)
        if len(statements) == 1 or statements[-1] == "rollback" or statement in self.met:
            return None
        self.met.add(statement)
        return CONFLICTS[len(self.met) % len(CONFLICTS)]


def test_conflict_at_each_statement(shop, api, warehouse):
    """All of the transaction is repeated: in each command, nothing is lost and nothing is sent twice."""
    fields = {"user_id": "$__segment_id", "event_name": "State", "properties": {"email": "$email", "plan": "$plan"}}
    event = {"action": "track", "sync_mode": ["added", "updated", "deleted"], "fields": fields}
    first = {**event, "name": "first", "changed_columns": True}
    idle = {**MAPPING, "name": "idle", "first_sync": "baseline", "fields": {"user_id": "$customer_id"}}

    def sends(*plans, code=0, command=("run", "--all")):
        """Run a command; the calls of the first mapping are these."""
        api.forget()
        result = shop.segconn(*command)
        assert result.exit_code == code, result.output
        calls = [call for call in api.received if call.get("event") == "State"]
        assert sorted((call["userId"], call["properties"]["plan"]) for call in calls) == sorted(plans), result.output
        assert len(calls) == len({call["messageId"] for call in calls})
        return result.output

    shop.state = {**shop.state, "deliveries": {"keep": "90 days"}}
    shop.settings()
    shop.manifest(first, idle)
    shop.fill(ADA, BOB, EVE)
    conflicts = Conflicts()
    with warehouse.proxy.failing(conflicts):
        api.refuses = lambda call: call["userId"] == "c3"
        sends(("c1", "pro"), ("c2", "free"), code=1)
        api.refuses = lambda _call: False
        sends(("c3", "team"), command=("retry",))
        shop.fill((*ADA[:2], "free"), EVE)
        sends(("c1", "free"), ("c2", None))
        assert sends().count("ADDED 0 UPDATED 0 DELETED 0") == 2
        shop.fill(ADA, EVE)
        sends(command=("run", "--all", "--plan", "plan.json"))
        sends(("c1", "pro"), command=("run", "--apply", "plan.json"))
        sends(command=("resend", "first", "--record", "c3", "--yes"))
        sends(("c3", "team"))
        shop.fill((*ADA[:2], "gold"), EVE)
        api.faults = [401]
        sends(code=1)
        for command in (("preview",), ("estimate",), ("status",), ("history", "first", "--record", "c1")):
            sends(command=command)
        assert "OK     rights: may create, write, read and drop tables" in shop.segconn("debug").output
        sends(("c1", "gold"))
        sends(command=("baseline", "first"))
        shop.manifest({**first, "name": "renamed"})
        sends(command=("adopt", "customers.first", "customers.renamed"))
        sends()
        sends(command=("reset", "renamed", "--yes"))
        sends(("c1", "gold"), ("c3", "team"))
    written = [one for one in conflicts.met if is_write(one.split(";"))]
    assert len(written) > 60, len(written)
    sends()


@pytest.mark.parametrize("fault", [LOST, LOST_AFTER])
def test_lost_connection_at_each_statement(shop, api, warehouse, fault):
    """Each run loses its connection at another statement; the next run goes on from there, with all settings."""
    met, failed, sessions = set(), [], {}

    def once(statements):
        sessions.setdefault(threading.current_thread(), []).append(COMMENT.sub("", statements[-1]))
        statement = form(statements)
        if failed or statement in met or not is_write(statements):
            return None
        if fault == LOST_AFTER and statements[-1] != "COMMIT":
            return None  # nothing of it is kept, as if it was lost before
        met.add(statement)
        failed.append(statement)
        return fault

    shop.synced(ADA, BOB)
    api.forget()
    plans = []
    is_done, undisturbed = True, 0
    while undisturbed < 2:
        if is_done:
            plans.append(f"plan {len(plans)}")
            shop.fill(("c1", ADA[1], plans[-1]), BOB)
        failed.clear()
        with warehouse.proxy.failing(once):
            is_done = shop.run("--break-lock").exit_code == 0
        undisturbed = 0 if failed else undisturbed + 1
    assert is_done
    assert [call["traits"]["plan"] for call in api.accepted.values()] == plans
    assert len(met) > 5, met
    assert len(sessions) > len(met)
    for statements in sessions.values():
        own = [at for at, one in enumerate(statements) if "segconn" in one]
        settings = [at for at, one in enumerate(statements) if "set extra_float_digits to 0" in one]
        assert not own or min(settings) < min(own), statements


def test_settling_side_by_side_is_serialized(shop, api, warehouse):
    """Four syncs read the discards, then all write them: the server rolls back all but one of them at a time."""
    together = threading.Barrier(4)
    seen = set()

    def wait(statements):
        if re.search(r"insert into \S+\"discards\"", statements[-1]) and statements[-1] not in seen:
            seen.add(statements[-1])
            together.wait(60)

    shop.manifest(*({**MAPPING, "name": f"mapping {at}"} for at in range(4)))
    with warehouse.proxy.failing(wait):
        result = shop.synced(ADA, BOB)
    assert result.exit_code == 0, result.output
    assert warehouse.proxy.conflicts > 0
    assert len(api.received) == 8
    assert "OK=4" in shop.run().output
    assert len(api.received) == 8


def test_transactions_are_kept_with_dbts_flag(shop, warehouse):
    sent = []
    project = (shop.dir / "dbt_project.yml").read_text()
    flag = "flags:\n  redshift_skip_autocommit_transaction_statements: true"
    shop.write("dbt_project.yml", project.replace("flags:", flag))
    with warehouse.proxy.failing(lambda statements: sent.append(statements[-1])):
        assert shop.synced(ADA).exit_code == 0
    assert sent.count("BEGIN") == sent.count("COMMIT") > 10


def test_doubles_are_compared_exactly(shop, api):
    def run(double, single):
        shop.make("customer_id varchar(9), double double precision, single real", f"'c1', {double}, {single}")
        return shop.run().output

    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"a": "$double", "b": "$single"}}})
    run("0.3", "0.3")
    assert "UPDATED 1" in run("0.30000000000000004", "0.3")
    assert "UPDATED 1" in run("0.30000000000000004", "16777215")
    assert "UPDATED 0" in run("0.30000000000000004", "16777215")
    for limit in ("4.9406564584124654e-324", "1.7976931348623157e308"):
        assert "UPDATED 1" in run(limit, "1e-45")
    assert [tuple(call["traits"].values())[:2] for call in api.received][:3] == [
        (0.3, 0.3),
        (0.30000000000000004, 0.3),
        (0.30000000000000004, 16777215),
    ]


def test_super_beyond_a_text_is_discarded(shop, api):
    shop.manifest(
        {**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"tail": {"@path": "$.properties.doc.tail"}}}}
    )
    rows = ("'c1', '{\"tail\": 1}'", "'c2', jsonb_build_object('long', repeat('x', 70000), 'tail', 2)", "'c3', null")
    shop.make("customer_id varchar(9), doc super", *rows)
    result = shop.run()
    assert result.exit_code == 1
    assert {call["userId"]: call["traits"] for call in api.calls()} == {"c1": {"tail": 1}, "c3": {"tail": None}}
    assert "a value has 70,023 bytes of JSON" in shop.segconn("status", "--discards", "--format", "json").output


def test_geometry_is_text_and_sketch_is_refused(shop, api):
    shop.make("customer_id varchar(9), place geometry, users hllsketch", "'c1', '(1,2)', null")
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"place": "$place"}}})
    assert shop.run().exit_code == 0
    assert api.received[0]["traits"] == {"place": "POINT(1 2)"}
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}})
    result = shop.run()
    assert result.exit_code == 2
    assert "users is of the type hllsketch" in result.output
    assert "hll_cardinality" in result.output


def test_long_ids_and_texts_are_whole(shop, api, warehouse):
    """A text without a length has 256 bytes in Redshift, and longer ones are cut in silence."""
    ids = ["i" * 1000 + end for end in "ab"]
    shop.columns = ("customer_id", "email", "plan")
    shop.make(
        "customer_id varchar(2000), email varchar(2000), plan varchar(9)", *(f"'{one}', '{one}', null" for one in ids)
    )
    assert shop.run().exit_code == 0
    assert sorted(call["userId"] for call in api.received) == ids
    assert [call["traits"]["email"] for call in api.received] == [call["userId"] for call in api.received]
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.run().output
    widths = warehouse.query(
        "select character_maximum_length from information_schema.columns where table_schema = 'segconn' "
        "and column_name in ('checksum', 'mapping_id', 'sync_id') and table_name not like 'outbox%'"
    )
    assert max(width for (width,) in widths) == 128


def test_value_in_an_error_is_masked(shop, api):
    secret = "hidden-in-a-row"
    shop.fill(("c1", secret, "x"))
    shop.warehouse.execute("alter table customers rename to raw_customers")
    shop.warehouse.execute(
        "create view customers as select customer_id, cast(email as integer) as email, plan from raw_customers"
    )
    shop.watch.use_row(("email",), (secret,))
    result = shop.run()
    assert result.exit_code == 1
    assert "…" in result.output
    assert secret not in result.output
