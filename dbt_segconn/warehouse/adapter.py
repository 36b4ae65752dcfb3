"""Boot the dbt adapter of a finished dbt invocation, without parsing the project again."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError, UnopenedError, WarehouseError
from dbt_segconn.project.context import Context
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.warehouse.dbt_manifest import read_resource
from dbt_segconn.warehouse.naming import Naming, place_of
from dbt_segconn.warehouse.session import Session

SQL_FOLDER = Path(__file__).parent / "sql"
# dbt's loggers, adapters and flags are process-wide: one boot at a time.
_BOOT = threading.Lock()
# `md:`, `s3://` and their like are no files here; `C:` is a drive
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
# Of DuckDB: ids must not be compared in another collation; JSON errors hide the values of rows from the masking
_OWN_SETTINGS = frozenset({"default_collation", "errors_as_json"})
# What some warehouses lack, and the way out
_NOT_SERVED = {
    "sqlite": "SQLite has no md5, which the checksums of records are made of. Build the models with dbt-duckdb, which "
    "attaches SQLite's files as they are, or in another warehouse."
}


# Conflicting lock is held in /usr/bin/python3 (PID 123)
_DUCKDB_LOCK = re.compile(r"lock is held in (?:\S*/)?(\S+) \(PID (\d+)\)")


class Warehouse:
    """A live dbt adapter, able to open one session for each thread that needs one."""

    def __init__(self, adapter: Any, config: Any, macros: Any) -> None:
        self._adapter = adapter
        self._macros = macros
        self.config = config
        self.adapter_type: str = adapter.type()
        self.database: str = config.credentials.database
        self.threads: int = config.threads
        self._settings: Sequence[str] | None = None

    @property
    def naming(self) -> Naming:
        """Dbt's rules for the names of relations on the opened target."""
        return Naming(self.config, self._macros)

    @property
    def place(self) -> str:
        """Where the target is, as messages name it: the file of DuckDB, else host or account, and the database."""
        return place_of(self.config.credentials)

    @property
    def only_one_process(self) -> str | None:
        """Why no second process can open the warehouse beside this one; None where it can."""
        credentials = self.config.credentials
        if self.adapter_type == "duckdb" and not getattr(credentials, "is_motherduck", False):
            return "DuckDB lets one process at a time open its file"
        if self.adapter_type == "spark" and credentials.method == "session":
            return "a Spark session belongs to the process that has opened it"
        return None

    @contextmanager
    def session(self, name: str) -> Iterator[Session]:
        """Open a connection of its own for this thread; no other session may be open on the thread."""
        session = Session(self._adapter)
        connection = self._adapter.connection_named(f"segconn_{name}")
        with session.errors():
            connection.__enter__()
        try:
            try:
                self._settings = session.set_up(self._settings)
            except WarehouseError as error:
                if self._settings is None:
                    raise UnopenedError(_unopened(self, str(error))) from None
                raise
            yield session
        finally:
            with session.errors():
                connection.__exit__(None, None, None)

    def close(self) -> None:
        """Close every connection; a file-based warehouse is then free for other processes."""
        self._adapter.cleanup_connections()
        connections = self._adapter.connections
        if hasattr(connections, "close_all_connections"):  # dbt-duckdb's, which keep the file open beyond that
            with suppress(Exception):  # where nothing was ever opened
                connections.env().close()
            connections.close_all_connections()


def _unopened(warehouse: Warehouse, reason: str) -> str:
    """Say why a warehouse cannot be opened; of a DuckDB file that is in use, by which process."""
    place = f"target {warehouse.config.target_name} ({warehouse.place}) cannot be opened"
    if found := _DUCKDB_LOCK.search(reason):
        program, number = found.groups()
        return (
            f"{place}: process {number} ({program}) has the file open, and DuckDB lets one process at a time open it. "
            "Close that process, or wait until it ends."
        )
    return f"{place}: {reason}"


def open_warehouse(context: Context, manifest: Mapping[str, Any], threads: int | None = None) -> Warehouse:
    """Open the target of the context with the macros of a manifest; connects to nothing yet.

    `manifest` is the parsed manifest.json (schema v12). Raises ConfigurationError where dbt refuses the
    profile, where the target's adapter is not the manifest's, or where what it holds would not outlive the process.
    """
    built_for = manifest["metadata"].get("adapter_type")
    if built_for in _NOT_SERVED:
        raise ConfigurationError(
            f"{context.project_dir}: the manifest was built for {built_for}. {_NOT_SERVED[built_for]}"
        )
    from dbt_common.exceptions import DbtBaseException

    with _BOOT:
        try:
            adapter, config = _boot(context, threads)
        except DbtBaseException as error:
            raise ConfigurationError(f"dbt cannot open the target: {error}") from error
        if built_for and built_for != adapter.type():
            raise ConfigurationError(
                f"{context.project_dir}: the manifest was built for {built_for}, but target "
                f"{config.target_name} is {adapter.type()}. Run dbt on this target first, or name the one "
                "it ran on with --target."
            )
        return Warehouse(adapter, config, _load_macros(adapter, config, manifest))


def check_place(warehouse: Warehouse, state: StateSettings) -> None:
    """Raise for a DuckDB whose state would end with the process, or whose file is not there.

    DuckDB makes a file that is missing: an empty one, perhaps beside the one that dbt has filled.
    """
    if warehouse.adapter_type != "duckdb":
        return
    path, target = str(warehouse.config.credentials.path), warehouse.config.target_name
    if path == ":memory:" and state.database in {None, "memory"}:
        raise ConfigurationError(
            f"target {target} is DuckDB in memory: what dbt builds there, and what was sent, is gone when the process "
            "ends. Give the target a file (`path:` in profiles.yml), or name an attached database with state.database "
            "in segconn.yml."
        )
    is_file = path != ":memory:" and not _SCHEME.match(path)
    if is_file and not os.path.exists(path):  # noqa: PTH110  as DuckDB takes it
        raise ConfigurationError(
            f"target {target}: its DuckDB file {os.path.abspath(path)} does not exist. Run dbt on this target first; "  # noqa: PTH100
            "a relative `path:` in profiles.yml starts where the command is typed, for dbt and for dbt-segconn."
        )


