"""Open the dbt adapter of a target with the macros of a manifest, without parsing the project."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError, UnopenedError, WarehouseError
from dbt_segconn.process_tuning import import_dbt, share_empty_tables, silence_dbt, without_validation
from dbt_segconn.project.context import Context, JinjaLoaders
from dbt_segconn.project.settings import StateSettings
from dbt_segconn.warehouse.dialect import FOLDERS, find_dialect, place_of
from dbt_segconn.warehouse.session import Session

SQL_FOLDER = Path(__file__).parent / "sql"
# dbt's loggers, adapters and flags are process-wide
_BOOT = threading.Lock()


class Warehouse:
    """An open dbt adapter. Each thread opens its own session."""

    def __init__(self, adapter: Any, config: Any, macros: Any) -> None:
        self._adapter = adapter
        self.macros = macros  # dbt's and the project's
        self.config = config
        self.dialect = find_dialect(adapter.type())
        self.database: str = config.credentials.database
        self.threads: int = config.threads
        self._settings: Sequence[str] | None = None  # the set-up of the first session, for the later ones

    @property
    def place(self) -> str:
        """The place of the target for messages: a file, or a database and its host."""
        return place_of(self.config.credentials)

    @property
    def only_one_process(self) -> str | None:
        """Why a second process cannot open the warehouse now; None if it can."""
        return self.dialect.only_one_process(self.config.credentials)

    @contextmanager
    def session(self, name: str) -> Iterator[Session]:
        """Open a connection for this thread. A thread can have one open session."""
        session = Session(self._adapter)
        connection = self._adapter.connection_named(f"segconn_{name}")
        with session.errors():
            connection.__enter__()
        try:
            try:
                self._settings = session.set_up(self._settings)
            except WarehouseError as error:
                if self._settings is None:
                    raise UnopenedError(_open_error(self, str(error))) from None
                raise
            yield session
        finally:
            with session.errors():
                connection.__exit__(None, None, None)

    def close(self) -> None:
        """Close all connections, and the file of a file-based warehouse."""
        self._adapter.cleanup_connections()
        self.dialect.close(self._adapter.connections)


def _open_error(warehouse: Warehouse, reason: str) -> str:
    """Build the message for a warehouse that cannot be opened, with the dialect's explanation if it has one."""
    explanation = warehouse.dialect.explain_open_error(reason) or reason
    return f"target {warehouse.config.target_name} ({warehouse.place}) cannot be opened: {explanation}"


def open_warehouse(context: Context, manifest: Mapping[str, Any], threads: int | None = None) -> Warehouse:
    """Load the target's adapter with the macros of a manifest. Does not connect yet.

    `manifest` is the parsed manifest.json (schema v12). Raises ConfigurationError if dbt rejects the profile, or if the
    target's adapter is not the manifest's or is not supported.
    """
    from dbt_common.exceptions import DbtBaseException

    _check_type(context, context.target or context.default_target)
    with _BOOT:
        try:
            try:
                with without_validation():
                    adapter, config = _boot(context, threads)
            except Exception:  # noqa: BLE001  dbt's validation explains it
                adapter, config = _boot(context, threads)
        except DbtBaseException as error:
            raise ConfigurationError(f"dbt cannot open the target: {error}") from error
        built_for = manifest["metadata"].get("adapter_type")
        if built_for and built_for != adapter.type():
            raise ConfigurationError(
                f"{context.project_dir}: the manifest was built for {built_for}, but target "
                f"{config.target_name} is {adapter.type()}. Run dbt on this target first, or pass the target of that "
                "dbt command with --target."
            )
        return Warehouse(adapter, config, _load_macros(adapter, config, manifest))


def _check_type(context: Context, target: str | None) -> None:
    """Raise ConfigurationError if the output's adapter is not supported: dbt would only ask to install it."""
    written = str(context.outputs.get(target or "", {}).get("type", "{"))
    if "{" not in written:  # not Jinja
        find_dialect(written)


def check_place(warehouse: Warehouse, state: StateSettings) -> None:
    """Raise ConfigurationError if the target does not exist, or if its state would end with the process."""
    config = warehouse.config
    warehouse.dialect.check_place(config.credentials, config.target_name, state.database)


