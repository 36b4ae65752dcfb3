"""`dbt run`, then `dbt-segconn run`, then the calls have arrived: real dbt, DuckDB and HTTP."""

from __future__ import annotations

import gc
import json

from standing import ADA, BOB, EVE, MAPPING

import dbt_segconn
from dbt_segconn import process_tuning


def users(api):
    return sorted(call["userId"] for call in api.calls())


def test_first_sync_sends_every_record_and_the_next_one_none(shop, api):
    result = shop.sync(ADA, BOB)
    assert result.exit_code == 0, result.output
    assert "OK synced customers.identify_customers" in result.output
    assert "ADDED 2 UPDATED 0 DELETED 0" in result.output
    assert "Done. OK=1 PARTIAL=0 ERROR=0 SKIP=0 TOTAL=1" in result.output
    assert users(api) == ["c1", "c2"]
    call = api.calls()[0]
    assert call["traits"] == {"email": "ada@example.com", "plan": "pro"}
    assert api.bodies[0]["context"]["library"]["name"] == "dbt-segconn"
    assert api.bodies[0]["sentAt"].endswith("Z")

    shop.dbt("run")
    again = shop.segconn("run")
    assert "ADDED 0 UPDATED 0 DELETED 0" in again.output
    assert len(api.received) == 2


def test_changes_go_out_by_kind(shop, api):
    deleted = {
        "name": "gone",
        "action": "track",
        "sync_mode": "deleted",
        "fields": {
            "event_name": "Customer Deleted",
            "user_id": "$__segment_id",
            "properties": {"email": "$email"},
        },
    }
    changed = {
        "name": "changed",
        "action": "track",
        "sync_mode": "updated",
        "fields": {"event_name": "Changed", "user_id": "$customer_id"},
    }
    shop.mappings(MAPPING, deleted, {**changed, "fields": {**changed["fields"], "properties": {"plan": "$plan"}}})
    shop.sync(ADA, BOB)
    api.forget()
    shop.sync(("c1", "ada@example.com", "team"), EVE)
    calls = {(call["type"], call.get("event"), call["userId"]): call for call in api.calls()}
    assert set(calls) == {
        ("identify", None, "c1"),
        ("identify", None, "c3"),
        ("track", "Customer Deleted", "c2"),
        ("track", "Changed", "c1"),
    }
    assert calls["track", "Customer Deleted", "c2"]["properties"] == {"email": None}


