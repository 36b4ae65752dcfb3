"""Ids that would make one user or group of many are found before anything is sent."""

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
        (7, "is the constant 7: "),
        (True, "is the constant True: "),
        ("$$5", "Map a column: user_id: $column."),
        ({"@template": "all"}, "holds no column: "),
        ({"@template": "{{event}}-users"}, "holds no column: "),
        ({"@literal": "customer_id"}, "holds no column: "),
        (BRANCHES, "holds no column: "),
        ({"@case": {"operator": "lower", "value": BRANCHES}}, "holds no column: "),
        ({"@liquid": "{% if properties.email %}a{% else %}b{% endif %}"}, "holds no column: "),
    ],
)
def test_constant_user_id_names_the_meant_column(shop, value, words):
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
def test_ids_of_columns_are_no_constants(shop, value):
    assert findings(shop, mapped(user_id=value, anonymous_id="$customer_id")) == []


def test_constant_group_and_anonymous_ids_are_found(shop):
    group = mapped("group", user_id="$customer_id", group_id="acme")
    assert [one["path"] for one in findings(shop, group)] == ["fields.group_id"]
    page = mapped("page", anonymous_id="customer_id", user_id="$email")
    assert [one["path"] for one in findings(shop, page)] == ["fields.anonymous_id"]
    assert findings(shop, {**group, "constant_ids": "allowed"}) == []


def test_constant_id_stops_a_run_unless_allowed(shop, api):
    mapping = mapped("group", user_id="$customer_id", group_id="acme")
    shop.manifest(mapping)
    result = shop.resync(ADA, BOB)
    assert result.exit_code == 2
    assert "fields.group_id: is the constant 'acme'" in result.output
    assert api.tried == []
    shop.manifest({**mapping, "constant_ids": "allowed"})
    assert shop.resync(ADA, BOB).exit_code == 0
    assert [call["groupId"] for call in api.calls()] == ["acme", "acme"]
