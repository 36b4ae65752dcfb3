"""The check of every test's outputs, artifacts, tables and errors finds what is planted there."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback

import click
import duckdb
import pytest
from leaks import PACKAGE, Watch, locals_of
from standing import ADA, BOB, MAPPING, WRITE_KEY

from dbt_segconn import commands
from dbt_segconn.delivery import Destination, DestinationConfig
from dbt_segconn.delivery.destination import OAuth
from dbt_segconn.engine.opening import Options, resolve_context
from dbt_segconn.errors import ConfigurationError, DeliveryError
from dbt_segconn.project.settings import read_settings

EMAIL = ADA[1]
PATH = "/services/T0/B0/hookS3cret"


@pytest.fixture
def found(shop):
    """What the check of this very test finds; forgotten afterwards, so that the test itself passes."""

    def leaks():
        return [leak.partition(" in ")[0] for leak in shop.watch.leaks(shop.dir)]

    shop.watch.use_row(shop.columns, ADA)
    yield leaks
    shop.watch = Watch()


def test_no_suggestion_without_evidence(shop, found):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    assert found() == []


@pytest.mark.parametrize(("secret", "kind"), [(WRITE_KEY, "the key"), (EMAIL, "the value")])
def test_what_is_planted_is_found(shop, found, secret, kind):
    leak = f"{kind} {secret!r}"
    (shop.dir / "target/segconn").mkdir(parents=True)
    artifact = shop.dir / "target/segconn/other.txt"
    artifact.write_text(f"x{secret}x")
    assert found() == [leak]
    artifact.unlink()
    with duckdb.connect(str(shop.dir / "shop.duckdb")) as connection:
        connection.execute("create schema segconn; create table segconn.sync_history (sync_id varchar)")
        connection.execute("create table segconn.discards as select ? as reason", [f"because of {secret}"])
    assert found() == [leak]
    with duckdb.connect(str(shop.dir / "shop.duckdb")) as connection:
        connection.execute("alter table segconn.discards rename to outbox_x")
    assert found() == ([leak] if secret == WRITE_KEY else [])
    (shop.dir / "shop.duckdb").unlink()
    with pytest.raises(DeliveryError):
        raise DeliveryError(f"it was {secret}")
    logging.getLogger("urllib3").debug("posting %s", secret)
    subprocess.run([sys.executable, "-c", f"print({secret!r})  # dbt_segconn"], check=True, capture_output=True)
    assert found() == [leak] * 3


@pytest.mark.parametrize(("command", "leaks"), [("preview", 0), ("run", 1)])
def test_payload_may_show_only_where_it_is_asked_for(shop, found, monkeypatch, command, leaks):
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    planted = click.Command(command, callback=lambda: click.echo(EMAIL), context_settings=anything)
    monkeypatch.setitem(commands.main.commands, command, planted)
    shop.segconn(command)
    assert len(found()) == leaks


def test_keys_are_those_that_the_settings_read_and_the_headers_carry(shop, api, found, monkeypatch):
    monkeypatch.setenv("OTHER", "another-key-99")
    shop.settings(write_key="{{ env_var('OTHER') }}")
    shop.write("segconn.yml", (shop.dir / "segconn.yml").read_text() + f"alerts: [{{url: 'https://x{PATH}'}}]\n")
    shop.manifest(MAPPING)
    shop.resync(ADA)
    assert {WRITE_KEY, "another-key-99", PATH} < shop.watch.keys
    assert api.headers[0]["Authorization"].removeprefix("Basic ") in shop.watch.keys


def test_locals_of_tracebacks_are_looked_at(shop, found, monkeypatch):
    scope = {"ConfigurationError": ConfigurationError, "WRITE_KEY": WRITE_KEY}
    code = "def planted(path, variables):\n    key = WRITE_KEY\n    raise ConfigurationError('broken')"
    exec(compile(code, f"{PACKAGE}/planted.py", "exec"), scope)
    monkeypatch.setattr("dbt_segconn.project.settings._read", scope["planted"])
    assert shop.segconn("validate").exit_code == 2
    assert found() == [f"the key {WRITE_KEY!r}"]


def test_a_value_that_identifies_records_may_name_them(shop, found):
    shop.watch.saw("a line", f"the record {EMAIL} is not unique")
    assert found() == [f"the value {EMAIL!r}"]
    shop.mappings(unique_identifier=["customer_id", "email"])
    assert found() == []


# --- What the program itself takes care of ---------------------------------------------------------


def test_a_representation_shows_no_key(shop, monkeypatch):
    monkeypatch.setenv("HOOK", f"https://hooks.example.com{PATH}")
    shop.write("segconn.yml", (shop.dir / "segconn.yml").read_text() + "alerts: [{url: \"{{ env_var('HOOK') }}\"}]\n")
    settings = read_settings(shop.dir, resolve_context(Options(project_dir=shop.dir)).jinja())
    config = DestinationConfig(
        "app", WRITE_KEY, "http://x", oauth=OAuth("c", "k", "private-text", "http://x/token", "s")
    )
    destination = Destination(config)
    shown = repr([settings, settings.model_dump(), config, destination, vars(destination)]) + str(settings)
    assert not [key for key in (WRITE_KEY, PATH, "private-text") if key in shown]


def test_an_error_of_the_settings_shows_no_key_in_the_locals_of_its_traceback(shop):
    shop.settings(region="mars")
    with pytest.raises(ConfigurationError, match="region") as caught:
        read_settings(shop.dir, resolve_context(Options(project_dir=shop.dir)).jinja())
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert WRITE_KEY not in shown
    assert list(locals_of(caught.value))
    assert WRITE_KEY not in "".join(locals_of(caught.value))
