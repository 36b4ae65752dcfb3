"""A first mapping is proposed from the columns, and written without touching what else is in the file."""

from __future__ import annotations

import json

import pytest
import yaml
from standing import ADA, MAPPING, WRITE_KEY

from dbt_segconn.authoring.suggest import ColumnHint, suggest

CONTACTS = """\
# What the crew knows of its contacts.
version: 2

models:
  - name: customers   # one row each
    description: All our customers,
      leads included.
    columns:
      - name:   customer_id
        description: 'Our own key'
        data_tests: [ unique, not_null ]   # both

      - {name: email, data_type: varchar, description: "{{ doc('x') }}"}
      - name: given_name
      - name: signed_up_at
        data_type: timestamp with time zone
      - name: plan

  # the end
  - name: other
"""


def described(shop, text, columns, kept):
    shop.columns = columns
    shop.rows((ADA * 2)[: len(columns)])
    shop.write("models/customers.yml", text)
    shop.write("models/docs.md", "{% docs x %}{% enddocs %}")
    shop.write("models/other.sql", "select 1 as a")
    shop.parse(kept)


COLUMNS = ("customer_id", "email", "given_name", "signed_up_at", "plan")


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def contacts(shop, kept):
    described(shop, CONTACTS, COLUMNS, kept)
    return shop


def test_proposed_mapping_runs_unchanged(contacts, api):
    shown = contacts.segconn("suggest", "customers")
    assert shown.exit_code == 0, shown.output
    proposed = yaml.safe_load(shown.output)
    fields = {"user_id": "$customer_id", "traits": {"email": "$email", "firstName": "$given_name"}}
    fields["traits"]["createdAt"] = "$signed_up_at"
    (mapping,) = proposed["mappings"]
    assert proposed["unique_identifier"] == "customer_id"
    assert (mapping["name"], mapping["action"]) == ("identify_customers", "identify")
    assert mapping["fields"]["user_id"] == fields["user_id"]
    assert mapping["fields"]["traits"] == fields["traits"]
    assert "# Not mapped: plan." in shown.output
    expected = {
        "type": "identify",
        "userId": "customer_id-1",
        "traits": {"email": "email-1", "firstName": "given_name-1"},
    }
    assert mapping["tests"][0]["expect"] == {"calls": [expected]}
    assert (contacts.dir / "models/customers.yml").read_text() == CONTACTS

    written = contacts.segconn("suggest", "customers", "--write")
    assert written.exit_code == 0, written.output
    text = (contacts.dir / "models/customers.yml").read_text()
    kept = [line for line in text.splitlines() if line in CONTACTS.splitlines()]
    assert kept == CONTACTS.splitlines()
    added = yaml.safe_load(text)["models"][0]
    assert added.pop("config")["meta"]["segconn"] == proposed
    assert [added, {"name": "other"}] == yaml.safe_load(CONTACTS)["models"]
    contacts.dbt("run")
    tested = contacts.segconn("test")
    assert (tested.exit_code, tested.output.splitlines()[-1]) == (0, "1 test of 1 mapping: 0 failed.")
    assert contacts.segconn("run").exit_code == 0
    (call,) = api.calls()
    assert set(call["traits"]) == {"email", "firstName", "createdAt"}


def test_a_second_mapping_is_appended_under_a_name_of_its_own(contacts):
    assert contacts.segconn("suggest", "customers", "--write").exit_code == 0
    again = contacts.segconn("suggest", "customers", "--write")
    assert again.exit_code == 2
    assert "customers already has a mapping with the action identify: identify_customers. Edit it" in again.output
    track = contacts.segconn("suggest", "customers", "--write", "--action", "track")
    assert "Added a mapping of customers to models/customers.yml." in track.output
    assert "SEG104: model customers: dbt's manifest has none of these mappings. Run `dbt parse`" in (
        contacts.segconn("validate").output
    )
    contacts.dbt("parse")
    validated = json.loads(contacts.segconn("validate", "--format", "json").output)
    assert (validated["mappings"], validated["errors"]) == (2, 0)
    text = (contacts.dir / "models/customers.yml").read_text()
    assert [line for line in text.splitlines() if line in CONTACTS.splitlines()] == CONTACTS.splitlines()
    assert text.index("name: track_customers") < text.index("  # the end")


