"""What is found wrong in a project: each finding a value with its rule, its place and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dbt_segconn.errors import ConfigurationError

Severity = Literal["error", "warning"]
Path = tuple[str, ...]
"""Keys and, as text, positions in lists: ("mappings", "0", "fields", "user_id")."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of finding. Its code stays what it is once it is released: users silence and look up by it."""

    code: str
    name: str
    severity: Severity
    title: str
    advice: str

    @property
    def section(self) -> str:
        """The heading of README.md under which more is said."""
        return SECTIONS[self.code[3]]


_META, _SETTINGS = "Reference: config.meta.segconn", "Reference: segconn.yml"
SECTIONS = {"1": _SETTINGS, "2": _META, "3": _META, "4": _META, "5": _META, "6": _META}
"""group of codes → heading of README.md"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding that does not yet know which file it is in: `path` starts where the check started."""

    rule: Rule
    path: Path
    message: str
    fix: str = ""

    def below(self, *keys: str) -> Fault:
        """Return the same fault, seen from further up."""
        return Fault(self.rule, (*keys, *self.path), self.message, self.fix)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in its place. `line` and `column` count from 1; None where the file does not hold the text.

    `resource` is the model as dbt names it, such as `model customers`; `path` is relative to the mapping
    where there is one.
    """

    rule: Rule
    message: str
    fix: str
    file: str
    line: int | None = None
    column: int | None = None
    resource: str | None = None
    mapping: str | None = None
    path: Path = ()

    @property
    def subject(self) -> str:
        """What is wrong, and what to do, without the file: `model a, mapping b: fields.c: is missing. …`."""
        mapping = f"mapping {self.mapping}" if self.mapping else None
        owner = ", ".join(filter(None, (self.resource, mapping)))
        parts = filter(None, (owner, dotted(self.path), self.message))
        return f"{': '.join(parts)}.{f' {self.fix}' if self.fix else ''}"

    def __str__(self) -> str:
        """Word it as `file:line: …`."""
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.subject}"


def dotted(path: Path) -> str:
    """Write a path as it would be written in words: fields.traits.email."@path"."""
    return ".".join(f'"{key}"' if key.startswith("@") else key for key in path)


class InvalidProject(ConfigurationError):  # noqa: N818  reads as what it is: an invalid project
    """The project's own files need mending; `findings` lists every error, `problems` the same as texts."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__(map(str, self.findings))


_RULES: dict[str, Rule] = {}


def _rule(code: str, name: str, severity: Severity, title: str, advice: str) -> Rule:
    _RULES[code] = Rule(code, name, severity, title, advice)
    return _RULES[code]


