"""The Spec's `integrations`: of a destination, of a mapping and of a run, on every call."""

from __future__ import annotations

import json

from standing import ADA, BOB, EVE, MAPPING

ONLY = {"All": False, "Amplitude": {"session_id": 7}}
# The warehouse writes the calls of the first two; rows make those of the first, too; the last goes the general way
WAYS = (
    MAPPING["fields"],
    {"user_id": "${customer_id}-x", "traits": {"email": "$email"}},
    {
        "user_id": "$customer_id",
        "traits": {"e": {"@case": {"operator": "upper", "value": {"@path": "$.properties.plan"}}}},
    },
)
BACKFILL = ("--integrations", '{"All": false}')


def mapped(*integrations):
    return [{**MAPPING, "name": f"m{at}", "integrations": one} for at, one in enumerate(integrations)]


def sent(api):
    return [call.get("integrations") for call in api.calls()]


def by_user(api):
    return {call["userId"]: call.get("integrations") for call in api.calls()}


def test_each_way_of_making_calls_has_them(shop, api, monkeypatch):
    from dbt_segconn.engine.calls import CallMaker

    ways = [{**one, "fields": fields} for one, fields in zip(mapped(ONLY, ONLY, ONLY), WAYS, strict=True)]
    shop.manifest(*ways)
    shop.resync(ADA)
    assert sent(api) == [ONLY] * 3
    monkeypatch.setattr(CallMaker, "written", lambda *_: None)
    shop.resync(ADA, BOB)
    assert sent(api) == [ONLY] * 6
    shop.table(ADA, BOB, EVE)
    shown = shop.segconn("preview", "--mapping", "m0", "--format", "json")
    assert json.loads(shown.stdout)["call"]["integrations"] == ONLY


def test_all_replaces_and_names_add(shop, api, tmp_path):
    shop.settings(integrations={"Salesforce": False, "Slack": True})
    shop.manifest(*mapped({}, {"Slack": False}, {"All": False}))
    shop.resync(ADA)
    own = [{"Salesforce": False, "Slack": True}, {"Salesforce": False, "Slack": False}, {"All": False}]
    key = json.dumps
    assert sorted(map(key, sent(api))) == sorted(map(key, own))
    api.forget()
    shop.resync(ADA, BOB, options=("--integrations", '{"Heap": true}'))
    assert sorted(map(key, sent(api))) == sorted(key({**one, "Heap": True}) for one in own)
    api.forget()
    file = tmp_path / "only.json"
    file.write_text('{"All": false, "Heap": true}')
    shop.resync(ADA, BOB, EVE, options=("--integrations", str(file)))
    assert sent(api) == [{"All": False, "Heap": True}] * 3


REFUSED = (
    ({"amplitude": False}, "names are case-sensitive. Write 'Amplitude'"),
    ({"all": False}, "Write 'All'"),
    ({"All": "no"}, "All must be true or false"),
    ({"Warehouses": False}, "Write {all: false}"),
    ({"Slack": "yes"}, "'Slack' must be true, false or an object of options"),
    (["Slack"], "must map names of destinations"),
)


def test_ignored_integrations_are_refused(shop, api):
    shop.manifest(*mapped(*(value for value, _ in REFUSED)))
    result = shop.resync(ADA)
    assert result.exit_code == 2
    for _, words in REFUSED:
        assert words in result.output
    shop.manifest(MAPPING)
    result = shop.resync(ADA, options=("--integrations", '{"amplitude": false}'))
    assert "--integrations: has 'amplitude', but names are case-sensitive. Write 'Amplitude'" in result.output
    assert api.calls() == []


def test_unknown_names_are_warnings(shop):
    shop.settings(integrations={"Amplitud": False})
    shop.manifest({**MAPPING, "integrations": {"Braze Cloud Mode": False, "My Function (My Workspace)": True}})
    output = shop.segconn("validate").output
    assert output.count("warning SEG503") == 2
    assert "Did you mean 'Amplitude'?" in output
    assert "Did you mean 'Braze Cloud Mode (Actions)'?" in output
    result = shop.resync(ADA, options=("--integrations", '{"Amplitud": false}'))
    assert "--integrations: 'Amplitud' is not in the list" in result.output


def test_interrupted_backfill_keeps_them(shop, api):
    """Neither the rest of an interrupted run nor what is staged again goes to other destinations."""
    shop.manifest(MAPPING)
    api.faults = [401]
    assert shop.resync(ADA, BOB, options=BACKFILL).exit_code == 1
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"plan": "$plan"}}})
    api.faults = [401]
    again = shop.resync(ADA, BOB, EVE)
    assert "staged again" in again.output
    assert 'with --integrations {"All": false}, until one of its syncs succeeds' in again.output
    assert api.calls() == []
    shown = shop.segconn("preview", "--record", "c3")
    assert json.loads(shown.stdout)["call"]["integrations"] == {"All": False}
    shop.resync(ADA, BOB, EVE, ("c4", "d@example.com", "pro"))
    assert by_user(api) == {"c1": {"All": False}, "c2": {"All": False}, "c3": {"All": False}, "c4": None}


def test_own_ones_replace_interrupted_ones(shop, api):
    shop.manifest(MAPPING)
    api.faults = [401]
    shop.resync(ADA, BOB)
    result = shop.resync(ADA, BOB, options=BACKFILL)
    assert "--integrations differ from those of the interrupted sync" in result.output
    assert sent(api) == [{"All": False}] * 2
    api.faults = [401]
    shop.resync(ADA, BOB, EVE, options=BACKFILL)
    shop.resync(ADA, BOB, EVE, options=("--integrations", "{}"))
    assert sent(api)[2:] == [None]


def test_full_refresh_keeps_interrupted_ones(shop, api):
    """It forgets the records of the backfill, not that ad networks must not get them."""
    shop.manifest(MAPPING)
    api.faults = [401]
    assert shop.resync(ADA, BOB, options=BACKFILL).exit_code == 1
    result = shop.resync(ADA, BOB, options=("--full-refresh",))
    assert 'with --integrations {"All": false}, until one of its syncs succeeds' in result.output
    assert sent(api) == [{"All": False}] * 2
    shop.resync(ADA, BOB, EVE)
    assert by_user(api)["c3"] is None


def test_resumed_sync_names_its_ones(shop, api):
    shop.manifest(MAPPING)
    api.faults = [401]
    shop.resync(ADA, BOB, options=BACKFILL)
    result = shop.resync(ADA, BOB)
    assert 'UTC, with --integrations {"All": false}' in result.output
    assert sent(api) == [{"All": False}] * 2
