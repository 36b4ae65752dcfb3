"""The command `debug`: check project, profile, warehouse and its rights, write keys, region and clock."""

from __future__ import annotations

import platform
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dbt_segconn.commands.main import FAILED, OK, command
from dbt_segconn.commands.options import as_options, format_option, project_options
from dbt_segconn.commands.terminal.output import say, styled, write_json
from dbt_segconn.errors import ConfigurationError, WarehouseError, counted
from dbt_segconn.project.findings import InvalidProject
from dbt_segconn.project.yaml_file import PROFILES_FILE, PROJECT_FILE
from dbt_segconn.version import __version__

if TYPE_CHECKING:
    from dbt_segconn.delivery.answers import KeyStatus, Unreachable
    from dbt_segconn.engine.opening import Options, Project
    from dbt_segconn.project.artifacts import Manifest
    from dbt_segconn.project.context import Context
    from dbt_segconn.project.mappings import Mapping
    from dbt_segconn.project.settings import DestinationSettings, Settings
    from dbt_segconn.warehouse.adapter import Warehouse
    from dbt_segconn.warehouse.session import Session

T = TypeVar("T")
Status = Literal["ok", "warn", "error", "unknown"]
_LABELS = {"ok": ("OK", "green"), "warn": ("WARN", "yellow"), "error": ("ERROR", "red"), "unknown": ("?", "cyan")}
# The Date header of an answer has whole seconds
_CLOCK_TOLERANCE_SECONDS = 3
# Beyond this, OAuth assertions are rejected and timestamps are far off
_WRONG_CLOCK_SECONDS = 60


@command(group="Check")
@project_options
@format_option("text", "json")
def debug(*, style: str, **params: Any) -> None:
    """Check everything that a run needs: project, profile, warehouse, rights, write keys, region, clock.

    Sends no call. Creates a table in the warehouse and drops it, to check the rights. Checks with Segment that the
    write keys exist. A question mark means that the check is not possible from here.

    \b
    Examples:
      dbt-segconn debug
      dbt-segconn debug --target prod --format json

    Exit codes: 0 no errors, 1 errors.
    """
    checks = []
    # printed one by one: a check of a warehouse that does not answer takes long
    for check in _checks(as_options(**params)):
        checks.append(check)
        if style == "text":
            label, color = _LABELS[check.status]
            # errors of drivers may have several lines
            say(f"{styled(f'{label:<5}', fg=color)}  {check.subject}: {' '.join(check.message.split())}")
            if check.fix:
                say(f"       {check.fix}")
    counts = Counter(check.status for check in checks)
    if style == "json":
        write_json(checks)
    else:
        say(f"Done. OK={counts['ok']} WARN={counts['warn']} ERROR={counts['error']} UNKNOWN={counts['unknown']}")
    sys.exit(FAILED if counts["error"] else OK)


@dataclass(frozen=True, slots=True)
class _Check:
    """The result of one check. `fix` is the next step; `unknown` means that the check is not possible from here."""

    subject: str
    status: Status
    message: str
    fix: str = ""


def _checks(options: Options) -> Iterator[_Check]:
    """Yield the result of every check, in order. A check is skipped if it needs another that failed."""
    from dbt_segconn.engine.opening import Project, resolve_context
    from dbt_segconn.project.artifacts import read_manifest
    from dbt_segconn.project.settings import FILE_NAME, read_settings

    dbt_version, python = version("dbt-core"), platform.python_version()
    yield _Check("versions", "ok", f"dbt-segconn {__version__}, dbt-core {dbt_version}, Python {python}")
    first = yield from _tried("project", lambda: resolve_context(options))
    if first is None:
        return
    yield from _check_context(first)
    opened = yield from _tried("target", lambda: resolve_context(options, opens=True))
    if opened:
        status: Status = "ok" if opened.target else "unknown"
        yield _Check("target", status, f"{opened.target or 'none'} ({opened.origins['target']})")
    context = opened or first  # without a target, the files can still be checked
    settings = yield from _tried("settings", lambda: read_settings(context.project_dir, context.jinja()))
    if settings:
        yield _Check("settings", "ok", f"{FILE_NAME}, destinations: {', '.join(settings.destinations)}")
    manifest = yield from _tried("manifest", lambda: read_manifest(context.artifacts_dir))
    if manifest:
        yield from _check_manifest(context, manifest)
    mappings: tuple[Mapping, ...] = ()
    if settings and manifest:
        mappings = yield from _check_mappings(manifest, settings, context)
        yield from _check_results(context, manifest)
    if settings and manifest and opened:
        yield from _check_warehouse(Project(context, settings, manifest, None, mappings), options)
    else:
        yield _Check("warehouse", "unknown", f"not checked: this needs {FILE_NAME}, dbt's manifest and a target")
    for name, destination in (settings.destinations if settings else {}).items():
        yield from _check_destination(name, destination)


