"""The generated parts of the manual: each derives from the table or model that the program itself uses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any

import click
import yaml

from dbt_segconn.actions.fields import ACTIONS, RESERVED, Action, Field
from dbt_segconn.authoring.editor_schema import meta_schema, settings_schema
from dbt_segconn.authoring.lineage import COLUMNS
from dbt_segconn.docs.tables import commands, keys, table
from dbt_segconn.engine.report import ARTIFACT_FIELDS
from dbt_segconn.mapping.schema import EXAMPLES
from dbt_segconn.project.findings import GROUPS, RULES, Rule
from dbt_segconn.state.tables import COUNTS, DISCARD_COLUMNS, SYNC_COLUMNS

_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def refreshed(text: str, main: click.Group, exit_codes: Mapping[int, str]) -> str:
    """Return a page with fresh generated parts."""
    makers: dict[str, Callable[[], str]] = {
        "settings": lambda: keys(settings_schema()),
        "mapping-keys": lambda: keys(meta_schema()),
        "fields": _fields,
        "reserved": _reserved,
        "directives": lambda: "\n\n".join(map(_directive, EXAMPLES)),
        "findings": _findings,
        "commands": partial(commands, main),
        "exit-codes": lambda: table(("code", "meaning"), ((str(code), text) for code, text in exit_codes.items())),
        "artifact": _artifact,
        "history": partial(_columns, SYNC_COLUMNS),
        "discards": partial(_columns, DISCARD_COLUMNS),
    }
    return _BLOCK.sub(lambda found: f"{found[1]}\n{makers[found[2]]()}\n\n{found[3]}", text)


# --- Fields of the actions ------------------------------------------------------------------------


def _fields() -> str:
    common = [one for one in ACTIONS["identify"].fields if all(one in action.fields for action in ACTIONS.values())]
    parts = [_action(action, common) for action in ACTIONS.values()]
    return "\n\n".join([*parts, f"## Fields of all actions\n\n{_field_table(common)}"])


def _action(action: Action, common: list[Field]) -> str:
    own = [one for one in action.fields if one not in common]
    return f"## {action.name}\n\n{action.description}\n\n{_field_table(own)}"


def _field_table(fields: list[Field]) -> str:
    return table(("field", "type", "description"), (row for one in fields for row in _field_rows(one, "")))


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
    return table(("name", "of", "type", "description"), rows)


# --- Directives -----------------------------------------------------------------------------------


def _raw(value: Any) -> Any:
    """Protect templates from dbt, which renders YAML first."""
    if isinstance(value, dict):
        return {key: _raw(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_raw(one) for one in value]
    return f"{{% raw %}}{value}{{% endraw %}}" if isinstance(value, str) and "{{" in value else value


def _directive(name: str) -> str:
    example = EXAMPLES[name]
    written = yaml.safe_dump({"field": _raw(example.mapping)}, sort_keys=False, width=100, allow_unicode=True).strip()
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
    "SEG503": "tracking-plan",
    "SEG504": "tracking-plan",
}


def _findings() -> str:
    overview = table(("code", "severity", "finding"), ((one.code, one.severity, one.title) for one in RULES.values()))
    ordered = sorted(RULES.values(), key=lambda one: one.code)
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
    return table(("field", "meaning"), ((f"`{name}`", text) for name, text in {**ARTIFACT_FIELDS, **counts}.items()))


def _columns(names: Mapping[str, str]) -> str:
    return table(("column", "type", "meaning"), ((f"`{name}`", kind, COLUMNS[name]) for name, kind in names.items()))
