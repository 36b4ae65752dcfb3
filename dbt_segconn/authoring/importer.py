"""Convert mappings exported from Segment to YAML for `config.meta.segconn`.

The input is HCL of Segment's Git sync or Terraform provider (resources `segment_destination_subscription` and
`segment_reverse_etl_model`), or JSON of Segment's Public API (objects with `trigger` and `settings`).
https://registry.terraform.io/providers/segmentio/segment/latest/docs/resources/destination_subscription
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbt_segconn.actions import ACTIONS, unknown_fields
from dbt_segconn.errors import ConfigurationError, printable
from dbt_segconn.mapping.compiler import expand
from dbt_segconn.project.meta import CHANGE_TYPES, SYNC_MODES
from dbt_segconn.project.terraform import jsonencoded, read_resources

RESOURCE = "segment_destination_subscription"
MODEL = "segment_reverse_etl_model"
_REFERENCE = re.compile(rf"{MODEL}\.([\w-]+)")
# Defaults that Segment writes into each export. dbt-segconn sets both by itself
_DEFAULTS = {"message_id": {"@path": "$.messageId"}, "consent": {"@path": "$.context.consent"}}
# Settings of Segment's own delivery. An export has them among the fields
_DELIVERY = ("enable_batching", "batch_size", "engage_space")
_EVENT = re.compile(r"\s*event\s*=\s*\"(new|updated|deleted)\"\s*")
_CHANGE_TYPE = {"new": "added", "updated": "updated", "deleted": "deleted"}
_PLAIN = re.compile(r"\$\.(?:properties\.([A-Za-z_][A-Za-z0-9_]*)|(__segment_id))")

Resource = tuple[str, str, Mapping[str, Any]]
"""(RESOURCE or MODEL, label, attributes)"""


@dataclass(frozen=True, slots=True)
class Imported:
    """A mapping in the form of `meta.segconn`; `left_behind` are the parts of the original that are not converted.

    `model` is the id of its model in Segment.
    """

    title: str
    mapping: dict[str, Any]
    left_behind: tuple[str, ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class ReverseModel:
    """A model of Segment's Reverse ETL: its name and its identifier column."""

    name: str
    identifier: str | None


def as_yaml(paths: Sequence[Path]) -> str:
    """Convert .tf and .json files to YAML for `meta:`, one document for each model.

    Comments name the parts that are not carried over. Raises ConfigurationError if the files have no mapping.
    """
    by_model: dict[str, list[Imported]] = {}
    models: dict[str, ReverseModel] = {}
    for path in paths:
        for resource_type, label, value in _read(path):
            if resource_type == RESOURCE:
                one = _imported(value)
                by_model.setdefault(one.model, []).append(one)
            else:
                # Terraform's keys are in snake case, those of the Public API in camel case
                identifier = value.get("query_identifier_column") or value.get("queryIdentifierColumn")
                model = ReverseModel(str(value.get("name") or label), str(identifier) if identifier else None)
                models |= dict.fromkeys((_key_of_model(label), _key_of_model(value.get("id") or label)), model)
    if not by_model:
        names = ", ".join(map(str, paths))
        raise ConfigurationError(f"{names}: no {RESOURCE} and no JSON with `trigger` and `settings` in it.")
    return "\n---\n".join("\n".join(_document(key, models.get(key), some)) for key, some in by_model.items())


def _read(path: Path) -> Iterator[Resource]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    if path.suffix != ".json":
        return _from_hcl(path, text)
    try:
        return _in_json(json.loads(text))
    except ValueError:
        raise ConfigurationError(f"{path}: is not valid JSON.") from None


def _document(key: str, model: ReverseModel | None, imported: Sequence[Imported]) -> Iterator[str]:
    name = model.name if model else f"with the id {key}" if key else "that the file does not name"
    # names and titles come from the export: a line break in one would end the comment
    yield f"# Under config.meta of the dbt model for Segment's model {printable(name)}"
    yield "segconn:"
    if model and model.identifier:
        yield from (f"  {line}" for line in _dumped({"unique_identifier": model.identifier}))
    else:
        yield "  unique_identifier: ???  # the model's identifier column"
    yield "  mappings:"
    for one in imported:
        yield f"    # {printable(one.title)}"
        yield from (f"    # not carried over: {printable(text)}" for text in one.left_behind)
        yield from (f"    {line}" for line in _dumped([one.mapping]))


def _dumped(value: Any) -> list[str]:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)).splitlines()


def _key_of_model(value: Any) -> str:
    """Return the id of the model of a mapping; for a Terraform reference, the label of the resource.

    Segment's Git sync labels a resource by its id: `id-<id>`.
    """
    reference = _REFERENCE.search(str(value or ""))
    return (reference[1] if reference else str(value or "")).removeprefix("id-")


def _in_json(value: Any) -> Iterator[Resource]:
    """Yield the mappings and models at any depth: the Public API wraps them in `data`, alone or in lists."""
    if isinstance(value, dict):
        if "trigger" in value and "settings" in value:
            yield RESOURCE, "", value
        elif "queryIdentifierColumn" in value or "query_identifier_column" in value:
            yield MODEL, str(value.get("id") or ""), value
        else:
            for one in value.values():
                yield from _in_json(one)
    elif isinstance(value, list):
        for one in value:
            yield from _in_json(one)