def _tried(subject: str, read: Callable[[], T]) -> Generator[_Check, None, T | None]:
    """Return what `read` returns; None after yielding the errors that it raises."""
    try:
        return read()
    except ConfigurationError as error:
        yield from _errors(subject, error)
        return None


def _errors(subject: str, error: ConfigurationError) -> Iterator[_Check]:
    for problem in error.problems:
        yield _Check(subject, "error", str(problem))


def _check_context(context: Context) -> Iterator[_Check]:
    """Yield how the project is opened: each value with its origin."""
    values = {
        "project": context.project_dir / PROJECT_FILE,
        "artifacts": context.artifacts_dir,
        "profiles": context.profiles_dir / PROFILES_FILE,
        "profile": context.profile,
        "vars": ", ".join(context.vars) or "none",
    }
    for name, value in values.items():
        yield _Check(name, "ok", f"{value} ({context.origins[name]})")


def _check_manifest(context: Context, manifest: Manifest) -> Iterator[_Check]:
    from dbt_segconn.engine.opening import check_project

    try:
        check_project(context, manifest)
        yield _Check("manifest", "ok", str(manifest.path))
    except ConfigurationError as error:
        yield from _errors("manifest", error)


def _check_mappings(
    manifest: Manifest, settings: Settings, context: Context
) -> Generator[_Check, None, tuple[Mapping, ...]]:
    from dbt_segconn.project.mappings import read_mappings

    try:
        mappings = read_mappings(manifest, settings, context.project_dir)
    except InvalidProject as error:
        errors = counted(len(error.findings), "error")
        yield _Check("mappings", "error", errors, "`dbt-segconn validate` lists them.")
        return ()
    if mappings:
        enabled = sum(mapping.meta.enabled for mapping in mappings)
        yield _Check("mappings", "ok", f"{len(mappings)}, enabled: {enabled}")
    else:
        yield _Check("mappings", "warn", "no model has any", "`dbt-segconn suggest MODEL` proposes one.")
    return mappings


def _check_results(context: Context, manifest: Manifest) -> Iterator[_Check]:
    from dbt_segconn.engine.opening import read_gate

    try:
        results = read_gate(context, manifest)
    except ConfigurationError as error:
        fix = "Until then, `run --all` reads models as they are. Failed dbt tests then hold back no model."
        yield _Check("dbt's results", "warn", f"a run would not start: {error}", fix)
    else:
        fresh = sum(outcome.is_fresh for outcome in results.outcomes.values())
        tests = len({test for tests in results.failed_tests.values() for test in tests})
        refreshed = f"{counted(fresh, 'model')} refreshed, {counted(tests, 'failed test')}"
        yield _Check("dbt's results", "ok", f"{', '.join(map(str, results.files))}: {refreshed}")