def _boot(context: Context, threads: int | None) -> tuple[Any, Any]:
    """Follow the steps of dbt's own `run` command up to a registered adapter."""
    from dbt.adapters.factory import get_adapter, register_adapter, reset_adapters
    from dbt.config.runtime import RuntimeConfig
    from dbt.context.providers import generate_runtime_macro_context
    from dbt.mp_context import get_mp_context

    config = RuntimeConfig.from_args(set_dbt_flags(context, threads))
    _leave_out_settings(config.credentials)
    reset_adapters()
    register_adapter(config, get_mp_context())
    adapter = get_adapter(config)
    adapter.set_macro_context_generator(_Contexts(generate_runtime_macro_context))
    return adapter, config


def _leave_out_settings(credentials: Any) -> None:
    """Drop settings of a DuckDB profile that sessions set back: they hold for all connections at once."""
    settings = getattr(credentials, "settings", None)
    if credentials.type == "duckdb" and settings:
        credentials.settings = {key: value for key, value in settings.items() if key.lower() not in _OWN_SETTINGS}


class _Contexts(threading.local):
    """What dbt gives to macros, once for each package and thread: to make it takes longer than most macros do."""

    def __init__(self, generate: Callable[..., dict[str, Any]]) -> None:
        self._generate = generate
        self._made: dict[tuple[str, str | None], dict[str, Any]] = {}

    def __call__(self, macro: Any, config: Any, resolver: Any, package: str | None) -> dict[str, Any]:
        key = macro.package_name, package
        if key not in self._made:
            self._made[key] = self._generate(macro, config, resolver, package)
        return self._made[key]


def set_dbt_flags(context: Context, threads: int | None = None) -> Any:
    """Silence dbt, and set its process-wide flags: without telemetry, on this project and target."""
    from dbt.cli.flags import Flags
    from dbt.cli.types import Command
    from dbt.flags import set_flags
    from dbt_common.clients.system import get_env
    from dbt_common.context import set_invocation_context

    set_invocation_context(get_env())
    _silence()
    options: dict[str, Any] = {
        "project_dir": str(context.project_dir),
        "profiles_dir": str(context.profiles_dir),
        "profile": context.profile,
        "target": context.target,
        "vars": dict(context.vars),
        "threads": threads,
        "send_anonymous_usage_stats": False,
    }
    given = {name: value for name, value in options.items() if value is not None}
    flags = Flags.from_dict(Command.RUN, given)
    set_flags(flags)
    return flags


def _silence() -> None:
    """Let no event of dbt be told, and none be made a message of before somebody listens to it."""
    from dbt_common.events.base_types import EventLevel
    from dbt_common.events.event_manager import EventManager
    from dbt_common.events.event_manager_client import ctx_set_event_manager

    class Unheard(EventManager):  # type: ignore[misc]
        """Without listeners, the ten events of a statement took longer than many statements do."""

        def fire_event(self, e: Any, *arguments: Any, **named: Any) -> None:
            if self.loggers or self.callbacks or e.level_tag() != EventLevel.DEBUG:
                super().fire_event(e, *arguments, **named)

    ctx_set_event_manager(Unheard())


def _load_macros(adapter: Any, config: Any, manifest: Mapping[str, Any]) -> Any:
    """Give the adapter the macros of dbt and of this package; return those of the project as well, for naming.

    No macro of the project or of its packages may override SQL of this package: values and checksums depend on it.
    """
    from dbt.adapters.factory import get_adapter_package_names
    from dbt.context.query_header import generate_query_header_context
    from dbt.contracts.graph.manifest import Manifest, ManifestMetadata
    from dbt.contracts.graph.nodes import Macro

    metadata = ManifestMetadata(adapter_type=adapter.type())
    every = {name: read_resource(Macro, macro) for name, macro in manifest["macros"].items()}
    of_dbt = set(get_adapter_package_names(adapter.type()))
    macros = {name: macro for name, macro in every.items() if macro.package_name in of_dbt}
    for path in sorted(SQL_FOLDER.glob("*.sql")):
        macros.update(_own_macros(path))
    adapter.set_macro_resolver(Manifest(macros=macros, metadata=metadata))
    project = Manifest(macros=every, metadata=metadata)
    adapter.connections.set_query_header(generate_query_header_context(config, project))
    return project


@cache
def _own_macros(path: Path) -> Mapping[str, Any]:
    return dict(_parse_macros(path))


def _parse_macros(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the macros of one file; they join dbt's global package, where dispatch finds dialects' own."""
    from dbt.contracts.graph.nodes import Macro
    from dbt.node_types import NodeType
    from dbt_common.clients.jinja import extract_toplevel_blocks

    blocks = extract_toplevel_blocks(path.read_text(), allowed_blocks={"macro"}, collect_raw_data=False)
    for block in blocks:
        name = f"macro.dbt.{block.block_name}"
        yield (
            name,
            Macro(
                name=f"{block.block_name}",
                macro_sql=block.full_block,
                package_name="dbt",
                path=path.name,
                original_file_path=path.name,
                resource_type=NodeType.Macro,
                unique_id=name,
            ),
        )
