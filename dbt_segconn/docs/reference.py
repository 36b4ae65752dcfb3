"""The generated parts of the manual: each derives from the table or model that the program itself uses."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import click
import yaml

from dbt_segconn.actions.fields import ACTIONS, RESERVED, Action, Field
from dbt_segconn.authoring.editor_schema import meta_schema, settings_schema
from dbt_segconn.authoring.importer import raw
from dbt_segconn.authoring.lineage import COLUMNS
from dbt_segconn.engine.report import ARTIFACT_FIELDS
from dbt_segconn.mapping.schema import EXAMPLES
from dbt_segconn.project.findings import GROUPS, RULES, Rule
from dbt_segconn.state.tables import COUNTS, DISCARD_COLUMNS, SYNC_COLUMNS

Schema = Mapping[str, Any]

_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(text: str, main: click.Group, exit_codes: Mapping[int, str]) -> str:
    """Return a page with fresh generated parts."""
    # functions: only the parts of this page are generated
    makers: dict[str, Callable[[], str]] = {
        "settings": lambda: _keys(settings_schema()),
        "mapping-keys": lambda: _keys(meta_schema()),
        "fields": _fields,
        "reserved": _reserved,
        "directives": lambda: "\n\n".join(map(_directive, EXAMPLES)),
        "findings": _findings,
        "commands": partial(_commands, main),
        "exit-codes": lambda: _table(("code", "meaning"), ((str(code), text) for code, text in exit_codes.items())),
        "artifact": _artifact,
        "history": partial(_columns, SYNC_COLUMNS),
        "discards": partial(_columns, DISCARD_COLUMNS),
    }
    return _BLOCK.sub(lambda found: f"{found[1]}\n{makers[found[2]]()}\n\n{found[3]}", text)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table. A pipe would end its cell, so it is escaped."""
    # chr(92) is a backslash, which Python before 3.12 does not allow in an f-string
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- Keys of segconn.yml and of mappings ----------------------------------------------------------


_TYPES = {"string": "text", "object": "mapping", "boolean": "`true`, `false`"}


def _keys(schema: Schema) -> str:
    """Return the table of a model's keys, with the keys of the models below them."""
    heads = ("key", "values", "default", "description")
    return _table(heads, _rows(schema, schema["definitions"], ""))