def _check_warehouse(project: Project, options: Options) -> Iterator[_Check]:
    """Open the target as a run does. The first error ends these checks."""
    from dbt_segconn.engine.opening import opened

    # a run opens the target in the same way, with the proof that dbt built the models there
    try:
        with opened(project, options) as warehouse:
            target = warehouse.config.target_name
            yield _Check("warehouse", "ok", f"{warehouse.place}, by target {target}; dbt built the models there")
            started = time.monotonic()
            with warehouse.session("debug") as session:
                session.rows("segconn_select_now")
                yield _Check("connection", "ok", f"answers in {time.monotonic() - started:.2f} s")
                yield from _check_rights(project, warehouse, session)
                yield from _check_models(project.mappings, session)
    except WarehouseError as error:
        yield _Check("connection", "error", str(error), "`dbt debug` shows more about the connection.")
    except ConfigurationError as error:
        yield from _errors("warehouse", error)


def _check_rights(project: Project, warehouse: Warehouse, session: Session) -> Iterator[_Check]:
    """Create, write, read and drop a table in the schema of the state tables; without it, in a temporary schema.

    The schema of the state tables is not created: an empty one would be left behind.
    """
    from dbt_segconn.state.tables import State

    state = State(session, project.settings.state, warehouse.database)
    schema = str(state.syncs.without_identifier())
    name = f"segconn_probe_{secrets.token_hex(4)}"  # two users may check at once
    has_schema = session.schema_exists(state.syncs)
    probe = state.table(name) if has_schema else state.syncs.incorporate(path={"schema": name, "identifier": "probe"})
    try:
        if not has_schema:
            session.create_schema(probe)
        try:
            _use(session, probe)
        finally:
            _drop(session, probe, with_schema=not has_schema)
    except WarehouseError as error:
        grant = session.render("segconn_grant", relation=state.syncs)
        fix = f"Ask for: {grant}" if session.is_denied(error) else ""
        yield _Check("rights", "error", f"the state tables of {schema} cannot be kept: {error}", fix)
    else:
        rights = "may create, write, read and drop tables in" if has_schema else "may create the schema"
        yield _Check("rights", "ok", f"{rights} {schema}, where state is kept")


def _use(session: Session, probe: object) -> None:
    def use() -> None:
        session.run("segconn_create_table", relation=probe, columns={"word": "text"})
        session.run("segconn_append", relation=probe, columns=["word"], rows=[("probe",)])
        session.rows("segconn_count_rows", relation=probe)
        session.run("segconn_drop", relation=probe)

    # in one transaction, if the warehouse has them: a killed process leaves no table behind
    session.together(use)


def _drop(session: Session, probe: object, *, with_schema: bool) -> None:
    with suppress(WarehouseError):  # the error of `_use` is the one to report
        session.run("segconn_drop", relation=probe)
    if with_schema:
        # without cascade: a table that another session has made in it stays
        session.drop_schema(probe)


def _check_models(mappings: Iterable[Mapping], session: Session) -> Iterator[_Check]:
    """Check that the tables of enabled mappings exist, have all columns and may be read."""
    from dbt_segconn.warehouse.source import find_source

    # a run does not read the models of disabled mappings
    enabled = [mapping for mapping in mappings if mapping.meta.enabled]
    has_errors = False
    for mapping in enabled:
        try:
            session.rows("segconn_read_one", relation=find_source(mapping, session).relation)
        except ConfigurationError as error:
            has_errors = True
            yield from _errors(mapping.name, error)
        except WarehouseError as error:
            has_errors = True
            fix = "Ask for the right to select from it."
            yield _Check(mapping.name, "error", f"its model cannot be read: {error}", fix)
    if enabled and not has_errors:
        yield _Check(
            "models", "ok", f"those of {counted(len(enabled), 'mapping')} exist, have all columns and can be read"
        )


def _check_destination(name: str, destination: DestinationSettings) -> Iterator[_Check]:
    """Check the write key, the region, the clock and the access token. Sends no call."""
    from dbt_segconn.delivery import answers as probes

    subject = f"destination {name}"
    if not destination.enabled:
        yield _Check(subject, "unknown", "is disabled: not checked")
        return
    # without `endpoint`, Segment's host of settings answers for all regions; a proxy or the debugger answers itself
    host = probes.SETTINGS_HOST if destination.endpoint is None else destination.base_url
    reply = probes.check_write_key(host, destination.write_key.get_secret_value())
    yield from _check_key(subject, reply, host, destination)
    yield _check_clock(subject, destination.base_url)
    if destination.oauth:
        yield _check_token(subject, name, destination)


