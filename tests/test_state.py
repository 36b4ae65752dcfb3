"""The state tables: created, altered or dropped by hand, carried over when a mapping is renamed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from standing import ADA, BOB, EVE, MAPPING

from dbt_segconn.state.locks import Locks

NAME = "customers.identify_customers"
RENAMED = {**MAPPING, "name": "customers_to_app"}


@pytest.fixture
def synced(shop, api):
    """A shop with two customers that Segment knows."""
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    api.forget()
    return shop


def tables(shop):
    return {row["table_name"]: row for row in shop.query("from information_schema.tables where table_schema='segconn'")}


def records(shop):
    return next(name for name in tables(shop) if name.startswith("records_"))


def test_records_that_were_dropped_by_hand_are_not_taken_for_a_first_sync(synced, api):
    synced.query(f"drop table segconn.{records(synced)}")
    result = synced.segconn("run", "--all")
    assert result.exit_code == 1
    assert f"{records_name(result)} is missing; it held the records of earlier syncs" in result.output
    assert f"`dbt-segconn reset {NAME}`" in result.output
    assert f"`dbt-segconn baseline {NAME}`" in result.output
    assert api.received == []
    assert "LEFT OUT 2" in synced.segconn("baseline", NAME).output
    assert synced.resync(ADA, BOB, EVE).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c3"]


def records_name(result):
    return next(word for word in result.output.split() if '"records_' in word)


def test_reset_is_the_other_way_out(synced, api):
    synced.query(f"drop table segconn.{records(synced)}")
    assert synced.segconn("reset", NAME, "--yes").exit_code == 0
    assert "ADDED 2" in synced.segconn("run", "--all").output
    assert len(api.received) == 2
    history = synced.segconn("status", "--history", "--format", "json").output.splitlines()
    assert [json.loads(line)["status"] for line in history] == ["success", "reset", "success"]


def test_reset_checks_names_before_it_asks(synced, monkeypatch):
    wrong = synced.segconn("reset", "customers.identfy_customers")
    assert (wrong.exit_code, "Did you mean" in wrong.output, "Reset?" in wrong.output) == (2, True, False)
    asked = synced.segconn("reset", "identify_customers")
    assert (asked.exit_code, "Confirm with --yes" in asked.output) == (2, True), asked.output
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    assert f"every record of {NAME} again. Reset?" in synced.segconn("reset", "identify_customers").output


def test_status_shows_how_a_resumed_sync_had_failed(synced, api, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # no cell is wrapped
    for fault in (401, 403):
        api.faults = [fault]
        assert synced.resync(ADA, BOB, EVE).exit_code == 1
        assert ("resumed" in synced.segconn("status").output) is (fault == 403)
    assert synced.resync(ADA, BOB, EVE).exit_code == 0
    for options in ([], ["--history"], ["--format", "json"], ["--history", "--format", "json"]):
        told = synced.segconn("status", *options).output
        assert told.count("2 attempts failed, then resumed: ") == 1, told
        assert "HTTP status 403" in told
        assert "success" in told


def test_sync_that_only_remembers_does_not_read_as_one_that_sends(shop, api):
    shop.manifest({**MAPPING, "sync_mode": "deleted", "fields": {"user_id": "$customer_id"}})
    told = shop.resync(ADA, BOB).output
    assert f"OK remembered {NAME} " in told
    assert "[RECORDS 2 LEFT OUT 2 SENT 0 in" in told
    told = shop.segconn("baseline", NAME).output
    assert "OK remembered" in told
    assert "OK synced" not in told
    assert "OK synced" in shop.resync(BOB).output
    assert [call["userId"] for call in api.calls()] == ["c1"]


@pytest.mark.parametrize("column", ["checksum", "fingerprint"])
def test_an_altered_table_is_named(synced, column):
    synced.query(f"alter table segconn.{records(synced)} drop column {column}")
    result = synced.resync(ADA, EVE)
    assert result.exit_code == 1
    assert f"has no column {column}. Was it altered by hand" in result.output
    assert synced.segconn("reset", NAME, "--yes").exit_code == 0
    assert synced.segconn("run", "--all").exit_code == 0


def test_a_sync_that_fails_while_it_is_staged_is_failed_in_the_history_too(synced):
    synced.query("drop table main.customers")
    synced.query("create view main.customers as select error('broken') as customer_id, 'x' as email, 'y' as plan")
    result = synced.segconn("run", "--all")
    assert result.exit_code == 1
    assert "ERROR syncing" in result.output
    (row,) = synced.query("select status, finished_at, error from segconn.syncs where status <> 'success'")
    assert row["status"] == "failed"
    assert row["finished_at"]
    assert "broken" in row["error"]


def test_an_outbox_that_was_dropped_by_hand_is_missed(synced, api):
    api.faults = [401]
    synced.resync(ADA, BOB, EVE)
    (outbox,) = (name for name in tables(synced) if name.startswith("outbox_"))
    synced.query(f"drop table segconn.{outbox}")
    result = synced.segconn("run", "--all")
    assert result.exit_code == 1
    assert "is missing; it held the undelivered changes of the sync of" in result.output
    assert "(0 of 1 calls were confirmed)" in result.output
    assert synced.segconn("baseline", NAME).exit_code == 0
    assert api.received == []


def test_an_outbox_without_a_history_is_not_thrown_away(synced, api):
    api.faults = [401]
    synced.resync(ADA, BOB, EVE)
    synced.query("delete from segconn.sync_history")
    assert "the history has no sync that left it" in synced.segconn("run", "--all").output


@pytest.mark.parametrize("table", ["discards", "locks", "syncs"])
def test_shared_tables_that_lose_nothing_are_made_anew(synced, api, table):
    synced.query(f"drop {'view' if table == 'syncs' else 'table'} segconn.{table}")
    assert synced.resync(ADA, BOB, EVE).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c3"]


def test_tables_of_an_earlier_version_get_the_columns_that_they_lack(synced, api):
    synced.query("drop view segconn.syncs")
    for column in ("relation", "identifier", "sent", "resumed"):
        synced.query(f"alter table segconn.sync_history drop column {column}")
    synced.query("create view segconn.syncs as select * from segconn.sync_history")
    synced.query("alter table segconn.discards drop column doubtful")
    assert synced.resync(ADA, BOB, EVE).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["c3"]


def test_a_renamed_mapping_is_held_back_until_its_records_are_adopted(synced, api):
    synced.manifest(RENAMED)
    expected = f"a guard would block it: it was never synced, but {NAME}, which is gone from the project"
    assert expected in synced.segconn("estimate").output
    result = synced.segconn("run", "--all")
    assert result.exit_code == 1
    assert "BLOCKED by its guards" in result.output
    assert f"{NAME}, which is gone from the project, was the same mapping and has 2 records" in result.output
    assert f"`dbt-segconn adopt {NAME} customers.customers_to_app`" in result.output
    assert "was the same mapping and has 2 records" in synced.segconn("run", "--all").output, "the next run, too"
    (orphan,) = map(json.loads, synced.segconn("status", "--orphans", "--format", "json").output.splitlines())
    assert (orphan["mapping"], orphan["records"], orphan["outbox"]) == (NAME, 2, "no")
    adopted = synced.segconn("adopt", NAME, "customers_to_app")
    assert adopted.exit_code == 0, adopted.output
    assert "has taken over 2 records" in adopted.output
    assert synced.segconn("status", "--orphans").output == "None.\n"
    synced.resync(ADA, BOB, EVE)
    assert [call["userId"] for call in api.calls()] == ["c3"]
    assert json.loads(synced.segconn("status", "--format", "json").output)["mapping"] == "customers.customers_to_app"


def test_rename_may_be_a_new_mapping(synced, api):
    synced.manifest(RENAMED)
    assert synced.segconn("run", "--all", "--allow-guarded", "customers_to_app").exit_code == 0
    assert len(api.received) == 2
    assert "has been synced already" in synced.segconn("adopt", NAME, "customers_to_app").output


def test_adopt_keeps_records_of_a_sync_that_ends_meanwhile(synced, monkeypatch):
    synced.manifest(RENAMED)
    before, real = records(synced), Locks.hold

    def hold(self, state, mapping_id, name):
        if name == "customers.customers_to_app":  # another process has synced it while `adopt` read the state
            state.append(state.history, [replace(state.last_syncs()[0], mapping_id=mapping_id, sync_id="other")])
        return real(self, state, mapping_id, name)

    monkeypatch.setattr(Locks, "hold", hold)
    refused = synced.segconn("adopt", NAME, "customers_to_app")
    assert refused.exit_code == 2, refused.output
    assert "has been synced already" in refused.output
    assert records(synced) == before


def test_an_outbox_that_is_adopted_goes_on_under_its_message_ids(synced, api):
    api.faults = ["lost", 401]
    synced.resync(ADA, BOB, EVE)
    synced.manifest(RENAMED)
    assert synced.segconn("adopt", NAME, "customers_to_app").exit_code == 0
    result = synced.segconn("run", "--all")
    assert "RESUMED 1" in result.output
    assert len(api.received) == 2
    assert len(api.accepted) == 1


def test_a_mapping_that_is_something_else_is_no_rename(synced, api):
    synced.manifest({**MAPPING, "name": "other", "fields": {"user_id": "$email"}})
    assert synced.segconn("run", "--all").exit_code == 0
    assert len(api.received) == 2


def test_orphans_can_be_forgotten(synced):
    synced.manifest(RENAMED)
    assert "Reset customers.identify_customers." in synced.segconn("reset", NAME, "--yes").output
    assert synced.segconn("status", "--orphans").output == "None.\n"
    assert synced.segconn("run", "--all").exit_code == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("customers.nothing", NAME, "no mapping named 'customers.nothing' is gone from the project"),
        (NAME, NAME, "is gone from the project"),
        ("x", "nowhere", "no mapping is named 'nowhere'"),
    ],
)
def test_adopt_says_what_it_cannot_find(synced, old, new, words):
    result = synced.segconn("adopt", old, new)
    assert result.exit_code == 2
    assert words in result.output


def test_another_target_with_the_same_state_schema_is_held_back(synced, api):
    """Two developers' targets in one database must not take each other's records for their own."""
    synced.table(EVE, name="main.customers_of_ada")
    path = synced.dir / "target/manifest.json"
    manifest = json.loads(path.read_text())
    node = manifest["nodes"]["model.shop.customers"]
    node.update(alias="customers_of_ada", relation_name='"shop"."main"."customers_of_ada"')
    node["config"]["alias"] = "customers_of_ada"
    path.write_text(json.dumps(manifest))
    result = synced.segconn("run", "--all")
    assert result.exit_code == 1
    assert 'its last sync read "shop"."main"."customers"' in result.output
    assert "set state.schema in segconn.yml to one for each" in result.output
    assert "set state.schema in segconn.yml" in synced.segconn("run", "--all").output, "the next run, too"
    assert api.received == []
    assert "DELETED 2" in synced.segconn("run", "--all", "--allow-guarded", NAME).output


def test_a_baseline_that_was_blocked_at_first_is_still_a_baseline(shop, api):
    shop.manifest({**MAPPING, "first_sync": "baseline", "guards": {"max_records": 0}})
    assert shop.resync(ADA, BOB).exit_code == 0
    shop.segconn("reset", NAME, "--yes")
    assert "LEFT OUT 2" in shop.segconn("run", "--all").output
    assert api.received == []


@pytest.mark.parametrize("settings", [({}, {"changed_columns": True}), ({"changed_columns": True}, {})])
def test_outbox_survives_changed_columns(synced, api, settings):
    before, after = ({**MAPPING, **one} for one in settings)
    synced.manifest(before)
    api.faults = [401]
    assert synced.resync(("c1", "new@example.com", "pro"), BOB).exit_code == 1
    synced.manifest(after)
    assert synced.segconn("run", "--all").exit_code == 0
    synced.manifest({**MAPPING, "changed_columns": True})
    assert "UPDATED 0" in synced.segconn("run", "--all").output
    synced.table(("c1", "new@example.com", "free"), BOB)
    assert "updated 1: plan 1." in synced.segconn("preview").output
    assert len(api.received) == 1
