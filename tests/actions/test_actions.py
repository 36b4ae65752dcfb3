"""The five actions beyond the recorded lines."""

from __future__ import annotations

import pytest

from dbt_segconn.actions import ACTIONS, compile_action, fields_schema, unknown_fields
from dbt_segconn.errors import ConfigurationError, InvalidCall, MappingError


@pytest.mark.parametrize("name", [*ACTIONS, *(f"send{name.title()}" for name in ACTIONS)])
def test_action_has_two_names(name):
    fields = {"user_id": "u", "event_name": "E", "group_id": "g"}
    assert compile_action(name, fields)({})["type"] == name.removeprefix("send").lower()


def test_unknown_action_suggests_nearest():
    with pytest.raises(ConfigurationError, match=r"'identfy' is not an action\. Did you mean 'identify'"):
        compile_action("identfy", {})


def test_mapping_problems_are_all_reported():
    with pytest.raises(MappingError) as caught:
        compile_action("identify", {"user_id": {"@path": 3}, "traits": {"a": {"@nope": 1}}})
    assert len(caught.value.problems) == 2


def test_record_problems_are_all_reported():
    fields = {"user_id": {"@path": "$.u"}, "location": {"latitude": {"@path": "$.lat"}}, "traits": {"@path": "$.t"}}
    with pytest.raises(InvalidCall) as caught:
        compile_action("identify", fields)({"u": {}, "lat": "north", "t": "x"})
    assert len(caught.value.problems) == 3


def test_misspelt_field_suggests_nearest():
    fields = {"user_id": 1, "trait": {}, "location": {"citty": "x"}, "enable_batching": True}
    assert unknown_fields("identify", fields) == ((("trait",), "traits"), (("location", "citty"), "city"))


@pytest.mark.parametrize("name", ACTIONS)
def test_schema_matches_fields(name):
    schema = fields_schema(name)
    assert list(schema["else"]["properties"])[: len(ACTIONS[name].fields)] == [one.name for one in ACTIONS[name].fields]
    assert all(field.description and field.label for field in ACTIONS[name].fields)
