"""Options that commands share, and their shell completion. Those of dbt have dbt's names and environment variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.yaml_file import environment_variables, load_yaml

if TYPE_CHECKING:
    from dbt_segconn.engine.opening import Options
    from dbt_segconn.project.artifacts import Manifest
    from dbt_segconn.project.context import Context

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Command = TypeVar("Command", bound=Callable[..., Any])

# Without `exists`: the readers of files report what is missing, with a fix
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def _completer(names: Callable[[Context], Iterator[tuple[str, str]]]) -> Completer:
    """Return a function for click's `shell_complete`; `names` yields each name with its help."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = dict(names(_context(ctx.params)))
        except Exception:  # noqa: BLE001  a shell cannot show an error
            return []
        # a mapping can also be written without its model
        starts = {name: (name, name.rpartition(".")[2]) for name in sorted(found)}
        matching = (name for name, ways in starts.items() if any(way.startswith(incomplete) for way in ways))
        return [CompletionItem(name, help=found[name]) for name in matching]

    return complete


def _context(params: Mapping[str, Any]) -> Context:
    from dbt_segconn.project.context import JinjaLoaders, ProjectOptions, resolve

    names = ("project_dir", "profiles_dir", "profile", "target", "target_path")
    given = ProjectOptions(**{name: params[name] for name in names if params.get(name)}, vars=params.get("vars") or {})
    # without dbt's own Jinja, whose import takes seconds at each press of Tab
    return resolve(given, JinjaLoaders(lambda _: {}, lambda _: {}))


def _manifest(context: Context) -> Manifest:
    from dbt_segconn.project.artifacts import read_manifest

    return read_manifest(context.artifacts_dir)


def _mappings(context: Context) -> Iterator[tuple[str, str]]:
    # unchecked YAML: the names of a project with errors are completed, too
    for model in _manifest(context).models:
        for one in model.meta.get("mappings") or ():
            yield f"{model.name}.{one['name']}", str(one.get("action") or "")


def _models(context: Context) -> Iterator[tuple[str, str]]:
    from dbt_segconn.project.artifacts import TABLES

    for node in _manifest(context).raw["nodes"].values():
        if node["resource_type"] in TABLES:
            yield node["name"], node["resource_type"]


def _targets(context: Context) -> Iterator[tuple[str, str]]:
    yield from ((name, str(output.get("type") or "")) for name, output in context.outputs.items())


def _profiles(context: Context) -> Iterator[tuple[str, str]]:
    from dbt_segconn.project.yaml_file import read_profiles

    yield from ((name, "") for name in read_profiles(context.profiles_dir))


complete_mapping = _completer(_mappings)
complete_model = _completer(_models)
complete_target = _completer(_targets)
complete_profile = _completer(_profiles)


class _Variables(dict[str, Any]):
    """The vars of the command line. They may contain keys, so their representation in a stack trace hides them."""

    def __repr__(self) -> str:
        return f"<{len(self)} vars>"


def _variables(ctx: click.Context, param: click.Parameter, value: str | None) -> Mapping[str, Any]:
    """Parse a YAML mapping as dbt does, such as '{day: 2}'."""
    return _Variables(_parsed(value or "{}", "must be a YAML mapping, such as '{day: 2}'", ctx, param))


def _integrations(ctx: click.Context, param: click.Parameter, value: str | None) -> Mapping[str, Any] | None:
    """Parse an object as JSON or YAML, or read it from a file."""
    rule = "must be a JSON object, or a file with one"
    if value is None:
        return None
    try:
        text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise click.BadParameter(rule, ctx, param) from None
    return _parsed(text, rule, ctx, param)


def _parsed(text: str, rule: str, ctx: click.Context, param: click.Parameter) -> dict[str, Any]:
    """Parse a YAML mapping; JSON is YAML, too. Raise an error with the rule for any other value."""
    try:
        parsed = load_yaml(text, param.opts[0])
    except ConfigurationError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if not isinstance(parsed, dict):  # an empty file of --integrations must not mean all Segment destinations
        raise click.BadParameter(rule, ctx, param)
    return parsed


