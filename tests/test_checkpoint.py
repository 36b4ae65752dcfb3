"""With a checkpoint, a sync reads what may be new, and still loses nothing and sends nothing twice."""

from __future__ import annotations

import json

from standing import MAPPING

SENT = {**MAPPING, "checkpoint": {"column": "changed_at", "lag": "1 hour"}}
COUNTED = {**MAPPING, "checkpoint": {"column": "version", "lag": 0}}
ADA, BOB, EVE = (
    ("c1", "ada@example.com", "pro", "2026-01-01 10:00", 1),
    ("c2", "bob@example.com", "free", "2026-01-01 11:00", 2),
    ("c3", "eve@example.com", "team", "2026-01-01 12:00", 3),
)
SYNC = "customers.identify_customers"
NEW = "reads rows that are new by changed_at; does not look for deleted records"
WHOLE = "reads the whole model: no checkpoint fits the mapping as it is now"


def fill(shop, *rows):
    shop.columns = ("customer_id", "email", "plan", "changed_at", "version")
    shop.types = {"changed_at": "timestamp", "version": "bigint"}
    shop.watch.identify_by(shop.types)  # the history holds a checkpoint, which is a value of a row
    shop.table(*rows)


def synced(shop, *rows):
    fill(shop, *rows)
    return shop.segconn("run", "--all")


def users(api):
    return [call["userId"] for call in api.calls()]


def changed(row, at, **new):
    names = ("customer_id", "email", "plan", "changed_at", "version")
    old = dict(zip(names, row, strict=True))
    return tuple({**old, "changed_at": f"2026-01-01 {at}", "version": old["version"] + 10, **new}.values())


def checkpoints(shop):
    return [row["checkpoint"] for row in shop.query("select checkpoint from segconn.syncs order by started_at")]


def test_only_rows_at_or_past_the_checkpoint_minus_the_lag_are_read(shop, api):
    shop.manifest(SENT)
    first = synced(shop, ADA, BOB, EVE)
    assert WHOLE in first.output
    assert sorted(users(api)) == ["c1", "c2", "c3"]
    api.forget()
    old, late = changed(ADA, "10:59:59.999999", plan="x"), changed(BOB, "11:00", plan="late")
    result = synced(shop, old, late, EVE, changed(EVE, "12:30", customer_id="c4"))
    assert NEW in result.output
    assert "ADDED 1 UPDATED 1 DELETED 0" in result.output
    assert sorted(users(api)) == ["c2", "c4"]
    assert checkpoints(shop) == ["2026-01-01T12:00:00", "2026-01-01T12:30:00"]
    assert "ADDED 0 UPDATED 0" in synced(shop, old, late, EVE).output
    assert checkpoints(shop)[-1] == "2026-01-01T12:30:00", "it never goes back"


ORDERED = (  # type, lag, newest value, a value that is read with it, one that is not
    ("date", "1 day", "2026-01-05", "2026-01-04", "2026-01-03"),
    ("date", "90 minutes", "2026-01-05", "2026-01-04", "2026-01-03"),
    ("timestamptz", "2 days", "2026-01-05 01:00:00.5+02", "2026-01-02 23:00:00.5+00", "2026-01-02 23:00:00.499+00"),
    ("timestamp_ns", "1 second", "2026-01-05 00:00:01.123456789", "2026-01-05 00:00:00.123456789", "2026-01-05"),
    ("timestamp_s", 0, "2026-01-05 00:00:01", "2026-01-05 00:00:01", "2026-01-05"),
    ("integer", 10, "100", "90", "89"),
    ("decimal(38, 0)", 1, "9" * 38, "9" * 37 + "8", "9" * 37 + "7"),
)


def test_every_type_that_has_an_order(shop, api):
    numbers = range(len(ORDERED))
    checkpoints = [{"column": f"C{n}", "lag": ORDERED[n][1]} for n in numbers]
    shop.manifest(*({**MAPPING, "name": f"m{n}", "checkpoint": checkpoints[n]} for n in numbers))
    kinds = ", ".join(f"c{n} {ORDERED[n][0]}" for n in numbers)
    with shop.connect() as connection:
        connection.execute(f"create table main.customers (customer_id varchar, email varchar, plan varchar, {kinds})")
    for rows in ({"c1": 2}, {"c4": 3, "c5": 4}):
        with shop.connect() as connection:
            for user, value in rows.items():
                values = ", ".join(f"'{ORDERED[n][value]}'" for n in numbers)
                connection.execute(f"insert into main.customers values ('{user}', '', '', {values})")
        assert shop.segconn("run", "--all").exit_code == 0
    assert sorted(users(api)) == ["c1"] * len(ORDERED) + ["c4"] * len(ORDERED)


