"""The main job is the same in every warehouse: real dbt, a real warehouse, real HTTP, the command line."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING, wait_for

EVENT = {
    "name": "state",
    "action": "track",
    "sync_mode": ["added", "updated", "deleted"],
    "fields": {"event_name": "State", "user_id": "$__segment_id", "properties": {"email": "$email", "plan": "$plan"}},
}


def users(api):
    return sorted(call["userId"] for call in api.calls())


def read_json(result):
    """Read JSON values that stand one behind the other, on a line each or on several."""
    found, rest = [], result.output.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def test_after_dbt_run_the_first_sync_sends_every_record_and_the_next_one_none(shop, api):
    result = shop.sync(ADA, BOB)
    assert result.exit_code == 0, result.output
    assert "ADDED 2 UPDATED 0 DELETED 0" in result.output
    assert users(api) == ["c1", "c2"]
    assert {"email": "ada@example.com", "plan": "pro"} in [call["traits"] for call in api.calls()]
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.segconn("run", "--all").output
    assert len(api.received) == 2


def test_changes_go_out_by_kind_and_a_record_that_returns_is_sent_again(shop, api):
    shop.manifest(EVENT)
    shop.synced(ADA, BOB, EVE)
    api.forget()
    result = shop.synced(("c1", "ada@example.com", None), EVE, ("c4", "", "free"))
    assert "ADDED 1 UPDATED 1 DELETED 1" in result.output
    assert {call["userId"]: call["properties"] for call in api.calls()} == {
        "c1": {"email": "ada@example.com", "plan": None},
        "c2": {"email": None, "plan": None},
        "c4": {"email": "", "plan": "free"},
    }
    shop.synced(ADA, BOB, EVE)
    assert [call["properties"]["plan"] for call in api.received if call["userId"] == "c1"] == [None, "pro"]
    assert len(api.accepted) == len(api.received) == 6


def test_null_and_duplicate_identifiers_are_discarded_and_counted(shop, api):
    result = shop.synced(ADA, BOB, ("c2", "other@example.com", "pro"), (None, "nobody@example.com", "pro"))
    assert result.exit_code == 1
    assert "DISCARDED 3" in result.output
    assert users(api) == ["c1"]
    discards = read_json(shop.segconn("status", "--discards", "--output", "json"))
    assert sorted((row["record_id"] or "", row["reason"]) for row in discards) == [
        ("", "the unique identifier is null"),
        ("c2", "the unique identifier is not unique"),
    ]
    assert "DELETED 0" in shop.run().output


def test_several_identifier_columns_tell_records_apart(shop, api):
    shop.manifest({**MAPPING, "fields": {"user_id": "$__segment_id"}}, unique_identifier=["plan", "customer_id"])
    shop.synced(("a|b", "1@example.com", "x"), ("b", "2@example.com", "x|a"), ("c", None, "\\"), (None, None, "y"))
    assert users(api) == ["\\\\|c", "x\\|a|b", "x|a\\|b"]
    assert shop.counts()["unidentified"] == 1


def test_refused_records_are_listed_and_sent_once_they_are_mended(shop, api):
    api.refuses = lambda call: call["traits"]["email"] == "bob's"
    shop.columns = ("customer_id", "email", "plan")
    result = shop.synced(ADA, ("c2", "bob's", "free"), EVE)
    assert result.exit_code == 1
    assert users(api) == ["c1", "c3"]
    (discard,) = read_json(shop.segconn("status", "--discards", "--output", "json"))
    assert (discard["record_id"], discard["change_type"], discard["attempts"]) == ("c2", "added", 1)
    page = shop.segconn("report", "--html", "-", "--identifiers").output
    refused = '"change_type":"added","reason":"Segment rejected the call with HTTP status 400"'
    assert f'"record_id":"c2",{refused}' in page
    assert f'{refused},"refused":1' in page
    assert shop.counts() | {"to_send": 3, "confirmed": 2, "discarded": 1} == shop.counts()
    assert shop.synced(ADA, BOB, EVE).exit_code == 0
    assert users(api) == ["c1", "c2", "c3"]


def test_baseline_keeps_and_reset_forgets(shop, api):
    shop.manifest({**MAPPING, "first_sync": "baseline"})
    assert "LEFT OUT 2" in shop.synced(ADA, BOB).output
    assert api.received == []
    shop.synced(ADA, BOB, EVE)
    assert users(api) == ["c3"]
    shop.manifest(MAPPING)
    assert shop.segconn("reset", "customers.identify_customers", "--yes").exit_code == 0
    assert "ADDED 3" in shop.run().output
    assert "ADDED 3" in shop.run("--full-refresh").output


def test_a_clear_word_of_consent_is_heard_in_every_type_and_records_without_one_are_held_back(shop, api):
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    categories = ("flag", "number", "amount", "word")
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id"}}, consent={name: name for name in categories})
    columns = "customer_id varchar(9), flag boolean, number integer, amount decimal(5, 2), word varchar(9)"
    clear = [
        f"'{name}{value}', {', '.join(str(value) if one == name else 'null' for one in categories)}"
        for name, values in (("flag", ("true", "false")), ("number", (1, 0)), ("amount", (1, 0)))
        for value in values
    ]
    words = [f"'{word}', null, null, null, '{word}'" for word in ("t", "FALSE", "perhaps", "")]
    shop.make(columns, *clear, *words, "'nothing', null, null, null, null", "'other', null, 7, 0.5, null")
    assert shop.run().exit_code == 0
    given = {
        call["userId"]: [name for name, choice in call["context"]["consent"]["categoryPreferences"].items() if choice]
        for call in api.calls()
    }
    yes = {"flagtrue": ["flag"], "number1": ["number"], "amount1": ["amount"], "t": ["word"]}
    assert given == {**yes, "flagfalse": [], "number0": [], "amount0": [], "FALSE": []}
    assert shop.counts()["held_back"] == 4
    api.forget()
    shop.make(columns, *(one.split(",")[0] + ", null, null, null, null" for one in clear))
    assert "UPDATED 6 DELETED 2 LEFT OUT 2" in shop.run().output, "consent that is withdrawn is told"
    assert "UPDATED 0" in shop.run().output


def test_a_renamed_mapping_adopts_its_records_and_given_up_ones_are_retried(shop, api):
    api.refuses = lambda call: call["userId"] == "c2"
    shop.synced(ADA, BOB)
    api.refuses = lambda _call: False
    shop.manifest({**MAPPING, "name": "renamed"})
    assert shop.segconn("adopt", "customers.identify_customers", "customers.renamed").exit_code == 0
    api.forget()
    result = shop.segconn("retry")
    assert result.exit_code == 0, result.output
    assert users(api) == ["c2"]
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.run().output


def test_preview_changes_nothing_and_status_tells_the_history(shop, api):
    shop.fill(ADA, BOB)
    assert {line["record_id"] for line in read_json(shop.segconn("preview"))} == {"c1", "c2"}
    assert "never synced" in shop.segconn("status").output
    shop.run()
    shop.fill(("c1", "new@example.com", "pro"))
    (shown,) = read_json(shop.segconn("preview", "--change-type", "updated"))
    assert (shown["record_id"], shown["call"]["traits"]["email"]) == ("c1", "new@example.com")
    assert len(api.received) == 2
    shop.run()
    rows = read_json(shop.segconn("status", "--history", "--output", "json"))
    assert [(row["status"], row["added"], row["updated"], row["deleted"]) for row in rows] == [
        ("success", 0, 1, 1),
        ("success", 2, 0, 0),
    ]
    assert "success" in shop.segconn("status").output


def test_a_guard_blocks_and_lets_through_when_it_is_meant(shop, api):
    shop.synced(ADA, BOB)
    assert "BLOCKED" in shop.synced().output.upper()
    assert "DELETED 2" in shop.run("--allow-guarded", "customers.identify_customers").output


def test_a_checkpoint_lets_only_rows_that_are_new_be_read_and_refused_ones_again(shop, api):
    lags = {"changed_at": "1 hour", "changed_on": "1 day", "version": 1}
    checkpoints = [{"column": column, "lag": lag} for column, lag in lags.items()]
    shop.manifest(*({**MAPPING, "name": one["column"], "checkpoint": one} for one in checkpoints))

    moment = "cast('2026-01-01 {hour:02}:00:00' as timestamp), cast('2026-01-01' as date), {hour}"

    def run(*rows):
        """Sync rows, each an identifier, a plan, and the hour at which it has changed, of one day, or null."""
        columns = ", ".join(f"{name} varchar(200)" for name in shop.columns)
        shop.make(
            f"{columns}, changed_at timestamp, changed_on date, version bigint",
            *(
                f"'{user}', null, '{plan}', {moment.format(hour=hour) if hour else 'null, null, null'}"
                for user, plan, hour in rows
            ),
        )
        api.forget()
        result = shop.run()
        return result, sorted((call["userId"], call["traits"]["plan"]) for call in api.calls())

    api.refuses = lambda call: call["userId"] == "c2"
    result, heard = run(("c1", "a", 7), ("c2", "a", 7), ("c3", "a", 9), ("c4", "a", None))
    assert result.exit_code == 1
    assert [user for user, _ in heard] == 3 * ["c1"] + 3 * ["c3"] + 3 * ["c4"]
    api.refuses = lambda _call: False
    _, heard = run(("c1", "b", 7), ("c2", "a", 7), ("c3", "b", 8), ("c4", "b", None))
    assert [heard.count(one) for one in (("c1", "b"), ("c2", "a"), ("c3", "b"), ("c4", "b"))] == [1, 3, 3, 3]
    result, heard = run(("c3", "b", 8))
    assert "DELETED 0" in result.output
    assert "does not look for deleted records" in result.output
    assert heard == []


def test_killed_in_the_middle_it_is_resumed_and_every_record_arrives_once(shop, api, warehouse):
    if warehouse.alone:
        pytest.skip("no other process can open this warehouse; the tests of settling have it die in its own")
    count = 6000
    shop.settings(concurrency=1)
    shop.fill(*((f"c{at}", f"{at}@example.com", "pro") for at in range(count)))
    api.delay = 600  # until released: a slow machine must not finish the sync before the second run is refused
    with shop.running():
        wait_for(lambda: api.received, seconds=300)
        if warehouse.shared:
            second = shop.run()
            assert second.exit_code == 1
            assert "is being synced by" in second.output
            assert "--break-lock" in second.output
    api.released.set()
    assert 0 < len(api.received) < count
    result = shop.run()
    assert result.exit_code == 0, result.output
    assert "resuming the sync of" in result.output
    assert users(api) == sorted(f"c{at}" for at in range(count))
    assert len(api.accepted) == count
    assert shop.counts()["resumed_by_this_run"] == count
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.run().output


def test_an_outage_leaves_the_outbox_and_an_edited_mapping_gives_it_up(shop, api, monkeypatch):
    from dbt_segconn.delivery import tracking_api

    monkeypatch.setattr(tracking_api, "BACKOFF_SECONDS", 0.001)
    api.faults = [401]
    assert shop.synced(ADA, BOB).exit_code == 1
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"mail": "$email"}}})
    result = shop.run()
    assert "the mapping has changed" in result.output
    assert sorted(call["traits"]["mail"] for call in api.calls()) == ["ada@example.com", "bob@example.com"]


@pytest.mark.parametrize("statement", ["segconn_insert_settled", "segconn_drop", "segconn_append"])
def test_killed_settling_is_repeated(shop, api, monkeypatch, statement):
    from dbt_segconn.warehouse.session import Session

    class Killed(BaseException):
        pass

    real = Session.run

    def run(session, macro, **arguments):
        # the log's rows are appended all along; only settling writes one with a final status
        final = macro != "segconn_append" or "success" in str(arguments["rows"])
        if macro == statement and final and api.received:
            raise Killed
        return real(session, macro, **arguments)

    shop.manifest(EVENT)
    shop.fill(ADA, BOB)
    with monkeypatch.context() as patch:
        patch.setattr(Session, "run", run)
        with pytest.raises(Killed):
            shop.run()
    assert shop.run("--break-lock").exit_code == 0
    assert len(api.accepted) == 2
    assert "ADDED 0 UPDATED 0 DELETED 0" in shop.run().output


def test_idle_mappings_share_statements(shop, api, warehouse, monkeypatch):
    from dbt_segconn.warehouse.session import Session

    statements = []
    real = Session._with_settings
    monkeypatch.setattr(Session, "_with_settings", lambda session, sql: statements.append(sql) or real(session, sql))
    shop.manifest(*({**MAPPING, "name": f"number_{number}"} for number in range(4)))
    shop.synced(ADA, BOB)
    statements.clear()
    assert shop.run().output.count("ADDED 0 UPDATED 0 DELETED 0") == 4
    claims = [at for at, sql in enumerate(statements) if "locks" in sql and "insert" in sql]
    assert len(claims) == 1
    of_state = [sql for sql in statements[claims[0] :] if "segconn" in sql]  # a heartbeat sets up its session
    assert len(of_state) == 5, of_state
    assert sum("records_" in sql for sql in statements) == 3, statements
    assert not any("outbox_" in sql and "create" in sql for sql in statements)
    (rows,) = warehouse.query(
        f"select count(*), min(status) from {warehouse.state_schema}.sync_history group by sync_id "
        "order by min(started_at) desc limit 1"
    )
    assert rows == (1, "success")
    shop.synced(ADA)
    assert shop.counts()["deleted"] == 1


def test_idle_mapping_beside_a_changed_one(shop, api):
    columns = {"plans": "plan", "mails": "email"}
    shop.manifest(
        *(
            {**MAPPING, "name": name, "fields": {"user_id": "$customer_id", "traits": {column: f"${column}"}}}
            for name, column in columns.items()
        )
    )
    shop.synced(ADA, BOB)
    api.forget()

    def sent():
        output = shop.run().output
        calls = [(call["userId"], *call["traits"]) for call in api.calls()]
        api.forget()
        return output.count("ADDED 0 UPDATED 0 DELETED 0"), calls

    shop.fill((*ADA[:2], "free"), BOB)
    assert sent() == (1, [("c1", "plan")])
    assert sent() == (2, [])
    assert shop.segconn("resend", "mails", "--record", "c2", "--yes").exit_code == 0
    assert sent() == (1, [("c2", "email")])
    shop.fill(BOB)
    assert sent() == (0, [])  # both have a deleted record, which they do not send
    assert sent() == (2, [])


def test_idle_row_gives_way_to_another_sync(shop, api, warehouse, monkeypatch):
    if not warehouse.shared:
        pytest.skip("no second process can open it")
    from dbt_segconn.state.locks import Locks

    real = Locks.write
    state = warehouse.state_schema
    later = (
        "datetime_add(started_at, interval 1 second)"
        if warehouse.name == "bigquery"
        else "started_at + interval '1 second'"
    )
    other = (
        f"insert into {state}.sync_history (sync_id, revision, mapping_id, model, mapping, destination, action, "
        "sync_mode, status, definition, signature, run_id, started_at, saved_at, to_send, confirmed) select 'other', "
        "0, mapping_id, model, mapping, destination, action, sync_mode, 'running', definition, signature, 'other', "
        f"{later}, saved_at, 1, 0 from {state}.syncs"
    )
    shop.synced(ADA)
    monkeypatch.setattr(Locks, "write", lambda *arguments: warehouse.execute(other) or real(*arguments))
    assert "it held the undelivered changes of the sync" in shop.run().output
    assert warehouse.query(f"select count(*) from {state}.syncs where status = 'success'") == [(1,)]
