"""Boot the dbt adapter of a finished dbt invocation, without parsing the project again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError, UnopenedError, WarehouseError
from dbt_segconn.process_tuning import silence_dbt
from dbt_segconn.project.context import Context
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.warehouse.dbt_manifest import read_resource
from dbt_segconn.warehouse.dialect import FOLDERS, find_dialect
from dbt_segconn.warehouse.naming import Naming, place_of
from dbt_segconn.warehouse.session import Session

SQL_FOLDER = Path(__file__).parent / "sql"
# dbt's loggers, adapters and flags are process-wide: one boot at a time.
_BOOT = threading.Lock()


class Warehouse:
    """A live dbt adapter, able to open one session for each thread that needs one."""

    def __init__(self, adapter: Any, config: Any, macros: Any) -> None:
        self._adapter = adapter
        self._macros = macros
        self.config = config
        self.dialect = find_dialect(adapter.type())
        self.database: str = config.credentials.database
        self.threads: int = config.threads
        self._settings: Sequence[str] | None = None

    @property
    def naming(self) -> Naming:
        """Dbt's rules for the names of relations on the opened target."""
        return Naming(self.config, self._macros)

    @property
    def place(self) -> str:
        """Where the target is, as messages name it: such as a file, or a database and its host."""
        return place_of(self.config.credentials)

    @property
    def only_one_process(self) -> str | None:
        """Why no second process can open the warehouse beside this one; None where it can."""
        return self.dialect.only_one_process(self.config.credentials)

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
        self.dialect.close(self._adapter.connections)


def _unopened(warehouse: Warehouse, reason: str) -> str:
    """Return why a warehouse cannot be opened, in the dialect's words where it has better ones than the driver."""
    words = warehouse.dialect.unopened(reason) or reason
    return f"target {warehouse.config.target_name} ({warehouse.place}) cannot be opened: {words}"


def open_warehouse(context: Context, manifest: Mapping[str, Any], threads: int | None = None) -> Warehouse:
    """Open the target of the context with the macros of a manifest; connects to nothing yet.

    `manifest` is the parsed manifest.json (schema v12). Raises ConfigurationError where dbt refuses the
    profile, where the target's adapter is not the manifest's, or is not served.
    """
    from dbt_common.exceptions import DbtBaseException

    with _BOOT:
        try:
            adapter, config = _boot(context, threads)
        except DbtBaseException as error:
            raise ConfigurationError(f"dbt cannot open the target: {error}") from error
        built_for = manifest["metadata"].get("adapter_type")
        if built_for and built_for != adapter.type():
            raise ConfigurationError(
                f"{context.project_dir}: the manifest was built for {built_for}, but target "
                f"{config.target_name} is {adapter.type()}. Run dbt on this target first, or name the one "
                "it ran on with --target."
            )
        return Warehouse(adapter, config, _load_macros(adapter, config, manifest))


def check_place(warehouse: Warehouse, state: StateSettings) -> None:
    """Raise ConfigurationError for a target that is not there, or whose state would end with the process."""
    config = warehouse.config
    warehouse.dialect.check_place(config.credentials, config.target_name, state.database)


def _boot(context: Context, threads: int | None) -> tuple[Any, Any]:
    """Follow the steps of dbt's own `run` command up to a registered adapter."""
    from dbt.adapters.factory import get_adapter, register_adapter, reset_adapters
    from dbt.config.runtime import RuntimeConfig
    from dbt.context.providers import generate_runtime_macro_context
    from dbt.mp_context import get_mp_context

    config = RuntimeConfig.from_args(set_dbt_flags(context, threads))
    find_dialect(config.credentials.type).prepare(config.credentials)
    reset_adapters()
    register_adapter(config, get_mp_context())
    adapter = get_adapter(config)
    adapter.set_macro_context_generator(_Contexts(generate_runtime_macro_context))
    return adapter, config


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
    silence_dbt()
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
    for path in _sql_files(adapter.type()):
        macros.update(_own_macros(path))
    adapter.set_macro_resolver(Manifest(macros=macros, metadata=metadata))
    project = Manifest(macros=every, metadata=metadata)
    adapter.connections.set_query_header(generate_query_header_context(config, project))
    return project


def _sql_files(adapter_type: str) -> Iterator[Path]:
    """Yield the files of `sql/`, then those of the dialect and of the adapters that it builds on."""
    from dbt.adapters.factory import get_adapter_type_names

    for folder in (SQL_FOLDER, *(FOLDERS / name for name in get_adapter_type_names(adapter_type))):
        yield from sorted(folder.glob("*.sql"))


@cache
def _own_macros(path: Path) -> Mapping[str, Any]:
    return dict(_parse_macros(path))


def _parse_macros(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the macros of one file; they join dbt's global package, where dispatch finds dialects' own."""
    from dbt.contracts.graph.nodes import Macro
    from dbt.node_types import NodeType
    from dbt_common.clients.jinja import extract_toplevel_blocks

    place = path.relative_to(SQL_FOLDER.parent).as_posix()
    blocks = extract_toplevel_blocks(path.read_text(), allowed_blocks={"macro"}, collect_raw_data=False)
    for block in blocks:
        name = f"macro.dbt.{block.block_name}"
        yield (
            name,
            Macro(
                name=f"{block.block_name}",
                macro_sql=block.full_block,
                package_name="dbt",
                path=place,
                original_file_path=place,
                resource_type=NodeType.Macro,
                unique_id=name,
            ),
        )
