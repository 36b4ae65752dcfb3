"""Shell completion of mappings, models, targets and profiles. Reads only files and does not import dbt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from dbt_segconn.project.artifacts import Manifest
    from dbt_segconn.project.context import Context

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


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