def test_rows_that_tell_no_time_are_always_read_and_do_not_move_the_checkpoint(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, (*BOB[:3], None, 2), (*EVE[:3], "infinity", 3))
    assert checkpoints(shop) == ["2026-01-01T10:00:00"]
    nobody, never = ("c2", "b@example.com", "x", None, 2), ("c3", "e@example.com", "x", "infinity", 3)
    assert "UPDATED 2" in synced(shop, ADA, nobody, never).output


def test_a_row_from_the_future_does_not_hide_those_that_come_before_it(shop, api):
    shop.manifest(SENT, timezone="Pacific/Kiritimati")
    with shop.connect() as connection:
        ((now, there),) = connection.execute(
            "select (now() at time zone 'UTC')::timestamp, (now() at time zone 'Pacific/Kiritimati')::timestamp"
        ).fetchall()
    synced(shop, (*ADA[:3], "9999-12-31 00:00", 1))
    assert str(now) < str(there)[:16] <= checkpoints(shop)[0].replace("T", " ")
    assert "ADDED 1" in synced(shop, (*ADA[:3], "9999-12-31 00:00", 1), (*BOB[:3], str(there), 2)).output


def test_deleted_ones_are_not_looked_for_until_the_whole_model_is_read_again(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, BOB, EVE)
    assert "DELETED 0" in synced(shop, EVE).output
    assert "ADDED 0 UPDATED 0" in synced(shop, ADA, EVE).output, "it was never forgotten"
    shop.manifest({**SENT, "guards": {"max_deleted_percent": 50}})
    assert "DELETED 0" in synced(shop).output, "guards have nothing to object to"
    shop.manifest({**SENT, "guards": {"max_deleted_percent": 50}, "fields": {"user_id": "$customer_id"}})
    result = synced(shop, changed(ADA, "13:00"))
    assert WHOLE in result.output
    assert "2 of 3 records were deleted, more than max_deleted_percent 50" in result.output


def test_refused_records_are_offered_again_however_old_they_are(shop, api):
    shop.manifest(SENT)
    api.refuses = lambda call: call["traits"]["plan"] == "free"
    assert synced(shop, ADA, BOB, EVE).exit_code == 1
    new = changed(EVE, "20:00")
    assert "DISCARDED 1" in synced(shop, ADA, BOB, new).output
    assert "DISCARDED 1" in synced(shop, ADA, BOB, new).output
    api.refuses = lambda _call: False
    assert users(api) == ["c1", "c3"]
    shown = json.loads(shop.segconn("preview").output)
    assert shown["record_id"] == "c2"
    assert synced(shop, ADA, BOB, new).exit_code == 0
    assert users(api) == ["c1", "c3", "c2"]
    assert "ADDED 0 UPDATED 0" in synced(shop, changed(ADA, "10:30", plan="y"), BOB, new).output


def test_what_was_given_up_is_left_alone_until_retry_takes_it_up(shop, api):
    shop.manifest(SENT)
    api.refuses = lambda call: call["traits"]["plan"] == "free"
    new = changed(EVE, "20:00")
    for _ in range(7):
        result = synced(shop, ADA, BOB, new)
    assert result.exit_code == 0
    api.refuses = lambda _call: False
    assert synced(shop, ADA, BOB, new).exit_code == 0
    assert users(api) == ["c1", "c3"]
    assert '"record_id": "c2"' in shop.segconn("preview", "--record", "c2").output
    assert shop.segconn("retry").exit_code == 0
    assert users(api) == ["c1", "c3", "c2"]


def test_identifiers_that_were_null_or_not_unique_are_looked_at_again(shop, api):
    shop.manifest(SENT)
    nobody = (None, "nobody@example.com", "pro", "2026-01-01 09:00", 1)
    assert "DISCARDED 3" in synced(shop, ADA, ADA, nobody, EVE).output
    new = changed(EVE, "20:00")
    assert "DISCARDED 3" in synced(shop, ADA, ADA, nobody, new).output
    assert synced(shop, ADA, BOB, new).exit_code == 0, "the old row of c2 is not read"
    assert users(api) == ["c3", "c1"]


def test_where_more_are_not_unique_than_are_kept_by_name_the_whole_model_is_read(shop, api):
    shop.manifest(SENT)
    twice = [(f"d{at}", "d@example.com", "x", "2026-01-01 09:00", 1) for at in range(501)] * 2
    synced(shop, EVE, *twice)
    assert WHOLE in synced(shop, EVE, *twice[:501]).output
    assert len(users(api)) == 502