def _words(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split each value at spaces, as dbt does in selections."""
    return tuple(word for value in values for word in value.split())


def _once(ctx: click.Context, param: click.Parameter, values: tuple[Path, ...]) -> Path | None:
    """Raise an error for a second value: click would ignore the first one without a message."""
    if len(values) > 1:
        text = "must be set only once. To merge results of several dbt invocations, use --run-results."
        raise click.BadParameter(text, ctx, param)
    return values[0] if values else None


class GreedyCommand(click.Command):
    """A command with repeatable options that accept several values, as in dbt: `--select a b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite `--select a b` to `--select a --select b`, unless the command has arguments."""
        # with arguments, `reset --target-path t a` would make `a` a second path
        if not any(isinstance(param, click.Argument) for param in self.params):
            args = list(self._repeated(args))
        return super().parse_args(ctx, args)

    def _repeated(self, args: Iterable[str]) -> Iterator[str]:
        greedy = {
            name for param in self.params if isinstance(param, click.Option) and param.multiple for name in param.opts
        }
        option, has_value = "", False
        for word in args:
            # `-` alone is a value: by convention, a standard stream
            if word.startswith("-") and word != "-":
                # `--select=a` has its value already: a word after it is another value
                name, is_whole, _ = word.partition("=")
                option, has_value = (name if name in greedy else ""), bool(is_whole)
            elif option and has_value:
                yield option
            else:
                has_value = True
            yield word


def dbt_option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Return an option of dbt, with its environment variables: DBT_X, and since dbt 1.11 also DBT_ENGINE_X."""
    word = names[0].partition("/")[0].removeprefix("--").replace("-", "_")
    return click.option(*names, envvar=environment_variables(word), show_envvar=True, **settings)


def format_option(*styles: str, explanation: str | None = None) -> Callable[[Command], Command]:
    """Return the option `--format`. The first style is the default."""
    return click.option(
        "--format", "style", type=click.Choice(styles), default=styles[0], show_default=True, help=explanation
    )


def is_given(name: str) -> bool:
    """Return whether an option is on the command line. Its environment variable may be set for other tools."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def as_options(**params: Any) -> Options:
    """Return the options of the command line as one value."""
    from dbt_segconn.engine.opening import Options

    return Options(**params)


def _all_of(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


project_dir_option: Callable[[Command], Command] = dbt_option(
    "--project-dir",
    type=FOLDER,
    help="Folder of dbt_project.yml. Default: the working directory or the nearest folder above it.",
)
"""The folder of the project, for commands that need no profile."""

project_options: Callable[[Command], Command] = _all_of(
    project_dir_option,
    dbt_option(
        "--profiles-dir",
        type=FOLDER,
        help="Folder of profiles.yml. Default: that of the last dbt invocation.",
    ),
    dbt_option("--profile", shell_complete=complete_profile, help="Profile to use instead of the project's."),
    dbt_option(
        "--target",
        "-t",
        shell_complete=complete_target,
        help="Target of the profile. Default: that of the last dbt invocation.",
    ),
    dbt_option(
        "--target-path",
        type=FOLDER,
        # repeatable for click only, so that `_once` sees a second value
        multiple=True,
        callback=_once,
        help="Folder of dbt's artifacts, relative to the project. Default: target.",
    ),
    click.option(
        "--vars",
        callback=_variables,
        metavar="YAML",
        help="Variables for var(), such as '{day: 2}'.",
    ),
)
"""The folder of the project, and how it is opened."""

platform_options: Callable[[Command], Command] = _all_of(
    click.option(
        "--dbt-cloud-job", type=int, metavar="ID", help="Use the results of the newest finished run of this job."
    ),
    click.option("--dbt-cloud-run", type=int, metavar="ID", help="Use the results of this run; wait until it ends."),
    click.option(
        "--dbt-cloud-account",
        type=int,
        metavar="ID",
        envvar="DBT_CLOUD_ACCOUNT_ID",
        show_envvar=True,
        help="Account of the job or run. Its token is in DBT_CLOUD_API_TOKEN.",
    ),
    click.option(
        "--dbt-cloud-host",
        metavar="HOST",
        envvar="DBT_CLOUD_HOST",
        show_envvar=True,
        help="Access URL of the account, such as ab123.us1.dbt.com.",
    ),
)
"""A run of the dbt platform, whose results are used."""

selection_options: Callable[[Command], Command] = _all_of(
    click.option(
        "--select",
        "-s",
        multiple=True,
        callback=_words,
        shell_complete=complete_model,
        help="Models, in dbt's selection syntax.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        callback=_words,
        shell_complete=complete_model,
        help="Models to leave out, in dbt's selection syntax.",
    ),
    click.option("--selector", help="A selector of selectors.yml."),
    dbt_option("--state", type=FOLDER, help="Artifacts to compare with, for the state: method."),
)
"""The selected models."""


integrations_option: Callable[[Command], Command] = click.option(
    "--integrations",
    callback=_integrations,
    metavar="JSON|FILE",
    help="Segment destinations that receive the calls, such as '{All: false, Amplitude: true}'. With All, it replaces "
    "`integrations` of destination and mapping; else it adds to them by name.",
)
"""The Spec's `integrations` for this command."""

step_options: Callable[[Command], Command] = _all_of(
    click.option(
        "--after",
        metavar="VALUE",
        help="Read only the rows whose checkpoint column has this value or a greater one. For a first sync in steps.",
    ),
    click.option("--before", metavar="VALUE", help="Read only the rows whose checkpoint column has a smaller value."),
)
"""A part of the rows, by the checkpoint column."""

mapping_option: Callable[[Command], Command] = click.option(
    "--mapping",
    "mappings",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_mapping,
    help="Only these mappings: model.mapping, its own name, or package.model.mapping.",
)
"""The selected mappings."""


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore] # generic from click 8.2 on
    """A number of seconds, or a number with the unit s, m or h."""

    name = "duration"
    _SECONDS: ClassVar[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value))
        if not match:
            self.fail(f"must be a duration such as 90s, 15m or 2h, not {value!r}.", param, ctx)
        return float(match[1]) * self._SECONDS[match[2] or "s"]


outlook_options: Callable[[Command], Command] = _all_of(
    project_options, selection_options, mapping_option, integrations_option, step_options
)
"""What a run would read and send, for commands that show it."""

output_options: Callable[[Command], Command] = _all_of(
    dbt_option(
        "--log-format",
        # all of dbt's names, so that a shared DBT_LOG_FORMAT is valid; only json differs from text
        type=click.Choice(["text", "default", "debug", "json"]),
        default="text",
        help="json: one JSON object per line, as in dbt.",
    ),
    dbt_option("--quiet/--no-quiet", "-q", default=False, help="Print errors only."),
    dbt_option("--use-colors/--no-use-colors", default=None, help="Color the lines. Default: only on a terminal."),
    click.option("--timings", is_flag=True, help="Report the wall clock and CPU time of each step of a sync."),
)
"""The format of the output of a run."""

run_options: Callable[[Command], Command] = _all_of(
    project_options,
    click.option(
        # several: an orchestrator may run dbt in a folder of its own for each task
        "--run-results",
        multiple=True,
        metavar="PATH",
        help="dbt's results: files, folders or globs, merged. Default: those of the last dbt invocation.",
    ),
    selection_options,
    mapping_option,
    click.option("--threads", type=click.IntRange(1), help="Maximum syncs at once. Default: the target's threads."),
    click.option(
        "--fail-fast/--no-fail-fast",
        "-x",  # as in dbt
        envvar=environment_variables("fail_fast"),
        help="Start no further sync after one has failed.",
    ),
    click.option("--ignore-tests", is_flag=True, help="Sync models whose dbt tests failed."),
    click.option(
        "--allow-guarded",
        multiple=True,
        metavar="MAPPING",
        shell_complete=complete_mapping,
        help="Sync this mapping (model.mapping) even if a guard or the budget would block it.",
    ),
    integrations_option,
    click.option("--break-lock", is_flag=True, help="Take over the locks of other processes."),
    click.option(
        # not from the start of the process: importing dbt alone takes seconds
        "--max-runtime",
        type=Duration(),
        help="Interrupt the run after this time (90s, 15m, 2h), counted once the warehouse is open.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1),
        # one process reaches Segment's default limit of 1,000 calls per second many times over
        default=1,
        help="Number of processes that deliver. The warehouse must allow several to connect.",
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Deliver with the workers of this Dask scheduler, such as tcp://10.0.0.5:8786.",
    ),
    output_options,
)
"""The options of commands that sync: what to sync, limits, permissions, output."""