def test_a_record_that_returns_to_an_earlier_state_is_sent_again_under_a_new_message_id(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    shop.resync(("c1", "ada@example.com", "team"))
    shop.resync(ADA)
    assert [call["traits"]["plan"] for call in api.received] == ["pro", "team", "pro"]
    assert len(api.accepted) == 3


def test_unrelated_new_column_sends_nothing(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    shop.columns = ("customer_id", "email", "plan", "shoe_size")
    shop.resync((*ADA, 43))
    assert len(api.received) == 1


def test_null_differs_from_the_empty_text(shop, api):
    shop.manifest(MAPPING)
    shop.resync(("c1", None, "pro"))
    shop.resync(("c1", "", "pro"))
    assert [call["traits"]["email"] for call in api.received] == [None, ""]


def test_null_and_duplicate_identifiers_are_discarded_and_counted(shop, api):
    shop.manifest(MAPPING)
    result = shop.resync(ADA, BOB, ("c2", "other@example.com", "pro"), (None, "nobody@example.com", "pro"))
    assert result.exit_code == 1
    assert users(api) == ["c1"]
    assert "PARTIAL" in result.output
    assert "DISCARDED 3" in result.output
    shown = shop.segconn("status", "--discards").output
    assert "the unique identifier is null" in shown
    assert "the unique identifier is not unique" in shown
    assert "customers.identify_customers: 3 rows were discarded because their identifier is null or not unique" in shown
    assert "listed once, as 2 records" in shown
    # a duplicate is no deletion of the record that was known before
    assert "DELETED 0" in shop.segconn("run", "--all").output


def test_a_record_without_user_id_is_discarded_with_the_reason_and_sent_once_it_is_mended(shop, api):
    fields = {"user_id": "$email", "traits": {"plan": "$plan"}}
    shop.manifest({**MAPPING, "fields": fields})
    result = shop.resync(ADA, ("c2", None, "free"))
    assert result.exit_code == 1
    assert result.artifact(shop.dir)["results"][0]["counts"]["discarded"] == 1
    assert (
        "Either `Anonymous ID` or `User ID` must be defined."
        in shop.segconn("status", "--discards", "--format", "json").output
    )
    assert shop.resync(ADA, BOB).exit_code == 0
    assert users(api) == ["ada@example.com", "bob@example.com"]


def test_baseline_remembers_all_records_and_sends_none(shop, api):
    shop.manifest({**MAPPING, "first_sync": "baseline"})
    assert "LEFT OUT 2" in shop.resync(ADA, BOB).output
    assert api.received == []
    shop.resync(ADA, BOB, EVE)
    assert users(api) == ["c3"]


def test_null_columns_are_left_out(shop, api):
    shop.manifest({**MAPPING, "sync_null_values": False})
    shop.resync(("c1", None, "pro"))
    assert api.calls()[0]["traits"] == {"plan": "pro"}


def test_consent_columns_become_preferences(shop, api):
    shop.columns = ("customer_id", "email", "plan", "ads_ok")
    shop.manifest({**MAPPING, "consent": {"Advertising": "ads_ok"}})
    shop.resync((*ADA, "true"), (*BOB, None))
    assert [call["context"]["consent"] for call in api.calls()] == [
        {"categoryPreferences": {"Advertising": True}},
        {"categoryPreferences": {"Advertising": False}},
    ]


def test_full_refresh_and_reset_send_everything_again(shop, api):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    assert "ADDED 2" in shop.segconn("run", "--all", "--full-refresh").output
    assert shop.segconn("reset", "customers.identify_customers", "--yes").exit_code == 0
    assert "ADDED 2" in shop.segconn("run", "--all").output
    assert len(api.accepted) == 6


def test_preview_changes_nothing(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA, BOB)
    result = shop.segconn("preview", "-n", "1")
    shown = json.loads(result.stdout)
    assert shown["change_type"] == "added"
    assert shown["call"]["userId"] == "c1"
    assert api.received == []
    assert "never synced" in shop.segconn("status").output
    assert "ADDED 2" in shop.segconn("run", "--all").output


def test_preview_by_kind_after_a_sync(shop):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    shop.table(("c1", "new@example.com", "pro"))
    shown = json.loads(shop.segconn("preview", "--change-type", "updated", "--mapping", "identify_customers").output)
    assert shown["record_id"] == "c1"
    assert shown["call"]["traits"]["email"] == "new@example.com"


def test_values_arrive_as_json_has_them(shop, api):
    shop.write(
        "models/customers.sql",
        """select 'c1' as customer_id, 9007199254740993::bigint as big, 12.50::decimal(12,2) as price, '00123' as zip,
        true as flag, date '2024-02-29' as day, timestamp '2024-02-29 12:00:00' as at,
        timestamptz '2024-02-29 12:00:00+02' as tz, {'a': 1, 'b': ['x', null]} as obj, '{"k":"v"}'::json as doc,
        'nan'::double as nothing, [1, 2] as list, 'abc'::blob as bytes, null::integer as missing""",
    )
    shop.mappings({**MAPPING, "fields": {"user_id": "$customer_id", "traits": "$*"}}, tests=False)
    shop.dbt("run")
    shop.segconn("run")
    assert api.calls()[0]["traits"] == {
        "customer_id": "c1",
        "big": 9007199254740993,
        "price": 12.5,
        "zip": "00123",
        "flag": True,
        "day": "2024-02-29",
        "at": "2024-02-29T12:00:00.000Z",
        "tz": "2024-02-29T10:00:00.000Z",
        "obj": {"a": 1, "b": ["x", None]},
        "doc": {"k": "v"},
        "nothing": None,
        "list": [1, 2],
        "bytes": "YWJj",
        "missing": None,
    }


def test_several_identifier_columns_tell_records_apart(shop, api):
    shop.manifest(MAPPING, unique_identifier=["plan", "customer_id"])
    shop.resync(("a|b", "1@example.com", "x"), ("b", "2@example.com", "x|a"))
    assert len(api.accepted) == 2


def test_seeds_and_snapshots_are_synced_too(shop, api):
    meta = {
        "meta": {
            "segconn": {
                "unique_identifier": "plan",
                "mappings": [
                    {"name": "g", "action": "group", "fields": {"group_id": "$plan", "anonymous_id": "$plan"}}
                ],
            }
        }
    }
    shop.write("seeds/plans.csv", "plan,price\npro,12\nteam,49\n")
    shop.write("seeds/plans.yml", {"seeds": [{"name": "plans", "config": meta}]})
    shop.dbt("seed")
    assert shop.segconn("run").exit_code == 0
    assert sorted(call["groupId"] for call in api.calls("group")) == ["pro", "team"]


def test_json_log_lines_and_artifact_agree(shop):
    shop.manifest(MAPPING)
    result = shop.resync(ADA, options=("--log-format", "json"))
    events = [json.loads(line) for line in result.output.splitlines()]
    done = next(event for event in events if event["info"]["name"] == "Done")
    artifact = result.artifact(shop.dir)
    assert done["data"] == artifact
    assert artifact["metadata"]["schema_version"] == 1
    assert artifact["success"] is True
    counts = artifact["results"][0]["counts"]
    assert counts["added"] == counts["to_send"] == counts["confirmed"] == counts["confirmed_by_this_run"] == 1


def test_history_has_one_row_for_each_sync(shop):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    shop.resync(ADA, BOB)
    rows = [json.loads(line) for line in shop.segconn("status", "--history", "--format", "json").output.splitlines()]
    assert [row["added"] for row in rows] == [1, 1]
    assert {row["status"] for row in rows} == {"success"}


def test_python_api_returns_objects(shop, api):
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = dbt_segconn.run(project_dir=shop.dir, all=True)
    assert result.success
    assert [(one.mapping.name, one.status, one.confirmed) for one in result.results] == [
        ("customers.identify_customers", "success", 1)
    ]
    assert users(api) == ["c1"]


def test_python_runs_free_their_memory(shop, monkeypatch, collect_after_run):
    monkeypatch.setattr(process_tuning, "collect_after_run", collect_after_run)
    shop.manifest(MAPPING)
    shop.table(ADA)

    def objects_after_a_run():
        dbt_segconn.run(project_dir=shop.dir, all=True)
        return len(gc.get_objects())

    before = objects_after_a_run()
    assert objects_after_a_run() - before < 1000  # dbt's adapter and macros are 10,000


def test_dbt_is_heard_as_ever_after_a_run_from_python(shop):
    from dbt.cli.main import dbtRunner

    shop.sync(ADA)
    dbt_segconn.run(project_dir=shop.dir)
    heard = []
    folders = ["--project-dir", str(shop.dir), "--profiles-dir", str(shop.dir)]
    dbtRunner(callbacks=[lambda event: heard.append(event.info.level)]).invoke(["list", "--quiet", *folders])
    assert "debug" in heard


def test_timings_say_what_each_step_took(shop):
    shop.manifest(MAPPING)
    result = shop.resync(ADA, BOB, options=("--timings",))
    steps = result.artifact(shop.dir)["results"][0]["timing"]
    assert set(steps) == {"stage", "fetch", "map", "serialise", "post", "deliver", "settle"}
    assert all(step["seconds"] > 0 and step["cpu_seconds"] >= 0 for step in steps.values())
    assert all(f"  {step} " in result.output for step in steps)
    assert "s per million calls" in result.output