def test_an_older_row_of_the_same_identifier_is_not_seen(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    assert "UPDATED 1" in synced(shop, ADA, changed(ADA, "13:00", plan="new"), EVE).output
    assert api.calls()[-1]["traits"]["plan"] == "new"


def test_whoever_compares_other_records_or_columns_reads_the_whole_model(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    for mapping, meta in (
        ({**SENT, "fields": {"user_id": "$customer_id", "traits": {"mail": "$email", "plan": "$plan"}}}, {}),
        ({**SENT, "fields": {"user_id": "$customer_id", "traits": {"email": "$email"}}}, {}),
        ({**SENT, "sync_mode": "added"}, {}),
        (SENT, {"unique_identifier": ["customer_id", "version"]}),
        (SENT, {"timezone": "Europe/Berlin"}),
        (COUNTED, {}),
    ):
        shop.manifest(mapping, **meta)
        assert WHOLE in shop.segconn("run", "--all", "--allow-guarded", SYNC).output, (mapping, meta)
        assert NEW.replace("changed_at", mapping["checkpoint"]["column"]) in shop.segconn("run", "--all").output


def test_full_refresh_retry_and_baseline_read_the_whole_model(shop, api):
    shop.manifest(SENT)
    api.refuses = lambda call: call["userId"] == "c3"
    synced(shop, ADA, EVE)
    for command in (("run", "--all", "--full-refresh"), ("retry",), ("baseline", SYNC)):
        assert WHOLE in shop.segconn(*command).output
        assert NEW in shop.segconn("run", "--all").output


def test_after_a_reset_every_record_is_sent(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    assert shop.segconn("reset", "customers.identify_customers", "--yes").exit_code == 0
    assert "ADDED 2" in synced(shop, ADA, EVE).output


def test_another_lag_or_a_guard_keeps_the_checkpoint(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    shop.manifest({**SENT, "guards": {"max_records": 0}, "checkpoint": {"column": "changed_at", "lag": "3 hours"}})
    new, edited = changed(EVE, "20:00", plan="new"), changed(ADA, "10:00", plan="new")
    assert "BLOCKED" in synced(shop, edited, new).output
    shop.manifest({**SENT, "checkpoint": {"column": "changed_at", "lag": "2 hours"}})
    result = synced(shop, edited, new)
    assert NEW in result.output
    assert "UPDATED 2" in result.output, "a blocked sync has read nothing"


def test_an_outbox_moves_the_checkpoint_once_a_later_run_has_settled_it(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    api.faults = [401]
    new = changed(EVE, "20:00", plan="new")
    assert synced(shop, ADA, new).exit_code == 1
    assert checkpoints(shop) == ["2026-01-01T12:00:00", "2026-01-01T20:00:00"]
    between = ("c4", "dan@example.com", "pro", "2026-01-01 19:30", 4)
    result = synced(shop, changed(ADA, "18:59", plan="unseen"), new, between)
    assert "resuming the sync of" in result.output
    assert NEW in result.output
    assert users(api) == ["c1", "c3", "c3", "c4"]


def test_an_outbox_that_was_given_up_lets_the_whole_model_be_read(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    shop.manifest({**SENT, "fields": {"user_id": "$customer_id", "traits": {"email": "$email"}}})
    api.faults = [401]
    assert synced(shop, ADA, EVE).exit_code == 1
    shop.manifest(SENT)
    result = synced(shop, ADA, EVE)
    assert "the mapping has changed since the interrupted sync" in result.output
    assert WHOLE in result.output
    assert [call["traits"] for call in api.calls()][-1] == {"email": "eve@example.com", "plan": "team"}


def test_preview_shows_what_run_stages(shop, api):
    shop.manifest(SENT)
    synced(shop, ADA, EVE)
    fill(shop, changed(ADA, "10:30", plan="unseen"), changed(EVE, "13:00", plan="seen"))
    shown = json.loads(shop.segconn("preview").output)
    assert (shown["record_id"], shown["change_type"]) == ("c3", "updated")


def refused(shop, *checkpoints):
    """Return what is said of mappings with these checkpoints, by a run and by validate."""
    shop.manifest(*({**MAPPING, "name": f"m{at}", "checkpoint": one} for at, one in enumerate(checkpoints)))
    result = synced(shop, ADA)
    assert result.exit_code == 2
    return result.output, shop.segconn("validate", "--online").output


def test_a_checkpoint_that_cannot_be_read_is_refused(shop, api):
    lags = ("soon", -1, True, 1.5, "1 fortnight", "99999999 weeks")
    for output in refused(shop, {"column": "changed_at"}, *({"column": "changed_at", "lag": lag} for lag in lags)):
        assert "mapping m0: checkpoint.lag: is missing" in output
        for at in range(1, len(lags) + 1):
            assert f"mapping m{at}: checkpoint.lag: must be a duration such as `1 hour`" in output, output
    shop.manifest({**SENT, "sync_mode": ["added", "deleted"]})
    assert "checkpoint: cannot detect deleted records" in shop.segconn("validate").output


def test_a_checkpoint_that_the_column_cannot_have_is_refused(shop, api):
    wrong = (
        ("changed_at", 60, "checkpoint: changed_at is of the type TIMESTAMP: its lag must be a time such as `1 hour`"),
        ("version", "1 hour", "checkpoint: version is of the type BIGINT: its lag must be a whole number"),
        ("email", 0, "checkpoint: email is of the type VARCHAR: a checkpoint must be a timestamp"),
        ("changed", 0, "checkpoint.column: column 'changed' is not in main.customers. Did you mean 'changed_at'?"),
    )
    for output in refused(shop, *({"column": column, "lag": lag} for column, lag, _ in wrong)):
        for at, (_, _, words) in enumerate(wrong):
            assert f"mapping m{at}: {words}" in output, output
    assert api.received == []


def test_records_that_were_held_back_are_read_whatever_their_age_once_they_are_to_be_sent(shop, api):
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    shop.manifest({**SENT, "consent": {"Ads": "plan"}})
    says_yes, says_nothing = ("c1", "a@example.com", "true", "2026-01-01 10:00", 1), (*EVE[:2], None, *EVE[3:])
    old = ("c0", "old@example.com", None, "2026-01-01 01:00", 0)
    assert "HELD BACK 2" in synced(shop, says_yes, says_nothing, old).output
    assert "HELD BACK 1" in synced(shop, says_yes, says_nothing, old).output, "of those that are read"
    shop.more_settings = {}
    shop.settings()
    assert WHOLE in synced(shop, says_yes, says_nothing, old).output
    assert sorted(users(api)) == ["c0", "c1", "c3"]


def step(shop, *options):
    result = shop.segconn("run", "--all", *options)
    assert result.exit_code == 0, result.output
    return result.output


def test_steps_of_first_sync_add_up(shop, api):
    shop.manifest(SENT)
    fill(shop, ADA, BOB, EVE, ("c4", "x@example.com", "pro", None, 4))
    estimates = [json.loads(shop.segconn("estimate", "--format", "json", *limits).stdout) for limits in STEPS]
    assert [one["total"]["calls"] for one in estimates] == [1, 1, 4]
    output = step(shop, *STEPS[0])
    assert "reads only the rows with changed_at before 2026-01-01 11:00:00" in output
    assert users(api) == ["c1"]
    step(shop, *STEPS[1])
    assert users(api) == ["c1", "c2"], "from --after on, and below --before"
    assert "ADDED 0 UPDATED 0 DELETED 0" in step(shop, *STEPS[1])
    assert checkpoints(shop) == [None] * 3, "rows outside of a step are still unread"
    fill(shop, BOB, EVE, ("c4", "x@example.com", "pro", None, 4))
    assert "DELETED 0" in step(shop, *STEPS[0])
    assert WHOLE in step(shop)
    assert sorted(users(api)) == ["c1", "c2", "c3", "c4"]
    known = checkpoints(shop)[-1]
    step(shop, *STEPS[0])
    assert checkpoints(shop)[-1] == known == "2026-01-01T12:00:00"
    assert NEW in step(shop)


STEPS = (
    ("--before", "2026-01-01T11:00"),
    ("--after", "2026-01-01T12:00+01:00", "--before", "2026-01-01T12:00Z"),
    (),
)


def test_steps_that_cannot_be_are_refused(shop, api):
    shop.manifest(SENT, {**COUNTED, "name": "counted"}, {**MAPPING, "name": "whole"})
    fill(shop, ADA)
    for options, words in (
        (("--before", "2"), "identify_customers: --after and --before must be values of changed_at (TIMESTAMP)"),
        (("--before", "2026-01-01"), "counted: --after and --before must be values of version (BIGINT), such as 1000"),
        (("--after", "9"), "customers.whole: --after and --before need a column that orders the rows"),
        (("--mapping", "counted", "--after", "9", "--before", "9"), "--after '9' must be below --before '9'"),
    ):
        result = shop.segconn("run", "--all", *options)
        assert result.exit_code == 2
        assert words in result.output.replace("\n", " ")
    assert api.calls() == []
    step(shop, "--mapping", "counted", "--before", "2")
    assert users(api) == ["c1"]
