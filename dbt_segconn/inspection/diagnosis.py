"""Whether all that a run needs is there: project, profile, warehouse and its rights, write keys, region, clock."""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from dbt_segconn.delivery import Destination
from dbt_segconn.delivery.destination import build_config
from dbt_segconn.delivery.oauth import Token
from dbt_segconn.delivery.probes import SETTINGS_HOST, KeyStatus, Unreachable, check_write_key, measure_clock_skew
from dbt_segconn.engine.opening import Options, Project, check_project, opened, read_gate, resolve_context
from dbt_segconn.errors import ConfigurationError, WarehouseError
from dbt_segconn.project.artifacts import Manifest, read_manifest
from dbt_segconn.project.context import Context
from dbt_segconn.project.dbt_project import PROFILES_FILE, PROJECT_FILE
from dbt_segconn.project.findings import InvalidProject
from dbt_segconn.project.mappings import Mapping, read_mappings
from dbt_segconn.project.settings import FILE_NAME, DestinationSettings, Settings, read_settings
from dbt_segconn.state.tables import State
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.session import Session
from dbt_segconn.warehouse.source import find_source
from dbt_segconn.wording import counted

Status = Literal["ok", "warn", "error", "unknown"]
# An answer's header tells whole seconds
CLOCK_SECONDS = 3
# Beyond this, OAuth assertions are refused and timestamps are far off
WRONG_CLOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at. `fix` says what to do; `unknown` is what cannot be told from here."""

    subject: str
    status: Status
    message: str
    fix: str = ""


def diagnose(options: Options) -> Iterator[CheckResult]:
    """Look at everything that a run needs, one after the other; what one check needs of another is left out.

    Sends no call. In the warehouse, it creates what shows its rights, and drops that again.
    """
    yield CheckResult(
        "versions", "ok", f"dbt-segconn {__version__}, dbt-core {version('dbt-core')}, Python {_python()}"
    )
    try:
        context = resolve_context(options)
    except ConfigurationError as error:
        yield from _failed("project", error)
        return
    yield from _context(context)
    settings, manifest = None, None
    mappings: tuple[Mapping, ...] = ()
    is_target_known = True
    try:
        context = resolve_context(options, opens=True)
    except ConfigurationError as error:
        is_target_known = False
        yield from _failed("target", error)
    else:
        status: Status = "ok" if context.target else "unknown"
        yield CheckResult("target", status, f"{context.target or 'none'} ({context.origins['target']})")
    try:
        settings = read_settings(context.project_dir, context.jinja())
        yield CheckResult("settings", "ok", f"{FILE_NAME}, destinations: {', '.join(settings.destinations)}")
    except ConfigurationError as error:
        yield from _failed("settings", error)
    try:
        manifest = read_manifest(context.artifacts_dir)
        check_project(context, manifest)
        yield CheckResult("manifest", "ok", str(manifest.path))
    except ConfigurationError as error:
        yield from _failed("manifest", error)
    if settings and manifest:
        mappings, checks = _mappings(manifest, settings, context)
        yield from checks
        yield from _results(context, manifest)
    if settings and manifest and is_target_known:
        yield from _warehouse(Project(context, settings, manifest, None, mappings), options)
    else:
        yield CheckResult("warehouse", "unknown", f"not looked at: that takes {FILE_NAME}, dbt's manifest and a target")
    for name, destination in (settings.destinations if settings else {}).items():
        yield from _destination(name, destination)


def _context(context: Context) -> Iterator[CheckResult]:
    """Show how the project is opened, each value with where it is from."""
    values = {
        "project": context.project_dir / PROJECT_FILE,
        "artifacts": context.artifacts_dir,
        "profiles": context.profiles_dir / PROFILES_FILE,
        "profile": context.profile,
        "vars": ", ".join(context.vars) or "none",
    }
    for name, value in values.items():
        yield CheckResult(name, "ok", f"{value} ({context.origins[name]})")


def _python() -> str:
    return platform.python_version()


def _failed(subject: str, error: ConfigurationError) -> Iterator[CheckResult]:
    for problem in error.problems:
        yield CheckResult(subject, "error", str(problem))


def _mappings(
    manifest: Manifest, settings: Settings, context: Context
) -> tuple[tuple[Mapping, ...], tuple[CheckResult, ...]]:
    try:
        mappings = read_mappings(manifest, settings, context.project_dir)
    except InvalidProject as error:
        errors = counted(len(error.findings), "error")
        return (), (CheckResult("mappings", "error", errors, "`dbt-segconn validate` lists them."),)
    enabled = sum(mapping.meta.enabled for mapping in mappings)
    if not mappings:
        return (), (CheckResult("mappings", "warn", "no model has any", "`dbt-segconn suggest MODEL` proposes one."),)
    return mappings, (CheckResult("mappings", "ok", f"{len(mappings)}, of which {enabled} are enabled"),)


def _results(context: Context, manifest: Manifest) -> Iterator[CheckResult]:
    try:
        results = read_gate(context, manifest)
    except ConfigurationError as error:
        fix = "Until then, `run --all` takes models as they are, and then no failed dbt test holds one back."
        yield CheckResult("dbt's results", "warn", f"a run would not start: {error}", fix)
    else:
        fresh = sum(outcome.is_fresh for outcome in results.outcomes.values())
        tests = len({test for tests in results.failed_tests.values() for test in tests})
        refreshed = f"{counted(fresh, 'model')} refreshed, {counted(tests, 'failed test')}"
        yield CheckResult("dbt's results", "ok", f"{', '.join(map(str, results.files))}: {refreshed}")


def _warehouse(project: Project, options: Options) -> Iterator[CheckResult]:
    """Open the target as a run does; the first thing that fails ends it."""
    try:
        with opened(project, options) as warehouse:
            name = warehouse.config.target_name
            yield CheckResult(
                "warehouse", "ok", f"{warehouse.place}, as target {name} has it; dbt built the models there"
            )
            started = time.monotonic()
            with warehouse.session("debug") as session:
                session.rows("segconn_select_now")
                yield CheckResult("connection", "ok", f"answers in {time.monotonic() - started:.2f} s")
                yield from _rights(project, warehouse, session)
                yield from _models(project.mappings, session)
    except WarehouseError as error:
        yield CheckResult("connection", "error", str(error), "`dbt debug` says more of the connection.")
    except ConfigurationError as error:
        yield from _failed("warehouse", error)


def _rights(project: Project, warehouse: Warehouse, session: Session) -> Iterator[CheckResult]:
    """Create a table beside the state tables, write, read and drop it; where their schema is missing, in another."""
    state = State(session, project.settings.state, warehouse.database)
    schema = str(state.syncs.without_identifier())
    mark = f"segconn_probe_{secrets.token_hex(4)}"
    is_there = session.schema_exists(state.syncs)
    probe = state.table(mark) if is_there else state.syncs.incorporate(path={"schema": mark, "identifier": "probe"})
    try:
        if not is_there:
            session.create_schema(probe)
        try:
            _use(session, probe)
        finally:
            _leave_nothing(session, probe, with_schema=not is_there)
    except WarehouseError as error:
        grant = session.render("segconn_grant", relation=state.syncs)
        fix = f"Ask for: {grant}" if session.is_denied(error) else ""
        yield CheckResult("rights", "error", f"the state tables of {schema} cannot be kept: {error}", fix)
    else:
        what = "may create, write, read and drop tables in" if is_there else "may create the schema"
        yield CheckResult("rights", "ok", f"{what} {schema}, where state is kept")


def _use(session: Session, probe: object) -> None:
    """In one transaction, where there are any: a process that is killed leaves nothing behind."""
    with session.transaction():
        session.run("segconn_create_table", relation=probe, columns={"word": "text"})
        session.run("segconn_append", relation=probe, columns=["word"], rows=[("probe",)])
        session.rows("segconn_count_rows", relation=probe)
        session.run("segconn_drop", relation=probe)


def _leave_nothing(session: Session, probe: object, *, with_schema: bool) -> None:
    with suppress(WarehouseError):  # the first error is the one to tell
        session.run("segconn_drop", relation=probe)
    if with_schema:
        session.drop_schema(probe)


def _models(mappings: Iterable[Mapping], session: Session) -> Iterator[CheckResult]:
    """Find the tables of enabled mappings, their columns, and whether they may be read."""
    enabled = [mapping for mapping in mappings if mapping.meta.enabled]
    is_well = True
    for mapping in enabled:
        try:
            session.rows("segconn_read_one", relation=find_source(mapping, session).relation)
        except ConfigurationError as error:
            is_well = False
            yield from _failed(mapping.name, error)
        except WarehouseError as error:
            is_well = False
            yield CheckResult(
                mapping.name, "error", f"its model cannot be read: {error}", "Ask for the right to select from it."
            )
    if enabled and is_well:
        yield CheckResult(
            "models", "ok", f"those of {len(enabled)} mappings are there, with all columns, and may be read"
        )


def _destination(name: str, destination: DestinationSettings) -> Iterator[CheckResult]:
    """Ask about the write key, the region, the time, and for a token; sends no call."""
    subject = f"destination {name}"
    if not destination.enabled:
        yield CheckResult(subject, "unknown", "is disabled: not looked at")
        return
    host = SETTINGS_HOST if destination.endpoint is None else destination.base_url
    yield from _key_checks(subject, check_write_key(host, destination.write_key.get_secret_value()), host, destination)
    yield _clock(subject, destination.base_url)
    if destination.oauth:
        yield _token(subject, name, destination)


def _key_checks(
    subject: str, reply: KeyStatus | Unreachable, host: str, destination: DestinationSettings
) -> Iterator[CheckResult]:
    key, region = f"{subject}: write key", f"{subject}: region"
    if isinstance(reply, Unreachable):
        yield CheckResult(
            key, "unknown", f"{host} cannot be asked: {reply.reason}", "Is a proxy or a firewall in between?"
        )
        return
    if reply.is_known is None:
        message = f"{host} does not say whether it is right (HTTP status {reply.status})"
        yield CheckResult(
            key, "unknown", message, "A wrong one shows when a run gets HTTP status 401, or in Segment alone."
        )
        return
    if not reply.is_known:
        fix = "Copy it from the settings of the HTTP API source in Segment to where segconn.yml takes it from."
        yield CheckResult(key, "error", f"{host} does not know it (HTTP status {reply.status})", fix)
        return
    yield CheckResult(key, "ok", f"{host} knows it")
    if destination.endpoint is not None:
        yield CheckResult(
            region, "unknown", f"cannot be told where `endpoint` is set: {destination.base_url} forwards as it likes"
        )
    elif reply.region is None:
        yield CheckResult(
            region, "unknown", f"{host} does not say where the source is; segconn.yml has {destination.region}"
        )
    elif reply.region != destination.region:
        fix = f"Set `region: {reply.region}`: the wrong region gives no error and no data."
        yield CheckResult(
            region, "error", f"the source is in {reply.region}, segconn.yml has {destination.region}", fix
        )
    else:
        yield CheckResult(region, "ok", f"the source is in {reply.region}, as segconn.yml has it")


def _clock(subject: str, endpoint: str) -> CheckResult:
    subject, told = f"{subject}: endpoint and clock", measure_clock_skew(endpoint)
    if isinstance(told, Unreachable):
        fix = "Are `endpoint` and `region` right, and is this machine let out to the internet, perhaps by a proxy?"
        return CheckResult(subject, "error", f"{endpoint} cannot be reached: {told.reason}", fix)
    if told is None:
        return CheckResult(subject, "unknown", f"{endpoint} can be reached, and tells no time")
    if abs(told) <= CLOCK_SECONDS:
        return CheckResult(subject, "ok", f"{endpoint} can be reached, and has the time of this machine")
    way = "ahead of" if told > 0 else "behind"
    message = f"this machine's clock is {abs(told):.0f} s {way} that of {endpoint}"
    fix = "Segment corrects timestamps by the sender's clock, and would shift them by as much: synchronise it (NTP)."
    return CheckResult(subject, "error" if abs(told) > WRONG_CLOCK_SECONDS else "warn", message, fix)


def _token(subject: str, name: str, destination: DestinationSettings) -> CheckResult:
    subject = f"{subject}: OAuth"
    try:
        tokens = Destination(build_config(name, destination)).tokens
    except ConfigurationError as error:
        return CheckResult(subject, "error", str(error))
    token = tokens.get() if tokens else None
    if isinstance(token, Token):
        return CheckResult(subject, "ok", f"{destination.token_url} gives an access token")
    return CheckResult(
        subject, "error", str(getattr(token, "reason", "no access token: asked too often, try again later"))
    )