def _boot(context: Context, threads: int | None) -> tuple[Any, Any]:
    """Load and register the adapter as dbt's own `run` command does."""
    import_dbt()
    from dbt.adapters.factory import get_adapter, register_adapter, reset_adapters
    from dbt.config.runtime import RuntimeConfig
    from dbt.context.providers import generate_runtime_macro_context
    from dbt.mp_context import get_mp_context

    config = RuntimeConfig.from_args(set_dbt_flags(context, threads))
    find_dialect(config.credentials.type).prepare(config.credentials)
    # a process may open several targets, and dbt's factory keeps one adapter for each type
    reset_adapters()
    register_adapter(config, get_mp_context())
    adapter = get_adapter(config)
    find_dialect(adapter.type()).adjust(adapter)
    adapter.set_macro_context_generator(_Contexts(generate_runtime_macro_context))
    config.dependencies = _Packages(config)
    return adapter, config


class _Packages(Mapping[str, Any]):
    """The configurations of a project and its packages by name; those of its packages are read when one is used.

    dbt reads dbt_project.yml of every package, its own too, for the vars of each macro: 13% of the CPU time of a short
    command. dbt's own packages have no vars, so the project's configuration stands for theirs.
    """

    def __init__(self, config: Any) -> None:
        from dbt.adapters.factory import get_adapter_package_names

        self._config = config
        self._known = dict.fromkeys([config.project_name, *get_adapter_package_names(config.credentials.type)], config)

    @cached_property
    def _all(self) -> Mapping[str, Any]:
        self._config.clear_dependencies()  # dbt replaces this mapping by its own
        packages: Mapping[str, Any] = self._config.load_dependencies()
        return packages

    def __getitem__(self, name: str) -> Any:
        return self._known[name] if name in self._known else self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


# Macros whose result depends only on their arguments: a column, or texts of one
_OF_COLUMNS = tuple(
    f"segconn_{name}" for name in ("quote", "value", "lost", "as_text", "json_text", "type_string", "type_time")
)


class _Contexts(threading.local):
    """A cache of dbt's macro contexts per package and thread: building one takes longer than most macros.

    dbt runs the template of a macro anew for each call, which takes longer than most calls: here, it runs once. And the
    texts of a column are rendered once, as a statement has them in several places.
    """

    def __init__(self, generate: Callable[..., dict[str, Any]]) -> None:
        self._generate = generate
        self._contexts: dict[tuple[str, str | None], dict[str, Any]] = {}

    def __call__(self, macro: Any, config: Any, resolver: Any, package: str | None) -> dict[str, Any]:
        key = macro.package_name, package
        if key not in self._contexts:
            context = self._contexts[key] = self._generate(macro, config, resolver, package)
            for value in context.values():
                if hasattr(value, "get_macro"):
                    value.get_macro = cache(value.get_macro)
            context.update({name: cache(context[name]) for name in _OF_COLUMNS if name in context})
        return self._contexts[key]


def set_dbt_flags(context: Context, threads: int | None = None) -> Any:
    """Silence dbt's events, and set its process-wide flags: no telemetry, this project and target."""
    from dbt.cli.flags import Flags
    from dbt.cli.types import Command
    from dbt.flags import set_flags
    from dbt_common.clients.system import get_env
    from dbt_common.context import set_invocation_context

    set_invocation_context(get_env())  # env_var() in profiles.yml reads this copy
    silence_dbt()
    share_empty_tables()
    options: dict[str, Any] = {
        "project_dir": str(context.project_dir),
        "profiles_dir": str(context.profiles_dir),
        "profile": context.profile,
        "target": context.target,
        "vars": dict(context.vars),
        "threads": threads,
        "send_anonymous_usage_stats": False,
    }
    flags = Flags.from_dict(Command.RUN, {name: value for name, value in options.items() if value is not None})
    set_flags(flags)
    return flags


