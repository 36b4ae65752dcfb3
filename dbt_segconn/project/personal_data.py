"""Personal data: columns with a label in dbt that a destination denies, which a mapping would send as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from dbt_segconn.mapping import ALL_COLUMNS
from dbt_segconn.mapping.compiler import reads, without_hashes
from dbt_segconn.project.drafts import MappingDraft, ModelDraft
from dbt_segconn.project.findings import DENIED_COLUMN, UNKNOWN_LABEL, Fault, Finding, KeyPath
from dbt_segconn.project.identifiers import SEGMENT_ID
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.strict_model import near_name


def denied_columns(settings: Settings, drafts: Iterable[ModelDraft]) -> Iterator[Finding]:
    """Yield a finding for each labelled column that reaches a destination which denies its label.

    A column reaches it if any value of the mapping reads it, also in a template or a condition, except in @hash.
    """
    for draft in (one for model in drafts for one in model.mappings):
        destination = settings.destinations.get(draft.destination or "")
        if destination and destination.deny:
            yield from map(draft.finding, _faults(draft, frozenset(destination.deny)))


def unknown_labels(settings: Settings, drafts: Iterable[ModelDraft]) -> Iterator[Fault]:
    """Yield a fault of segconn.yml for each denied label that no column of a mapped model has."""
    models = [draft.positions.model for draft in drafts]
    known = frozenset().union(*(one.classifiers.union(*(column.labels for column in one.columns)) for one in models))
    for name, destination in settings.destinations.items():
        for label in (one for one in destination.deny if one not in known):
            fix = near_name(label, known).lstrip() or "Label the columns in dbt."
            reason = f"no column of a mapped model has the label {label!r}"
            yield Fault(UNKNOWN_LABEL, ("destinations", name, "deny"), reason, fix)


def _faults(draft: MappingDraft, denied: frozenset[str]) -> Iterator[Fault]:
    model = draft.positions.model
    # Of the mapped model only: dbt does not pass labels on to downstream models
    of_model = model.classifiers & denied
    labels = {one.name.casefold(): (one.labels & denied) | of_model for one in model.columns}
    for path, column in dict.fromkeys(_plain_reads(draft)):
        if column is ALL_COLUMNS:
            names = [one.name for one in model.columns if labels[one.name.casefold()]]
            found, what = of_model.union(*labels.values()), f"sends the whole record, with {', '.join(names)}"
            fix = "List the columns to send."
        else:
            # A column that is not in the YAML has the labels of its model only
            found, what = labels.get(column.casefold(), of_model), f"sends {column}"
            fix = f"Remove it, or hash it for an ad network: ${column} | hash google email."
        if found:
            reason = f"{what}; the destination {draft.destination!r} denies {', '.join(sorted(found))}"
            yield Fault(DENIED_COLUMN, ("fields", *path), reason, fix)


def _plain_reads(draft: MappingDraft) -> Iterator[tuple[KeyPath, str | None]]:
    """Yield the columns whose values the mapping reads without hashing them, each with its path."""
    plain = without_hashes(draft.fields or {})
    yield from reads(plain)
    if SEGMENT_ID.encode() in orjson.dumps(plain):  # the identifier of a deleted record
        yield from (((), column) for column in draft.identifier)