def _rows(schema: Schema, definitions: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, about in schema["properties"].items():
        # a line break would end the row of a Markdown table
        text = " ".join(about["description"].split())
        default = "required" if name in required else _default(about.get("default"))
        yield f"`{prefix}{name}`", ", ".join(_values(about)), default, text
        for step, nested in _nested(about):
            yield from _rows(definitions[nested], definitions, f"{prefix}{name}{step}.")


def _default(value: Any) -> str:
    if value is None or isinstance(value, dict) or value == []:
        return ""
    return f"`{', '.join(value) if isinstance(value, list) else json.dumps(value).strip(chr(34))}`"


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """Yield what a value may be, without null and without the Jinja that stands for any value."""
    for one in schema.get("anyOf", [schema]):
        if "anyOf" in one:
            yield from _alternatives(one)
        # the pattern for Jinja in editor_schema.py
        elif one.get("type") != "null" and "[{%]" not in one.get("pattern", ""):
            yield one


def _nested(schema: Schema) -> Iterator[tuple[str, str]]:
    """Yield the models below a key: the step of the path that leads to each, and its name."""
    for one in _alternatives(schema):
        below = {"": one, "[]": one.get("items", {}), ".<name>": one.get("additionalProperties") or {}}
        for step, inner in below.items():
            if isinstance(inner, dict) and "$ref" in inner:
                yield step, inner["$ref"].rpartition("/")[2]


def _values(schema: Schema) -> Iterator[str]:
    for one in _alternatives(schema):
        if "enum" in one:
            yield ", ".join(f"`{value}`" for value in one["enum"])
        elif "const" in one:
            yield f"`{one['const']}`"
        elif one.get("type") == "array":
            yield "list"
        elif one.get("type") in {"integer", "number"}:
            yield f"{one['type']}{_range(one)}"
        else:
            yield _TYPES.get(one.get("type", ""), "mapping")


def _range(schema: Schema) -> str:
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if above is not None:
        return f" above {above:g}{'' if high is None else f', at most {high:g}'}"
    if low is None:
        return ""
    return f" {low:g} to {high:g}" if high is not None else f" {low:g} or more"


# --- Commands -------------------------------------------------------------------------------------


_METAVARS = {"integer range": "N", "integer": "N", "directory": "FOLDER", "text": "TEXT"}
# The program declares it as repeatable to refuse a second value, which click would use silently
_GIVEN_ONCE = {"target_path"}
Identity = tuple[tuple[str, ...], str]
"""Names and help: options of two commands with equal identities are documented once."""


def _commands(main: click.Group) -> str:
    """Return a section for each command. A section before them has the options that most commands share."""
    shared = _shared(main.commands.values())
    first = next(command for command in main.commands.values() if _identities(command) >= shared)
    head = [
        "## Project options",
        "",
        "Most commands accept these options. An environment variable applies where its option is not given.",
        "",
        _options(one for one in _options_of(first) if _identity(one) in shared),
        "",
        "## Commands",
    ]
    parts = ("\n".join(_command(main.commands[name], shared)).strip() for name in sorted(main.commands))
    return "\n\n".join(["\n".join(head), *parts])


def _shared(many: Collection[click.Command]) -> set[Identity]:
    counts = Counter(one for command in many for one in _identities(command))
    return {one for one, count in counts.items() if count > len(many) / 2}


def _identities(command: click.Command) -> set[Identity]:
    return {_identity(one) for one in _options_of(command)}


def _identity(option: click.Option) -> Identity:
    return tuple(option.opts), option.help or ""


def _options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def _command(command: click.Command, shared: set[Identity]) -> Iterator[str]:
    given = " ".join(_argument(one) for one in command.params if isinstance(one, click.Argument))
    own, has_shared = _options_of(command), _identities(command) >= shared
    usage = " ".join(filter(None, ("dbt-segconn", command.name, given, "[OPTIONS]" if own else "")))
    if has_shared:
        own = [one for one in own if _identity(one) not in shared]
    yield from (f"### {command.name}", "", f"`{usage}`", "")
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    if own:
        yield _options(own)
    if has_shared:
        yield f"{chr(10) if own else ''}{'Also' if own else 'Accepts'} the [project options](#project-options)."


def _argument(argument: click.Argument) -> str:
    name = f"{(argument.name or '').upper()}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the help as Markdown: what click does not wrap is a block of code."""
    for paragraph in text.split("\n\n"):
        # click's mark: https://click.palletsprojects.com/en/stable/documentation/ (a paragraph that is not wrapped)
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.removeprefix("\b\n").split("\n")
            yield from (title, "", "```console", *(f"$ {line.strip()}" for line in lines), "```", "")
        else:
            yield from (paragraph, "")


def _options(options: Iterable[click.Option]) -> str:
    return _table(("option", "description"), ((_names(one), _about(one)) for one in options))


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    names = [*option.opts, *(one for one in option.secondary_opts if one.startswith("--"))]
    return ", ".join(f"`{name}{value if at == 0 else ''}`" for at, name in enumerate(names))


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice) and not option.metavar:
        return "|".join(map(str, option.type.choices))
    return option.metavar or _METAVARS.get(option.type.name) or option.type.name.upper()


def _about(option: click.Option) -> str:
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
    facts = [
        f"Default: `{option.default}`." if option.show_default and option.default is not None else "",
        "Can be repeated." if option.multiple and option.name not in _GIVEN_ONCE else "",
        f"Environment: {', '.join(f'`{one}`' for one in variables)}." if variables else "",
    ]
    text = re.sub(r"\s+", " ", option.help or "Choose the format of the output.")
    return " ".join(filter(None, (text, *facts)))


