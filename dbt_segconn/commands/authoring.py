"""The commands that help to write mappings and to review them: none of them sends anything."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dbt_segconn.actions import ACTIONS
from dbt_segconn.commands.completion import complete_model
from dbt_segconn.commands.exit_codes import FAILED, OK
from dbt_segconn.commands.main import as_options, main
from dbt_segconn.commands.options import FOLDER, project_options
from dbt_segconn.commands.output import say, styled, write, write_json
from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.dbt_project import environment_variables
from dbt_segconn.project.findings import RULES

if TYPE_CHECKING:
    from dbt_segconn.authoring.first_mapping import Proposal
    from dbt_segconn.authoring.validation import Validation

NEXT = "`dbt parse`, `dbt-segconn validate`, `dbt-segconn preview`."
FILE = click.Path(dir_okay=False, path_type=Path)


def _explain(ctx: click.Context, _: click.Parameter, code: str | None) -> None:
    """Answer `--explain CODE`, which needs no project."""
    if code is None:
        return
    from dbt_segconn.authoring.formats import explanation

    write(explanation(RULES[code]))
    ctx.exit()


@main.command()
@project_options
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="github: annotations of a pull request; sarif: SARIF 2.1.0 for code scanning.",
)
@click.option("--online", is_flag=True, help="Also ask the warehouse for the models' columns.")
@click.option("--warnings-as-errors", is_flag=True, help="Also exit with 1 for warnings.")
@click.option(
    "--explain",
    type=click.Choice(list(RULES), case_sensitive=False),
    metavar="CODE",
    expose_value=False,
    is_eager=True,
    callback=_explain,
    help="Explain the code of a finding.",
)
def validate(*, style: str, online: bool, warnings_as_errors: bool, **given: Any) -> None:
    """Check segconn.yml and every mapping of the project, without warehouse or network.

    Lists all findings at once, each with its line. Needs dbt's manifest: `dbt parse` is enough. Columns and
    their types are known from contracts, from documentation and from catalog.json, which `dbt docs generate`
    writes (dbt 2: `dbt compile --write-catalog`).

    \b
    Examples:
      dbt-segconn validate
      dbt-segconn validate --online                 also ask the warehouse for the columns
      dbt-segconn validate --format github          in a GitHub workflow
      dbt-segconn validate --format sarif > segconn.sarif
      dbt-segconn validate --explain SEG302

    Exit codes: 0 no errors, 1 errors were found, 2 no project or no manifest was found.
    """
    from dbt_segconn.authoring.validation import validate as validate_project

    validation = validate_project(as_options(**given), online=online)
    _print(validation, style)
    sys.exit(FAILED if validation.errors or (warnings_as_errors and validation.findings) else OK)


def _print(validation: Validation, style: str) -> None:

    from dbt_segconn.authoring import formats

    repository = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    if style == "json":
        write_json(formats.as_json(validation))
    elif style == "sarif":
        write_json(formats.as_sarif(validation, repository))
    elif style == "github":
        for line in formats.as_github(validation, repository):
            click.echo(line)
        say(formats.summary(validation))
    else:
        for finding in validation.findings:
            color = "red" if finding.rule.severity == "error" else "yellow"
            say(formats.as_line(finding, styled(finding.rule.severity, fg=color)))
        if others := formats.versions_line(validation):
            say(others)
        say(formats.summary(validation))


@main.command()
@project_options
@click.argument("model", required=False, shell_complete=complete_model)
def init(*, model: str | None, **given: Any) -> None:
    """Create segconn.yml, the schemas for your editor and, for a MODEL, a first mapping.

    Existing files stay unchanged. The mapping is the one that `suggest` proposes. A model with mappings stays
    unchanged.

    \b
    Examples:
      dbt-segconn init
      dbt-segconn init customers
    """
    from dbt_segconn.authoring import first_mapping
    from dbt_segconn.project.dbt_project import find_project

    options, proposal = as_options(**given), None
    with suppress(first_mapping.AlreadyMapped):
        proposal = first_mapping.propose(options, model) if model else None
    for line in first_mapping.init(find_project(given["project_dir"]).dir):
        say(line)
    if proposal and proposal.model.meta is None:
        _write_mapping(proposal)
    elif model:
        say(f"{model} has mappings already: left as it is.")
    first = "" if first_mapping.has_manifest(options) else "`dbt parse`, then "
    say(f"Next: {NEXT if model else f'{first}`dbt-segconn suggest MODEL` proposes a mapping. Then {NEXT}'}")


@main.command()
@project_options
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--action", type=click.Choice(list(ACTIONS)), help="Action of the mapping. Default: guessed from the model."
)
@click.option("--write", "is_written", is_flag=True, help="Append the mapping to the model's YAML file.")
@click.option("--online", is_flag=True, help="Fail if the warehouse cannot be asked for the model's columns.")
def suggest(*, model: str, action: str | None, is_written: bool, online: bool, **given: Any) -> None:
    """Propose a mapping of MODEL from the names, types and descriptions of its columns.

    Matches columns with the action's fields and with the reserved traits and properties of Segment's Spec.
    Columns without a match are listed and left out. If neither a contract nor a fresh catalog.json lists the
    columns, the warehouse is asked. --write keeps the comments and the layout of the file.

    \b
    Examples:
      dbt-segconn suggest customers
      dbt-segconn suggest orders --action track --write
    """
    from dbt_segconn.authoring.first_mapping import propose

    proposal = propose(as_options(**given), model, action=action, online=online)
    if is_written:
        _write_mapping(proposal)
        say(f"Next: {NEXT}")
    else:
        write(proposal.as_yaml().rstrip("\n"))


def _write_mapping(proposal: Proposal) -> None:
    say(f"Added a mapping of {proposal.model.name} to {proposal.write()}.")
    for note in proposal.notes():
        say(f"  {note}")


@main.command()
@project_options
@click.argument("what", type=click.Choice(["settings", "meta", "models"]), required=False)
def schema(*, what: str | None, **given: Any) -> None:
    """Write the JSON Schemas with which editors complete and check your YAML.

    Without an argument, writes .segconn/settings.schema.json (for segconn.yml) and
    .segconn/models.schema.json (for dbt's YAML files) into the project, and explains how to use them in VS Code.
    With an argument, prints one schema: for segconn.yml, for config.meta.segconn, or for dbt's YAML files.

    \b
    Examples:
      dbt-segconn schema
      dbt-segconn schema meta > segconn-meta.schema.json
    """
    from dbt_segconn.authoring import editor_schema

    if what is not None:
        written = getattr(editor_schema, f"{what}_schema")()
        write_json(written)
        return
    from dbt_segconn.project.dbt_project import find_project

    project = find_project(given["project_dir"])
    for path in editor_schema.write_schemas(project.dir):
        say(f"Wrote {path.relative_to(project.dir)}.")
    write(editor_schema.VS_CODE)


@main.command()
@project_options
@click.option(
    "--state",
    type=FOLDER,
    envvar=environment_variables("state"),
    show_envvar=True,
    required=True,
    help="Folder of the artifacts to compare with, such as those of production.",
)
@click.option("--format", "style", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--online", is_flag=True, help="Ask the warehouse how many calls each change sends.")
def diff(*, state: Path, style: str, online: bool, **given: Any) -> None:
    """Show what this branch changes for Segment, against the artifacts of another state.

    Reports mappings that are added, removed, renamed or changed, used columns that are gone or have another
    type, and changed identifiers. Reads both manifests, and catalog.json if it exists. --online counts the
    calls that each change sends, by the models and the state of the target: after `dbt parse --target prod`,
    those of production.

    \b
    Examples:
      dbt-segconn diff --state prod-artifacts
      dbt-segconn diff --state prod-artifacts --online
      dbt-segconn diff --state prod-artifacts --format markdown > comment.md

    Exit codes: 0 nothing breaks, 1 breaking changes, 2 could not compare.
    """
    from dbt_segconn.authoring import comparison_formats as formats
    from dbt_segconn.authoring.comparison import compare

    changes = compare(as_options(**given), state, online=online)
    if style == "json":
        write_json(formats.as_json(changes))
    else:
        for line in formats.as_markdown(changes) if style == "markdown" else formats.as_text(changes):
            write(line, keep="\n\u200b")  # by which Markdown mentions nobody
    sys.exit(FAILED if any(change.is_breaking for change in changes) else OK)


@main.command()
@project_options
@click.option("--output", "-o", type=FILE, help="File to write, such as models/segconn_exposures.yml. Default: print.")
@click.option("--owner", metavar="NAME", help="Owner if neither the model's meta nor its group names one.")
@click.option("--owner-email", metavar="ADDRESS", help="Email address of that owner.")
def exposures(*, output: Path | None, owner: str | None, owner_email: str | None, **given: Any) -> None:
    """Write a dbt exposure for each mapping, so that lineage shows what feeds Segment.

    Each exposure has its model, its owner, and in its meta the mapping with the columns of each field. Run it
    again after mappings have changed.

    \b
    Examples:
      dbt-segconn exposures --output models/segconn_exposures.yml --owner-email data@example.com
      dbt ls --resource-type exposure
      dbt build --select +exposure:segconn_customers_identify_customers
    """
    from dbt_segconn.authoring.lineage import Owner
    from dbt_segconn.authoring.lineage import exposures as exposures_of
    from dbt_segconn.engine.opening import read_project

    text = exposures_of(read_project(as_options(**given), needs_results=False, opens=False), Owner(owner, owner_email))
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)


@main.command()
@project_options
@click.option(
    "--output-dir", "-o", type=FOLDER, default="models/segconn", show_default=True, help="Folder to write to."
)
def sources(*, output_dir: Path, **given: Any) -> None:
    """Write the history of syncs and the discards as a dbt source, with a model of delivery rates.

    The first run on a target creates the tables. Until then, the model has no rows.

    \b
    Examples:
      dbt-segconn sources
      dbt build --select segconn_delivery_rates
    """
    from dbt_segconn.authoring import lineage
    from dbt_segconn.engine.opening import resolve_context
    from dbt_segconn.project.settings import read_settings, unrendered_state

    context = resolve_context(as_options(**given))
    folder = context.project_dir / output_dir
    read_settings(context.project_dir, context.jinja())  # to say what is wrong with it first
    _write(folder / "segconn_sources.yml", lineage.sources(unrendered_state(context.project_dir)))
    _write(folder / "segconn_delivery_rates.sql", lineage.delivery_rates())


def _write(path: Path, text: str) -> None:
    """Write a file of ours, or refuse to write over one of the user's."""
    heading = text.partition("\n")[0]
    if path.exists() and not path.read_text(encoding="utf-8").startswith(heading):
        raise ConfigurationError(f"{path}: is there already, and not written by this command. Name another file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    say(f"Wrote {path}.")