def _from_hcl(path: Path, text: str) -> Iterator[Resource]:
    for resource_type, label, resource in read_resources(path, text, MODEL, RESOURCE):
        settings = resource.get("settings")
        try:
            read = jsonencoded(settings) if isinstance(settings, str) else settings
        except ValueError:
            raise ConfigurationError(f"{path}: is not valid HCL.") from None
        yield resource_type, label, {**resource, "settings": read} if resource_type == RESOURCE else resource


def _imported(subscription: Mapping[str, Any]) -> Imported:
    title = str(subscription.get("name") or "mapping")
    original = subscription.get("settings")
    settings = {name: value for name, value in (original or {}).items() if value != _DEFAULTS.get(name)}
    left_behind: list[str] = []
    action = _action(subscription, settings)
    if action is None:  # a wrong action would send calls of another type, so a guess is not made in silence
        action = _named_in(title.lower())
        advice = f"check {action}, which is guessed from the name" if action else "name it"
        left_behind.append(f"the action ({subscription.get('action_id') or subscription.get('actionId')}): {advice}")
    unknown = unknown_fields(action, settings) if action else ()
    left_behind.extend(f"fields.{'.'.join(path)}: {action} has no such field" for path, _ in unknown)
    own = [name for name in _DELIVERY if settings.pop(name, None) is not None]
    left_behind.extend(f"fields.{name}: is a setting of Segment's own delivery" for name in own)
    mapping: dict[str, Any] = {"name": _name(title), "action": action or "???"}
    mode = _sync_mode(str(subscription.get("trigger") or ""))
    if mode is None:
        left_behind.append(f"the trigger {subscription.get('trigger')!r}: choose a sync_mode")
    else:
        mapping["sync_mode"] = mode
    if subscription.get("enabled") is False:
        mapping["enabled"] = False
    if subscription.get("reverse_etl_schedule") or subscription.get("reverseETLSchedule"):
        left_behind.append("the schedule: run dbt-segconn after dbt")
    mapping["fields"] = _shortened(settings)
    model = _key_of_model(subscription.get("model_id") or subscription.get("modelId"))
    return Imported(title, mapping, tuple(left_behind), model)


def _action(subscription: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """Return the action by Segment's name, such as sendIdentify or Send Identify, else by fields of one action only."""
    names = f"{subscription.get('actionSlug', '')} {subscription.get('name', '')}".lower().replace("send ", "send")
    if named := _named_in(names, "send"):
        return named
    fields = {name: {field.name for field in action.fields} for name, action in ACTIONS.items()}
    for name in ("track", "page", "screen"):
        own = fields[name] - set().union(*(fields[other] for other in fields if other != name))
        if own & set(settings):
            return name
    return None


def _named_in(text: str, prefix: str = "") -> str | None:
    """Return the only action that a text names, or None."""
    found = [name for name in ACTIONS if f"{prefix}{name}" in text]
    return found[0] if len(found) == 1 else None


def _name(title: str) -> str:
    return re.sub(r"\W+", "_", title).strip("_").lower() or "mapping"


def _sync_mode(trigger: str) -> str | list[str] | None:
    """Convert a trigger such as `event = "new" or event = "updated"` to a sync mode; None for other conditions."""
    parts = [_EVENT.fullmatch(part) for part in trigger.split(" or ")]
    if not all(parts):
        return None
    named = {_CHANGE_TYPE[part[1]] for part in parts if part}
    change_types = tuple(change_type for change_type in CHANGE_TYPES if change_type in named)
    return next((mode for mode, one in SYNC_MODES.items() if one == change_types), list(change_types))


def _shortened(value: Any) -> Any:
    """Replace plain columns by the `$` shorthand, and protect templates from dbt's Jinja."""
    if isinstance(value, dict):
        path = value.get("@path") if len(value) == 1 else None
        plain = _PLAIN.fullmatch(path) if isinstance(path, str) else None
        if plain:
            return f"${plain[1] or plain[2]}"
        is_directive = any(key.startswith("@") for key in value)
        return {key: raw(one) if is_directive else _shortened(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    # in Segment's language, a dollar in a text outside of a directive is a dollar
    return raw(value if _is_unchanged(value) else str(value).replace("$", "$$"))


def _is_unchanged(value: Any) -> bool:
    """Return whether the `$` shorthand does not change a value."""
    try:
        return bool(expand(value) == value)
    except ConfigurationError:
        return False


def raw(value: Any) -> Any:
    """Protect templates from dbt's Jinja, which renders meta: `Hello {{name}}` would become `Hello `."""
    if isinstance(value, dict):
        return {key: raw(one) for key, one in value.items()}
    if isinstance(value, list):
        return [raw(one) for one in value]
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        return f"{{% raw %}}{value}{{% endraw %}}"
    return value