# --- Fields of the actions ------------------------------------------------------------------------


def _fields() -> str:
    common = [one for one in ACTIONS["identify"].fields if all(one in action.fields for action in ACTIONS.values())]
    parts = [_action(action, common) for action in ACTIONS.values()]
    return "\n\n".join([*parts, f"## Fields of all actions\n\n{_field_table(common)}"])


def _action(action: Action, common: list[Field]) -> str:
    own = [one for one in action.fields if one not in common]
    return f"## {action.name}\n\n{action.description}\n\n{_field_table(own)}"


def _field_table(fields: list[Field]) -> str:
    return _table(("field", "type", "description"), (row for one in fields for row in _field_rows(one, "")))


def _field_rows(field: Field, prefix: str) -> Iterator[tuple[str, str, str]]:
    name = prefix + field.name
    yield f"`{name}`", field.type, f"{'Required. ' if field.required else ''}{field.description}"
    for one in field.properties:
        yield from _field_rows(one, f"{name}.")


def _reserved() -> str:
    rows = (
        (f"`{one.name}`", f"{action} {of}", " or ".join(one.accepted), one.description)
        for (action, of), many in RESERVED.items()
        for one in many
    )
    return _table(("name", "of", "type", "description"), rows)


# --- Directives -----------------------------------------------------------------------------------


def _directive(name: str) -> str:
    example = EXAMPLES[name]
    written = yaml.safe_dump({"field": raw(example.mapping)}, sort_keys=False, width=100, allow_unicode=True).strip()
    record, result = json.dumps(example.record), json.dumps(example.result)
    return f"### {name}\n\n{example.description}\n\n```yaml\n{written}\n```\n\nThe record `{record}` gives `{result}`."


# --- Findings -------------------------------------------------------------------------------------

# Codes with a topic of their own instead of their group's
TOPICS = {
    "SEG106": "tracking-plan",
    "SEG210": "alerts",
    "SEG211": "consent",
    "SEG212": "checkpoints",
    "SEG213": "records-and-order",
    "SEG216": "consent",
    "SEG217": "snapshots",
    "SEG218": "snapshots",
    "SEG306": "snapshots",
    "SEG401": "directives",
    "SEG402": "fields",
    "SEG407": "segments-limits",
    "SEG504": "tracking-plan",
    "SEG505": "tracking-plan",
}


def _findings() -> str:
    overview = _table(("code", "severity", "finding"), ((one.code, one.severity, one.title) for one in RULES.values()))
    ordered = sorted(RULES.values(), key=lambda one: one.code)
    # the digit after SEG is the group
    groups = (_group(digit, list(rules)) for digit, rules in groupby(ordered, key=lambda one: one.code[3]))
    return "\n\n".join([overview, *groups])


def _group(digit: str, rules: list[Rule]) -> str:
    return "\n\n".join([f"## {GROUPS[digit].title}", *(_finding(rule) for rule in rules)])


def _finding(rule: Rule) -> str:
    topic = TOPICS.get(rule.code, GROUPS[rule.code[3]].topic)
    return (
        f"### {rule.code} {rule.name}\n\n{rule.severity.capitalize()}: {rule.title}\n\n{rule.advice}\n\n"
        f"Read on: `dbt-segconn docs {topic}`."
    )


# --- Results --------------------------------------------------------------------------------------


def _artifact() -> str:
    # the history's counts have one description, that of their columns
    counts = {f"results[].counts.{name}": COLUMNS[name] for name in COUNTS}
    return _table(("field", "meaning"), ((f"`{name}`", text) for name, text in {**ARTIFACT_FIELDS, **counts}.items()))


def _columns(names: Mapping[str, str]) -> str:
    return _table(("column", "type", "meaning"), ((f"`{name}`", one, COLUMNS[name]) for name, one in names.items()))