def test_a_model_without_yaml_gets_a_file_and_the_warehouse_tells_its_columns(shop):
    shop.rows(ADA)
    (shop.dir / "models/customers.yml").unlink()
    shop.dbt("run")
    written = shop.segconn("suggest", "customers", "--write")
    assert written.exit_code == 0, written.output
    assert yaml.safe_load((shop.dir / "models/customers.yml").read_text())["models"][0]["name"] == "customers"
    shop.dbt("run")
    assert shop.segconn("run").exit_code == 0
    wrong = shop.segconn("suggest", "custmers")
    assert wrong.exit_code == 2
    assert "Did you mean 'customers'?" in wrong.output


def test_a_file_whose_layout_cannot_be_kept_is_left_alone(contacts):
    flow = "{models: [{name: customers, columns: [{name: customer_id}, {name: email}]}, {name: other}]}\n"
    described(contacts, flow, ("customer_id", "email"), {})
    result = contacts.segconn("suggest", "customers", "--write")
    assert result.exit_code == 2
    assert "without changing other lines" in result.output
    assert (contacts.dir / "models/customers.yml").read_text() == flow


def test_init_names_the_first_step(shop):
    (shop.dir / "segconn.yml").unlink()
    assert "Next: `dbt parse`, then `dbt-segconn suggest MODEL`" in shop.segconn("init").output
    shop.manifest(MAPPING)
    assert "Next: `dbt-segconn suggest MODEL` proposes" in shop.segconn("init").output


def test_init_writes_what_is_missing_and_nothing_else(contacts, monkeypatch):
    settings = (contacts.dir / "segconn.yml").read_text()
    result = contacts.segconn("init")
    assert result.exit_code == 0, result.output
    assert "segconn.yml already exists; it was not changed." in result.output
    assert (contacts.dir / "segconn.yml").read_text() == settings
    (contacts.dir / "segconn.yml").unlink()
    monkeypatch.setenv("SEGMENT_WRITE_KEY", WRITE_KEY)
    result = contacts.segconn("init", "customers")
    assert result.exit_code == 0, result.output
    assert (contacts.dir / "segconn.yml").read_text().startswith("# yaml-language-server: $schema=.segconn/")
    assert (contacts.dir / ".segconn/settings.schema.json").exists()
    contacts.dbt("parse")
    assert contacts.segconn("validate").output == "No findings: 1 mapping on 1 model.\n"
    before = (contacts.dir / "models/customers.yml").read_text()
    assert "customers has mappings already and stays unchanged." in contacts.segconn("init", "customers").output
    assert (contacts.dir / "models/customers.yml").read_text() == before


def test_with_several_destinations_the_first_stands_in(shop):
    one = {"write_key": "x"}
    shop.write("segconn.yml", {"destinations": {"web": one, "app": one, "crm": one}})
    shop.manifest({**MAPPING, "destination": "web", "action": "sendIdentify"})
    shown = shop.segconn("suggest", "customers")
    assert yaml.safe_load(shown.output)["mappings"][0]["destination"] == "app"
    assert "# destination: one of app, crm" in shown.output
    track = yaml.safe_load(shop.segconn("suggest", "customers", "--action", "track").output)
    assert track["mappings"][0]["destination"] == "web"
    assert "# Only the columns of its documentation are known; the warehouse could not be read: " in shown.output
    assert shop.segconn("suggest", "customers", "--online").exit_code == 2
    shop.table(ADA)
    asked = shop.segconn("suggest", "customers").output
    assert yaml.safe_load(asked)["mappings"][0]["fields"]["traits"] == {"email": "$email"}
    assert "Only the columns" not in asked


def change_node(shop, name="customers", **changes):
    """Change the model in dbt's manifest, without mappings and tests; `metadata` changes the manifest itself."""
    shop.manifest(MAPPING)
    path = shop.dir / "target/manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["metadata"] |= changes.pop("metadata", {})
    node = manifest["nodes"]["model.shop.customers"]
    manifest["nodes"] = {"model.shop.customers": node}  # and none of its tests
    node["config"] |= {"meta": {}, **changes.pop("config", {})}
    node |= {"meta": {}, **changes}
    if name != "customers":
        node |= {"name": name, "alias": name, "relation_name": f'"shop"."main"."{name}"'}
    path.write_text(json.dumps(manifest))
    (shop.dir / "models/customers.yml").unlink()


