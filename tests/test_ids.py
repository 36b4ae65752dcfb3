"""Ids that would merge users or groups are found before anything is sent."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, MAPPING

NAME = "customers.identify_customers"


def mapped(action="identify", **fields):
    return {**MAPPING, "action": action, "fields": fields}


def findings(shop, mapping, code="SEG406", **meta):
    shop.manifest(mapping, **meta)
    answer = json.loads(shop.segconn("validate", "--format", "json").output)
    return [one for one in answer["findings"] if one["code"] == code]


EXISTS = {"exists": {"@path": "$.properties.email"}}
BRANCHES = {"@if": {**EXISTS, "then": "known", "else": "unknown"}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("customer_id", "Did you mean $customer_id?"),
        ("Customer_ID", "Did you mean $customer_id?"),
        ("{customer_id}", "Did you mean $customer_id?"),
        ("$.properties.customer_id", "Did you mean $customer_id?"),
        ("email", "Did you mean $email?"),
        ("plan", "If plan is a column, write $plan."),
        (7, "must be a column, not the constant 7: "),
        (True, "must be a column, not the constant True: "),
        ("$$5", "Map a column: user_id: $column."),
        ({"@template": "all"}, "must use a column: "),
        ({"@template": "{{event}}-users"}, "must use a column: "),
        ({"@literal": "customer_id"}, "must use a column: "),
        (BRANCHES, "must use a column: "),
        ({"@case": {"operator": "lower", "value": BRANCHES}}, "must use a column: "),
        ({"@liquid": "{% if properties.email %}a{% else %}b{% endif %}"}, "must use a column: "),
    ],
)
def test_constant_user_id_suggests_column(shop, value, words):
    (found,) = findings(shop, mapped(user_id=value, traits={"email": "$email"}))
    assert (found["severity"], found["path"]) == ("error", "fields.user_id")
    assert words in f"{found['message']}. {found['fix']}"
    assert "`constant_ids: allowed`" in found["fix"]


@pytest.mark.parametrize(
    "value",
    [
        "$customer_id",
        "${customer_id}",
        "$__segment_id",
        "user-${customer_id}",
        "",
        None,
        {"@path": "$.__segment_id"},
        {"@if": {**EXISTS, "then": {"@path": "$.properties.email"}, "else": "unknown"}},
        {"@liquid": "{{ properties.email | downcase }}"},
        {"@replace": {"pattern": "a", "replacement": "b", "value": {"@path": "$.properties.email"}}},
        {"@literal": {"@path": "$.properties.email"}},
    ],
)
def test_ids_from_columns_are_accepted(shop, value):
    assert findings(shop, mapped(user_id=value, anonymous_id="$customer_id")) == []


def test_constant_group_and_anonymous_ids_are_found(shop):
    group = mapped("group", user_id="$customer_id", group_id="acme")
    assert [one["path"] for one in findings(shop, group)] == ["fields.group_id"]
    page = mapped("page", anonymous_id="customer_id", user_id="$email")
    assert [one["path"] for one in findings(shop, page)] == ["fields.anonymous_id"]
    assert findings(shop, {**group, "constant_ids": "allowed"}) == []


def test_constant_id_blocks_unless_allowed(shop, api):
    mapping = mapped("group", user_id="$customer_id", group_id="acme")
    shop.manifest(mapping)
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 2
    assert "fields.group_id: must be a column, not the constant 'acme'" in result.output
    assert api.tried == []
    shop.manifest({**mapping, "constant_ids": "allowed"})
    assert shop.resync(ADA, BOB).exit_code == 0
    assert [call["groupId"] for call in api.calls()] == ["acme", "acme"]


TRAITS = {"traits": {"email": "$email"}}
BY_REF = mapped(user_id="$ref", **TRAITS)
JUNK = ("null", "None", "NIL", "undefined", "NaN", "0", "-1", "Anonymous", "unknown", "N/A", "  ", "\t", " null\n")


@pytest.fixture
def refs(shop):
    """A model with an id in addition to the identifier."""
    shop.columns = ("customer_id", "email", "ref")
    shop.watch.identify_by("ref")
    return shop


def records(*ids):
    return [(f"c{at}", f"mail{at}@example.com", one) for at, one in enumerate(ids)]


def blocked(shop, api, rows, words):
    result = shop.resync(*rows)
    assert result.exit_code == 1
    assert words in result.output, result.output
    assert api.tried == []
    return result


def test_junk_ids_block_with_their_counts(refs, api):
    refs.manifest(BY_REF)
    blocked(refs, api, records("u1", "unknown", "Unknown", "null"), "3 records have a placeholder as user_id")
    output = refs.segconn("estimate").output
    assert "('unknown' 2, 'null' 1)" in output
    assert "guards.allow_junk_ids" in output
    refs.manifest({**BY_REF, "guards": {"allow_junk_ids": True}})
    assert refs.segconn("run", "--all").exit_code == 0
    assert len(api.calls()) == 4


def test_every_junk_id_is_counted(refs, api):
    refs.manifest(BY_REF)
    rows = records(*JUNK, "nullable", "10", "00", "u0")
    blocked(refs, api, rows, f"{len(JUNK)} records have a placeholder as user_id")
    assert refs.segconn("run", "--all", "--allow-guarded", NAME).exit_code == 0
    assert len(api.calls()) == len(rows)


def test_empty_and_null_ids_are_discarded(refs, api):
    refs.manifest(BY_REF)
    result = refs.resync(*records("", None, "u1"))
    assert result.exit_code == 1
    assert "DISCARDED 2" in result.output
    assert [call["userId"] for call in api.calls()] == ["u1"]


@pytest.mark.parametrize("data_type", ["bigint", "double", "decimal(9, 2)", "uuid"])
def test_junk_numbers_and_uuids_are_counted(refs, api, data_type):
    refs.types = {"ref": data_type}
    refs.manifest(BY_REF)
    ids = ["00000000-0000-0000-0000-000000000000"] * 2 if data_type == "uuid" else [0, -1]
    fine = "12345678-1234-1234-1234-123456789012" if data_type == "uuid" else 12
    blocked(refs, api, records(*ids, fine, None), "2 records have a placeholder as user_id")


def test_junk_is_found_in_all_ids(refs, api):
    refs.manifest(mapped("group", user_id="$customer_id", group_id="$ref"))
    blocked(refs, api, records("g1", "n/a"), "1 record has a placeholder as group_id")
    refs.manifest(mapped("page", anonymous_id="$ref", user_id="$email"))
    blocked(refs, api, records("a1", "undefined", ""), "1 record has a placeholder as anonymous_id")
    refs.manifest(mapped(user_id="${ref}", **TRAITS))
    blocked(refs, api, records("u1", "nil"), "1 record has a placeholder as user_id")
    refs.manifest(mapped(user_id="$__segment_id", **TRAITS), unique_identifier="ref")
    blocked(refs, api, records("u1", "anonymous"), "1 record has a placeholder as user_id")


def test_only_changes_to_send_are_checked(refs, api):
    refs.manifest({**BY_REF, "sync_mode": "updated"})
    assert refs.resync(*records("unknown", "u1")).exit_code == 0
    assert refs.resync(*records("unknown", "u2")).exit_code == 0
    assert [call["userId"] for call in api.calls()] == ["u2"]


def test_shared_id_blocks(refs, api):
    refs.manifest(BY_REF)
    rows = records(*["pro"] * 7, *["free"] * 6, *["few"] * 5, "u1")
    found = blocked(refs, api, rows, "3 values of user_id ($ref) are shared by more than 1 record, by up to 7")
    assert "guards.max_records_per_id" in found.output
    assert "are shared by more than 1 record" in refs.segconn("estimate").output
    refs.manifest({**BY_REF, "guards": {"max_records_per_id": 5}})
    blocked(refs, api, rows, "2 values of user_id ($ref) are shared by more than 5 records, by up to 7")
    refs.manifest({**BY_REF, "guards": {"max_records_per_id": 7}})
    assert refs.segconn("run", "--all").exit_code == 0
    assert len(api.calls()) == 19


def test_repeated_group_and_user_block(refs, api):
    refs.manifest(mapped("group", user_id="$email", group_id="$ref"))
    assert refs.resync(*records(*["acme"] * 9)).exit_code == 0, "nine users of one group"
    refs.manifest({**mapped("group", user_id="$ref", group_id="$ref"), "name": "other"})
    blocked_by = refs.segconn("run", "--all")
    assert "1 value of group_id ($ref) is shared by more than 1 record, by up to 9" in blocked_by.output


@pytest.mark.parametrize(
    "mapping",
    [
        mapped("track", user_id="$ref", event_name="Paid"),
        mapped("page", user_id="$email", anonymous_id="$ref"),
        mapped(user_id="$customer_id", **TRAITS),
        mapped(user_id="user-${ref}"),
    ],
)
def test_allowed_shared_ids_do_not_block(refs, api, mapping):
    refs.manifest(mapping)
    assert refs.resync(*records(*["one"] * 20)).exit_code == 0
    assert len(api.calls()) == 20


LEAVING = {"sync_mode": ["added", "deleted"]}


@pytest.mark.parametrize(
    ("mapping", "paths"),
    [
        (mapped(user_id="$email"), ["fields.user_id"]),
        (mapped(user_id="${email}"), ["fields.user_id"]),
        (mapped(user_id="${customer_id}-${email}"), ["fields.user_id"]),
        (mapped(user_id="$email", anonymous_id="$plan"), ["fields.user_id"]),
        (mapped("group", user_id="$customer_id", group_id="$plan"), ["fields.group_id"]),
        (mapped("track", user_id="$customer_id", event_name="$plan"), ["fields.event_name"]),
        (mapped(user_id="$CUSTOMER_ID"), []),
        (mapped(user_id="user-${customer_id}"), []),
        (mapped(user_id="$__segment_id"), []),
        (mapped(user_id="$email", anonymous_id="$customer_id"), []),
        (mapped("track", user_id="$customer_id", event_name="Left"), []),
        (mapped(user_id={"@if": {**EXISTS, "then": "", "else": {"@path": "$.properties.customer_id"}}}), []),
    ],
)
def test_id_missing_when_deleted_is_found(shop, mapping, paths):
    found = findings(shop, {**mapping, **LEAVING}, code="SEG305")
    assert [one["path"] for one in found] == paths
    assert all(one["severity"] == "error" and "customer_id" in one["fix"] for one in found)
    assert findings(shop, mapping, code="SEG305") == []


def test_deleted_records_keep_their_id(shop, api):
    shop.manifest({**MAPPING, "sync_mode": ["added", "deleted"], "sync_null_values": False})
    shop.resync(ADA, BOB)
    api.forget()
    assert shop.resync(ADA).exit_code == 0
    (call,) = api.calls()
    assert (call["userId"], call["traits"]) == ("c2", {})


def test_old_identifier_keeps_no_columns(shop, api):
    leaving = {**MAPPING, "sync_mode": ["added", "deleted"], "fields": {"user_id": "$customer_id"}}
    shop.manifest(leaving)
    shop.resync(ADA, BOB)
    api.forget()
    other = {**leaving, "fields": {"user_id": "$__segment_id", "traits": {"mail": "$email"}}}
    shop.manifest(other, unique_identifier="email")
    assert shop.segconn("run", "--all", "--allow-guarded", NAME).exit_code == 0
    sent = {call["userId"]: call["traits"]["mail"] for call in api.calls()}
    assert sent == {"c1": None, "c2": None, ADA[1]: ADA[1], BOB[1]: BOB[1]}
