"""Mappings exported from Segment become YAML that dbt-segconn takes."""

from __future__ import annotations

import json

import pytest
import yaml
from standing import ADA

TERRAFORM = """
resource "segment_destination" "d" { name = "web" }
resource "segment_destination_subscription" "one" {
  action_id      = "vm2tNA5U1zxUusQkdC4D7Z"
  destination_id = "689c"
  enabled        = false
  model_id       = "goGE"
  name           = "Send Identify"
  reverse_etl_schedule = { config = null, strategy = "MANUAL" }
  settings = jsonencode({
    consent = { "@path" = "$.context.consent" }
    message_id = { "@path" = "$.messageId" }
    engage_space = "x"
    traits = {
      Email = { "@path" = "$.properties.email" }
      greeting = { "@template" = "Hi \\"{{properties.plan}}\\" $${x}" }
      price = "$five"
      list = ["a", 1, true, null]
    }
    user_id = { "@path" = "$.__segment_id" }
  })
  trigger = "event = \\"new\\" or event = \\"updated\\""
}
"""


def imported(shop, name, text, *more):
    shop.write(name, text)
    from click.testing import CliRunner

    from dbt_segconn.commands import main

    return CliRunner().invoke(main, ["import", str(shop.dir / name), *(str(shop.dir / one) for one in more)])


def test_a_terraform_resource_becomes_a_mapping_that_delivers(shop, api):
    printed = imported(shop, "x.tf", TERRAFORM.replace("\\\\", "\\")).output
    assert "# not carried over: the schedule" in printed
    assert "# not carried over: fields.engage_space" in printed
    meta = yaml.safe_load(printed)["segconn"]
    (mapping,) = meta["mappings"]
    assert mapping["sync_mode"] == "added_or_updated"
    assert mapping["enabled"] is False
    assert "consent" not in mapping["fields"]
    shop.mappings({**mapping, "enabled": True})
    assert shop.sync(ADA).exit_code == 0
    (call,) = api.calls()
    assert call["userId"] == "c1"
    assert call["traits"] == {
        "Email": "ada@example.com",
        "greeting": 'Hi "pro" ${x}',
        "price": "$five",
        "list": ["a", 1, True, None],
    }


def subscription(name, model):
    return f"""
resource "segment_destination_subscription" "{name}" {{
  model_id = {model}
  name     = "Send Identify {name}"
  settings = jsonencode({{ user_id = {{ "@path" = "$.properties.ID" }} }})
  trigger  = "event = \\"new\\""
}}
"""


MODELS = """
import {
  to = segment_reverse_etl_model.id-abc
  id = "abc"
}
resource "segment_reverse_etl_model" "id-abc" {
  name                    = "Customers"
  query_identifier_column = "CUSTOMER_ID"
}
resource "segment_reverse_etl_model" "orders" { query_identifier_column = "on" }
"""


def test_each_model_has_one_yaml_block(shop):
    ids = {"a": '"abc"', "b": "segment_reverse_etl_model.orders.id", "c": '"gone"', "d": '"abc"'}
    printed = imported(shop, "x.tf", MODELS + "".join(subscription(*pair) for pair in ids.items())).output
    blocks = [one["segconn"] for one in yaml.safe_load_all(printed)]
    assert [one["unique_identifier"] for one in blocks] == ["CUSTOMER_ID", "on", "???"]
    assert [[one["name"][-1] for one in block["mappings"]] for block in blocks] == [["a", "d"], ["b"], ["c"]]
    assert "Segment's model Customers\n" in printed
    assert "Segment's model with the id gone\n" in printed


def test_models_of_the_public_api_have_their_identifier(shop):
    one = {"name": "x\ny: z", "actionSlug": "sendIdentify", "trigger": 'event = "new"', "settings": {"user_id": "x"}}
    models = [{"id": "m1", "name": "Users", "queryIdentifierColumn": "uid"}]
    answer = [{"data": {"subscriptions": [{**one, "modelId": "m1"}]}}, {"data": {"models": models}}]
    (block,) = yaml.safe_load_all(imported(shop, "x.json", json.dumps(answer)).output)
    assert block["segconn"]["unique_identifier"] == "uid"
    shop.write("models.json", json.dumps(answer[1]))
    (apart,) = yaml.safe_load_all(imported(shop, "x.json", json.dumps(answer[0]), "models.json").output)
    assert apart == block


@pytest.mark.parametrize(
    ("trigger", "mode"),
    [
        ('event = "new"', "added"),
        ('event = "updated"', "updated"),
        ('event = "deleted"', "deleted"),
        ('event = "deleted" or event = "new"', ["added", "deleted"]),
        ('type = "track"', None),
    ],
)
def test_triggers_become_sync_modes(shop, trigger, mode):
    answer = {
        "data": {
            "subscriptions": [
                {"name": "x", "actionSlug": "sendTrack", "trigger": trigger, "settings": {"event_name": "E"}}
            ]
        }
    }
    printed = imported(shop, "x.json", json.dumps(answer)).output
    mapping = yaml.safe_load(printed)["segconn"]["mappings"][0]
    assert mapping["action"] == "track"
    assert mapping.get("sync_mode") == mode
    assert ("choose a sync_mode" in printed) is (mode is None)


@pytest.mark.parametrize(
    ("name", "settings", "action", "note"),
    [
        ("Send Track orders", {}, "track", None),
        ("Orders", {"event_name": "Paid"}, "track", None),
        ("Leads of a page", {}, "page", "(a1): check page, which is guessed from the name"),
        ("Leads", {}, "???", "(a1): name it"),
    ],
)
def test_guessed_action_is_noted(shop, name, settings, action, note):
    one = {"name": name, "actionId": "a1", "trigger": 'event = "new"', "settings": {"user_id": "x", **settings}}
    printed = imported(shop, "x.json", json.dumps(one)).output
    assert yaml.safe_load(printed)["segconn"]["mappings"][0]["action"] == action
    assert ("not carried over: the action" in printed) is (note is not None)
    assert (note or "") in printed


@pytest.mark.parametrize(
    ("name", "text"), [("x.tf", "resource {"), ("x.json", "{"), ("x.json", "{}"), ("x.tf", "a = 1\n")]
)
def test_a_file_without_mappings_is_refused(shop, name, text):
    result = imported(shop, name, text)
    assert result.exit_code == 2
    assert name in result.output