def test_id_of_another_entity_is_not_proposed_as_a_users(shop):
    documented = {"order_id": {"name": "order_id"}}
    change_node(shop, "orders", columns=documented)
    shown = shop.segconn("suggest", "orders")
    (mapping,) = yaml.safe_load(shown.output)["mappings"]
    assert (mapping["action"], mapping["fields"]) == ("track", {"event_name": "Order Recorded"})
    assert "# fields.user_id or anonymous_id: no column matches" in shown.output
    assert "# unique_identifier: order_id is guessed from its name." in shown.output
    forced = shop.segconn("suggest", "orders", "--action", "identify").output
    assert yaml.safe_load(forced)["mappings"][0]["fields"] == {}
    assert "# fields.user_id: order_id identifies a record, but its name does not show" in forced
    shop.columns = ("order_id", "contract_id", "customer_id", "total")
    shop.table(("o1", "x", "c1", "1"), name="main.orders")
    (mapping,) = yaml.safe_load(shop.segconn("suggest", "orders").output)["mappings"]
    assert mapping["fields"]["user_id"] == "$customer_id", "the warehouse knows more than the documentation"


def test_snapshot_versions_are_records(shop):
    config = {"unique_key": "customer_id", "snapshot_meta_column_names": {"dbt_valid_from": "valid_since"}}
    change_node(shop, "customers_snapshot", resource_type="snapshot", config=config)
    shop.columns = ("customer_id", "email", "dbt_scd_id", "dbt_updated_at", "valid_since", "dbt_valid_to")
    shop.table(("c1", "ada@example.com", "x", "", "", ""), name="main.customers_snapshot")
    shown = shop.segconn("suggest", "customers_snapshot").output
    proposed = yaml.safe_load(shown)
    assert proposed["unique_identifier"] == "dbt_scd_id"
    (mapping,) = proposed["mappings"]
    assert (mapping["action"], mapping["order_by"]) == ("identify", "valid_since")
    assert mapping["fields"] == {"user_id": "$customer_id", "traits": {"email": "$email"}}
    assert "`records: current`" in shown
    assert "Left out" not in shown
    change_node(shop, "customers_snapshot", resource_type="snapshot", config={**config, "meta": {"segconn": proposed}})
    assert json.loads(shop.segconn("validate", "--format", "json").output)["errors"] == 0


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("1.11.0", "dbt docs generate"),
        ("2025.4.1+a1b2c3", "dbt docs generate"),
        ("2.0.0-alpha.4", "dbt compile --write-catalog"),
    ],
)
def test_catalog_advice_fits_dbt_version(shop, version, command):
    change_node(shop, columns={}, metadata={"dbt_version": version})
    unknown = shop.segconn("suggest", "customers")
    assert unknown.exit_code == 2
    assert "no columns are known. Run dbt on this target" in unknown.output
    assert f"`{command}`" in unknown.output


@pytest.mark.parametrize(
    ("model", "columns", "action", "fields"),
    [
        ("dim_accounts", [("ACCOUNT_ID", None), ("Name", None), ("NumberOfEmployees", "number")], "group",
         {"group_id": "$ACCOUNT_ID", "traits": {"name": "$Name", "employees": "$NumberOfEmployees"}}),
        ("fct_orders", [("id", None), ("customer_id", None), ("ordered_at", "date"), ("total", "number")], "track",
         {"event_name": "Order Recorded", "user_id": "$customer_id", "timestamp": "$ordered_at",
          "properties": {"revenue": "$total"}}),
        ("web_visits", [("url", None), ("title", None), ("user_id", None), ("visited_at", "date")], "page",
         {"user_id": "$user_id", "timestamp": "$visited_at", "properties": {"title": "$title", "url": "$url"}}),
        ("customer_orders", [("order_id", None), ("customer_id", None)], "track",
         {"event_name": "Customer Order Recorded", "user_id": "$customer_id"}),
        ("customer_features", [("CustomerKey", None), ("contract_id", None)], "identify",
         {"user_id": "$CustomerKey"}),
        ("users", [("id", None), ("email", "number"), ("zip", "text"), ("user agent", None)], "identify",
         {"user_id": "$id", "user_agent": {"@path": "$.properties['user agent']"},
          "traits": {"address": {"postalCode": "$zip"}}}),
    ],
)  # fmt: skip
def test_columns_are_matched_by_words_types_and_model(model, columns, action, fields):
    suggestion = suggest(model, [ColumnHint(name, spec_type) for name, spec_type in columns], [columns[0][0]])
    assert suggestion.mapping["action"] == action
    assert suggestion.mapping["fields"] == fields


def test_a_description_helps_where_a_name_says_nothing_and_what_is_missing_is_said():
    columns = [ColumnHint("c7", "text", "Email address"), ColumnHint("c8", "text", "Shoe size")]
    suggestion = suggest("things", columns, [], action="identify")
    assert suggestion.mapping["fields"] == {"traits": {"email": "$c7"}}
    assert suggestion.left_out == ("c8",)
    assert suggestion.missing == ("user_id or anonymous_id",)