def _check_key(
    subject: str, reply: KeyStatus | Unreachable, host: str, destination: DestinationSettings
) -> Iterator[_Check]:
    """Yield the checks of a write key and, if the key exists, of its region."""
    from dbt_segconn.delivery.answers import Unreachable

    key = f"{subject}: write key"
    if isinstance(reply, Unreachable):
        message = f"{host} cannot be reached: {reply.reason}"
        yield _Check(key, "unknown", message, "Check whether a proxy or a firewall is in between.")
    elif reply.is_known is None:  # a proxy may have no such path
        message = f"{host} does not check write keys (HTTP status {reply.status})"
        yield _Check(key, "unknown", message, "A wrong key shows as HTTP status 401 in a run, or only in Segment.")
    elif not reply.is_known:
        fix = "Copy the key from the settings of the HTTP API source in Segment to where segconn.yml reads it from."
        yield _Check(key, "error", f"{host} has no such key (HTTP status {reply.status})", fix)
    else:
        yield _Check(key, "ok", f"{host} has this key")
        yield _check_region(f"{subject}: region", reply.region, host, destination)


def _check_region(subject: str, region: str | None, host: str, destination: DestinationSettings) -> _Check:
    # each region has its own endpoint, which returns 200 for a source of another one and drops its calls
    if destination.endpoint is not None:
        message = f"cannot be checked with `endpoint`: {destination.base_url} forwards to a region of its own choice"
        return _Check(subject, "unknown", message)
    if region is None:
        message = f"{host} does not return the region of the source; segconn.yml has {destination.region}"
        return _Check(subject, "unknown", message)
    if region != destination.region:
        fix = f"Set `region: {region}`: the wrong region gives no error and no data."
        return _Check(subject, "error", f"the source is in {region}, segconn.yml has {destination.region}", fix)
    return _Check(subject, "ok", f"the source is in {region}, as in segconn.yml")


def _check_clock(subject: str, endpoint: str) -> _Check:
    from dbt_segconn.delivery.answers import Unreachable, measure_clock_skew

    # one request for both: each answer of the endpoint has the time
    subject, skew = f"{subject}: endpoint and clock", measure_clock_skew(endpoint)
    if isinstance(skew, Unreachable):
        fix = "Check `endpoint` and `region`, and whether this machine can reach the internet, perhaps by a proxy."
        return _Check(subject, "error", f"{endpoint} cannot be reached: {skew.reason}", fix)
    if skew is None:
        return _Check(subject, "unknown", f"{endpoint} can be reached, but its answer has no time")
    if abs(skew) <= _CLOCK_TOLERANCE_SECONDS:
        return _Check(subject, "ok", f"{endpoint} can be reached and has the same time as this machine")
    direction = "ahead of" if skew > 0 else "behind"
    message = f"this machine's clock is {abs(skew):.0f} s {direction} that of {endpoint}"
    fix = "Synchronise it (NTP): Segment corrects timestamps by the sender's clock and would shift them by as much."
    return _Check(subject, "error" if abs(skew) > _WRONG_CLOCK_SECONDS else "warn", message, fix)


def _check_token(subject: str, name: str, destination: DestinationSettings) -> _Check:
    from dbt_segconn.delivery import Destination
    from dbt_segconn.delivery.destination import Token, build_config

    subject = f"{subject}: OAuth"
    try:
        tokens = Destination(build_config(name, destination)).tokens
    except ConfigurationError as error:
        return _Check(subject, "error", str(error))
    token = tokens.get() if tokens else None
    if isinstance(token, Token):
        return _Check(subject, "ok", f"{destination.token_url} issues an access token")
    reason = getattr(token, "reason", "no access token: too many requests, try again later")
    return _Check(subject, "error", str(reason))