def _load_macros(adapter: Any, config: Any, manifest: Mapping[str, Any]) -> Any:
    """Set the adapter's macros: dbt's and this package's. Return all macros, with the project's, for naming.

    The project and its packages cannot override the SQL of this package: values and checksums depend on it.
    """
    from dbt.adapters.contracts.connection import DEFAULT_QUERY_COMMENT
    from dbt.adapters.factory import get_adapter_package_names
    from dbt.context.query_header import generate_query_header_context
    from dbt.contracts.graph.manifest import Manifest, ManifestMetadata

    metadata = ManifestMetadata(adapter_type=adapter.type())
    every = {unique_id: _macro(unique_id, node) for unique_id, node in manifest["macros"].items()}
    of_dbt = set(get_adapter_package_names(adapter.type()))
    macros = {name: macro for name, macro in every.items() if macro.package_name in of_dbt}
    for path in _sql_files(adapter.type()):
        macros.update(_own_macros(path))
    adapter.set_macro_resolver(Manifest(macros=macros, metadata=metadata))
    project = Manifest(macros=every, metadata=metadata)
    # dbt's own comment calls no macro
    is_default = config.query_comment.comment == DEFAULT_QUERY_COMMENT
    called = Manifest(metadata=metadata) if is_default else project
    adapter.connections.set_query_header(generate_query_header_context(config, called))
    return project


def _sql_files(adapter_type: str) -> Iterator[Path]:
    """Yield the files of `sql/`, then those of the dialect and of its parent adapters."""
    from dbt.adapters.factory import get_adapter_type_names

    for folder in (SQL_FOLDER, *(FOLDERS / name for name in get_adapter_type_names(adapter_type))):
        yield from sorted(folder.glob("*.sql"))


@cache
def _own_macros(path: Path) -> Mapping[str, Any]:
    return dict(_parse_macros(path))


def _parse_macros(path: Path) -> Iterator[tuple[str, Any]]:
    """Parse the macros of one file, as macros of dbt's global package: dispatch looks for dialects there."""
    from dbt_common.clients.jinja import extract_toplevel_blocks

    place = path.relative_to(SQL_FOLDER.parent).as_posix()
    blocks = extract_toplevel_blocks(path.read_text(), allowed_blocks={"macro"}, collect_raw_data=False)
    for block in blocks:
        unique_id = f"macro.dbt.{block.block_name}"
        node = {"name": block.block_name, "package_name": "dbt", "macro_sql": block.full_block}
        yield unique_id, _macro(unique_id, {**node, "path": place, "original_file_path": place})


def _macro(unique_id: str, node: Mapping[str, Any]) -> Any:
    """Build a macro with what calls of it need: reading all keys of the nodes takes longer than a small sync."""
    from dbt.contracts.graph.nodes import Macro
    from dbt.node_types import NodeType

    needed = ("name", "package_name", "path", "original_file_path", "macro_sql")
    return Macro(unique_id=unique_id, resource_type=NodeType.Macro, **{key: node[key] for key in needed})


# They print their argument, which may be a secret
_OUTPUTS = frozenset({"log", "print"})


def jinja_names(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the names of dbt's base context: `modules`, `fromjson`, `invocation_id` and more."""
    from dbt import tracking
    from dbt.context.base import BaseContext

    if tracking.active_user is None:
        tracking.do_not_track()  # also sets the time of `run_started_at`
    names: Mapping[str, Any] = BaseContext(cli_vars=dict(variables)).to_dict()
    return {name: value for name, value in names.items() if name not in _OUTPUTS}


def target_values(context: Context) -> Mapping[str, Any]:
    """Return dbt's `target`: the keys of the output without secrets."""
    target = context.target or context.default_target
    return dict(load_profile(context, context.profile, target).to_target_dict())


def load_profile(context: Context, profile: str | None, target: str | None) -> Any:
    """Load an output of profiles.yml with dbt's own class. Raises ConfigurationError with dbt's reason."""
    import_dbt()
    from dbt.config.runtime import load_profile as load
    from dbt_common.exceptions import DbtBaseException

    if profile == context.profile:
        _check_type(context, target)
    set_dbt_flags(context)
    try:
        return load(str(context.project_dir), dict(context.vars), profile, target)
    except DbtBaseException as error:
        raise ConfigurationError(f"dbt cannot load target {target} of profile {profile}: {error}") from error


JINJA_LOADERS = JinjaLoaders(jinja_names, target_values)
