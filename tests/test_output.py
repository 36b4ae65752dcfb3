"""What comes from data is printed escaped: neither a terminal nor CI obeys it."""

from __future__ import annotations

import os
import pty
import subprocess
import termios

import pytest
from standing import ADA, BOB, MAPPING, PROGRAM, WRITE_KEY

EVIL = "c1\x1b[2J\n::add-mask::x\r\x9b31m\u202e##[error]"
NAME = "customers.identify_customers"


def is_harmless(output):
    lines = [line.strip() for line in output.split("\n")]
    return all(one.isprintable() for one in lines) and not any(one.startswith(("::", "##[", "##vso[")) for one in lines)


def test_record_values_are_escaped(shop, api):
    shop.manifest({**MAPPING, "fields": {"user_id": "$customer_id", "traits": {"email": "$email"}}})
    api.refuses = lambda call: call["traits"]["email"] != "fine"
    assert shop.resync((EVIL, EVIL, "pro"), ("c2", "fine", "pro")).exit_code == 1
    commands = [
        ("run", "--all"),
        ("status", "--discards"),
        ("status", "--history"),
        ("preview",),
        ("preview", "--record", EVIL),
        ("estimate",),
        ("send-test", NAME, "--record", EVIL),
    ]
    for command in commands:
        assert is_harmless(shop.segconn(*command).output), command
    assert "c1\\x1b[2J\\n::add-mask::x" in shop.segconn("status", "--discards").output


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\n::add-mask::b", " ", "a\u202eb", "a\tb"])
def test_names_must_be_printable(shop, name):
    shop.manifest({**MAPPING, "name": name})
    for command in (("run", "--all"), ("validate",), ("validate", "--format", "github")):
        result = shop.segconn(*command)
        assert result.exit_code in {1, 2}
        assert "must have printable characters only" in result.output
        assert all(line.isprintable() for line in result.output.split("\n"))


def test_commands_in_model_name_are_escaped(shop):
    """A name on the command line comes from a fork's pull request as easily as from a user."""
    shop.manifest(MAPPING)
    result = shop.segconn("preview", "--mapping", "x\n::error::y\x1b[0m")
    assert result.exit_code == 2
    assert is_harmless(result.output)


def on_terminal(*arguments, columns=80, **env):
    """Run the program on a terminal; return its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    env = {**{name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR"}}, **env}
    with subprocess.Popen(
        [PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm", **env}
    ) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # the program has closed the terminal
            pass
    os.close(ours)
    return process.returncode, written.decode().replace("\r\n", "\n")


def test_terminal_shows_progress_and_keeps_its_cursor(shop, api):
    shop.manifest(MAPPING)
    shop.table(*((f"c{n}", "x", "y") for n in range(3000)))
    api.delay = 0.4
    code, written = on_terminal("run", "--all", "--project-dir", str(shop.dir), WK=WRITE_KEY)
    assert code == 0, written
    assert " of 3,000 calls" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    plain = shop.segconn("run", "--all").output
    assert "\x1b" not in plain
    assert " of 3,000 calls" not in plain


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CI": "true"}], ids=str)
def test_terminal_prints_plain_on_request(env):
    _, written = on_terminal("fields", "identify", **env)
    assert ("\x1b" in written) is not env
    assert "anonymous_id" in written


def test_tables_in_pipes_are_plain(shop, monkeypatch):
    name = "identify_" + "customer_" * 9
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    shop.manifest({**MAPPING, "name": name})
    shop.resync(ADA, BOB)
    head, row = shop.segconn("status").output.splitlines()
    assert head.split()[:3] == ["mapping", "action", "destination"]
    assert row.split()[:4] == [f"customers.{name}", "identify", "app", "yes"]
    assert (head + row).isascii()
    monkeypatch.setenv("COLUMNS", "60")
    lines = shop.segconn("status").output.splitlines()
    assert ["status", "success"] in [line.split() for line in lines]
    assert max(map(len, lines)) <= 60
    assert "".join(line.removeprefix("mapping").strip() for line in lines[:-7]).startswith(f"customers.{name}")


def test_markup_in_data_is_text(shop, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    shop.manifest(MAPPING)
    shop.table(("c1", "[red]x[/] :smile: [link=http://e.vil]", "[bold"))
    output = shop.segconn("preview", "--format", "text").output
    assert output.count('"[red]x[/] :smile: [link=http://e.vil]"') == 2
    assert output.count('"[bold"') == 2