# 1xx: files
NOT_YAML = _rule(
    "SEG101",
    "not-yaml",
    "error",
    "The file is no valid YAML, or a key stands in it twice.",
    'Quote keys that begin with @ and values that begin with {{: "@path": ..., "{{ env_var(\'KEY\') }}".',
)
NO_SETTINGS = _rule(
    "SEG102",
    "no-settings",
    "error",
    "segconn.yml is missing or cannot be read.",
    "Create it beside dbt_project.yml; `dbt-segconn init` writes one.",
)
NOT_RENDERED = _rule(
    "SEG103",
    "not-rendered",
    "error",
    "dbt's Jinja cannot render a value of segconn.yml.",
    "Set the environment variable or give the variable with --vars; env_var() and var() take a default, too.",
)
STALE_MANIFEST = _rule(
    "SEG104",
    "stale-manifest",
    "warning",
    "The mappings in the file are not those that dbt has read.",
    "The file has changed since. Findings are about what stands in dbt's manifest, and their lines may be off: run "
    "`dbt parse` first.",
)
PLAIN_KEY = _rule(
    "SEG105",
    "plain-key",
    "warning",
    "A secret stands in segconn.yml or dbt_project.yml as plain text.",
    "Anyone who reads the repository can use it. Write \"{{ env_var('SEGMENT_WRITE_KEY') }}\", and make "
    "a new key or webhook where the file was shared.",
)
# 2xx: keys and values
UNKNOWN_KEY = _rule(
    "SEG201",
    "unknown-key",
    "error",
    "A key is not known here.",
    "Mostly a slip of the pen, which would otherwise be ignored in silence. The message lists the known keys.",
)
MISSING_KEY = _rule("SEG202", "missing-key", "error", "A required key is missing.", "Add it.")
WRONG_TYPE = _rule("SEG203", "wrong-type", "error", "A value has the wrong type.", "Write what the message asks for.")
WRONG_VALUE = _rule(
    "SEG204", "wrong-value", "error", "A value is out of its range.", "Choose one that the message names."
)
UNKNOWN_ACTION = _rule(
    "SEG205",
    "unknown-action",
    "error",
    "There is no such action.",
    "Segment's actions are identify, track, group, page and screen.",
)
NO_DESTINATION = _rule(
    "SEG206",
    "no-destination",
    "error",
    "The mapping names no destination of segconn.yml.",
    "Name one; with a single destination in segconn.yml, leave the key out.",
)
DISABLED_DESTINATION = _rule(
    "SEG207",
    "disabled-destination",
    "warning",
    "An enabled mapping delivers to a disabled destination.",
    "Nothing is sent, and runs list the mapping as skipped. Enable the destination, or disable the mapping, too.",
)
REPEATED_NAME = _rule(
    "SEG208",
    "repeated-name",
    "error",
    "Two mappings of one model have the same name.",
    "Rename one: the name tells their states apart.",
)
NO_TABLE = _rule(
    "SEG209",
    "no-table",
    "error",
    "The model has no table or view that could be read.",
    "Materialize an ephemeral model as a table or view; run dbt where the table is missing in the warehouse.",
)
NO_MAPPING = _rule(
    "SEG210",
    "no-mapping",
    "error",
    "An alert names no mapping of the project, or several.",
    "Write model.mapping, or package.model.mapping where two packages have the same; leave `mappings` out for all.",
)
NO_CONSENT = _rule(
    "SEG211",
    "no-consent",
    "error",
    "segconn.yml requires consent, and the mapping names no consent columns.",
    "Name the column of each consent category in `consent`, of the model or of the mapping; write "
    "`consent: not_needed` where the calls need none. Without a consent object, Segment lets events through to all "
    "destinations.",
)
DELETED_UNSEEN = _rule(
    "SEG212",
    "deleted-unseen",
    "error",
    "A mapping with a checkpoint cannot send deleted records.",
    "A sync that reads only new rows does not see which ones are gone. Leave the checkpoint out, or `deleted`.",
)
NO_ORDER = _rule(
    "SEG213",
    "no-order",
    "error",
    "A column cannot order the rows of its model as the checkpoint or `order_by` needs.",
    "A checkpoint takes timestamps and dates with a lag such as `1 hour` or `2 days`, and integers with a number. "
    "`order_by` takes every type but JSON and binary.",
)
ORDER_MISSING = _rule(
    "SEG217",
    "order-missing",
    "error",
    "A snapshot is mapped without the order of its versions.",
    "Calls about one user are sent side by side unless `order_by` names a column. Write `order_by: dbt_valid_from`, or "
    "take the current rows alone with `records: current`.",
)
NOT_A_SNAPSHOT = _rule(
    "SEG218",
    "not-a-snapshot",
    "error",
    "`records: current` stands on a model that is not a snapshot.",
    "Only a snapshot tells current rows from those that have ended. Filter the rows in the model instead.",
)
MISPLACED = _rule(
    "SEG214",
    "misplaced",
    "error",
    "Mappings stand where they are not read.",
    "They are read under config.meta.segconn of models, seeds and snapshots: not beside `meta`, not under columns, "
    "sources or exposures, and under no other spelling.",
)
DISABLED_MODEL = _rule(
    "SEG215",
    "disabled-model",
    "warning",
    "A model with mappings is disabled in dbt.",
    "Nothing of it is synced. Enable it, or remove its mappings.",
)
CONSENT_DROPPED = _rule(
    "SEG216",
    "consent-dropped",
    "error",
    "A nearer block drops the consent columns of a folder.",
    "dbt replaces a folder's `segconn` as a whole by that of the model or of a nearer folder. Repeat "
    "`consent` there, or write `consent: not_needed`. Without a consent object, Segment lets events through to all "
    "destinations.",
)
# 3xx: identifiers and columns
NO_IDENTIFIER = _rule(
    "SEG301",
    "no-identifier",
    "error",
    "Nothing tells the records of the model apart.",
    "Name the column, or columns, in unique_identifier; or test one column unique and not_null.",
)
UNTESTED_IDENTIFIER = _rule(
    "SEG302",
    "untested-identifier",
    "warning",
    "The unique identifier is not tested unique and not_null.",
    "Records whose identifier is null or not unique are discarded. Add dbt's tests `unique` and `not_null` to the "
    "column, so that such a model is noticed and not synced; for several columns "
    "dbt_utils.unique_combination_of_columns and a `not_null` each. Constraints of a contract count, too.",
)
NO_COLUMN = _rule(
    "SEG303",
    "no-column",
    "error",
    "The model has no such column.",
    "Known from the model's contract, from a catalog.json as new as the manifest, or with --online from the warehouse.",
)
DOUBTFUL_COLUMN = _rule(
    "SEG304",
    "doubtful-column",
    "warning",
    "The model seems to have no such column.",
    "An older catalog.json does not list it, or the model's YAML documents one with nearly the same name. Mend the "
    "name, document the column, or look it up with --online.",
)
NO_ID_WHEN_DELETED = _rule(
    "SEG305",
    "no-id-when-deleted",
    "error",
    "A required field has no value for deleted records.",
    "A deleted record keeps the columns of its unique identifier, and $__segment_id; all others are null, and its call "
    "would be discarded or be about another. Map the field from these, or send deletions by a mapping of their own.",
)
SNAPSHOT_KEY = _rule(
    "SEG306",
    "snapshot-key",
    "error",
    "The unique identifier does not fit the rows of a snapshot that the mapping takes.",
    "A snapshot holds a row for each version of an entity. With `records: current`, the identifier is the snapshot's "
    "unique_key. With all rows it is dbt_scd_id: each version is a record. Both are the defaults.",
)
# 4xx: fields
BROKEN_MAPPING = _rule(
    "SEG401",
    "broken-mapping",
    "error",
    "The fields break the rules of Segment's mapping language, or of its $ shorthand.",
    "The README's reference of config.meta.segconn lists the shorthand; Segment documents the directives.",
)
UNKNOWN_FIELD = _rule(
    "SEG402",
    "unknown-field",
    "error",
    "The action has no such field and would drop it.",
    "`dbt-segconn fields` lists the fields of each action. What is known of a user belongs under traits, what is "
    "known of an event under properties.",
)
MISSING_FIELD = _rule(
    "SEG403",
    "missing-field",
    "error",
    "A field without which no call is valid is not mapped.",
    "Every record would be discarded. Map user_id or anonymous_id, and for track event_name, for group group_id.",
)
RENDERED_AWAY = _rule(
    "SEG404",
    "rendered-away",
    "error",
    "dbt's Jinja has emptied a template before dbt-segconn could read it.",
    "Write ${column} in place of {{ column }}, or keep it from dbt with {% raw %}...{% endraw %}.",
)
NEVER_SENT = _rule(
    "SEG405",
    "never-sent",
    "error",
    "A constant makes every call one that Segment drops.",
    "Segment takes calls of at most 32 KB, timestamps in ISO-8601 with a time zone, and a messageId of at most 100 "
    "characters; it answers 200 to others and drops them.",
)
CONSTANT_ID = _rule(
    "SEG406",
    "constant-id",
    "error",
    "An id is the same for all records.",
    "Segment takes all who share a user, anonymous or group id for one, and nothing parts them again. Write $ before "
    "the name of a column; where a constant is meant, `constant_ids: allowed` in the mapping.",
)
TOO_MANY_MEMBERS = _rule(
    "SEG407",
    "too-many-members",
    "error",
    "A call has more traits or properties than Segment takes.",
    "Segment takes 300 traits or properties in a call; it answers 200 to others and drops them. Map those that are "
    "needed.",
)
# 5xx: Segment's Spec
TRAIT_TYPE = _rule(
    "SEG501",
    "trait-type",
    "warning",
    "A reserved trait or property of Segment's Spec has another type.",
    "Segment and its destinations read reserved names by the Spec; another type is dropped or misread there: "
    "https://segment.com/docs/connections/spec/identify/#traits .",
)
EVENT_NAME = _rule(
    "SEG502",
    "event-name",
    "warning",
    "The event name will not serve well.",
    "Each name becomes an event, and a table in warehouses, of its own: keep what varies in properties, and take "
    "names like Order Completed: https://segment.com/docs/connections/spec/track/#event .",
)
# 6xx: YAML
YAML_TRAP = _rule(
    "SEG601",
    "yaml-trap",
    "warning",
    "YAML reads a word as something else.",
    "YAML 1.1, which dbt reads, takes on, off, yes and no for booleans, 010 for eight and 12:30:00 for 45000. Quote "
    "the word where text is meant; write true or 8 where not.",
)
REPEATED_KEY = _rule(
    "SEG602",
    "repeated-key",
    "error",
    "A key stands twice in one place, and dbt keeps the last.",
    "Remove or rename one of them.",
)

RULES: dict[str, Rule] = dict(_RULES)
"""code → rule, in the order of the codes: reference, --explain and SARIF derive from here"""
