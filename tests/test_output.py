"""What comes from data is printed escaped: neither a terminal nor CI obeys it."""

from __future__ import annotations

import pytest
from standing import MAPPING

EVIL = "c1\x1b[2J\n::add-mask::x\r\x9b31m\u202e##[error]"
NAME = "customers.identify_customers"


def is_harmless(output):
    lines = [line.strip() for line in output.split("\n")]
    return all(one.isprintable() for one in lines) and not any(one.startswith(("::", "##[", "##vso[")) for one in lines)


def test_record_ids_and_values_are_printed_escaped(shop, api):
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$email"}}})
    api.refuses = lambda call: call["traits"]["email"] != "fine"
    assert shop.resync((EVIL, EVIL, "pro"), ("c2", "fine", "pro")).exit_code == 1
    commands = [
        ("run", "--all"),
        ("status", "--discards"),
        ("status", "--history"),
        ("preview", "--all"),
        ("preview", "--all", "--record", EVIL),
        ("estimate", "--all"),
        ("send-test", NAME, "--record", EVIL),
    ]
    for command in commands:
        assert is_harmless(shop.segconn(*command).output), command
    assert "c1\\x1b[2J\\n::add-mask::x" in shop.segconn("status", "--discards").output


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\n::add-mask::b", " ", "a\u202eb", "a\tb"])
def test_names_hold_printable_characters_only(shop, name):
    shop.manifest({**MAPPING, "name": name})
    for command in (("run", "--all"), ("validate",), ("validate", "--format", "github")):
        result = shop.segconn(*command)
        assert result.exit_code in {1, 2}
        assert "must hold printable characters only" in result.output
        assert all(line.isprintable() for line in result.output.split("\n"))


def test_a_model_name_with_commands_is_defused(shop):
    """A name on the command line comes from a fork's pull request as easily as from a user."""
    shop.manifest(MAPPING)
    result = shop.segconn("preview", "--mapping", "x\n::error::y\x1b[0m")
    assert result.exit_code == 2
    assert is_harmless(result.output)
