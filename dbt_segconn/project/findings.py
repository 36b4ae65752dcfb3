"""The rules of `validate`, and the findings that break them: rule, position, message and fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from dbt_segconn.errors import ConfigurationError

Severity = Literal["error", "warning"]
KeyPath = tuple[str, ...]
"""Keys and, as text, positions in lists: ("mappings", "0", "fields", "user_id")."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. Its code never changes after a release, because users silence rules by code."""

    code: str
    name: str
    severity: Severity
    title: str
    advice: str

    @property
    def help(self) -> str:
        """The command that shows the finding's section of the manual."""
        return f"dbt-segconn docs {self.code}"


@dataclass(frozen=True, slots=True)
class Group:
    """The rules with the same first digit: title, and page of the manual."""

    title: str
    topic: str


GROUPS = {
    "1": Group("Files", "settings"),
    "2": Group("Keys and values", "mapping-keys"),
    "3": Group("Identifiers and columns", "mappings"),
    "4": Group("Fields", "mappings"),
    "5": Group("Segment's Spec", "fields"),
    "6": Group("YAML", "mappings"),
}
"""first digit of a code → group"""


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a text. Both numbers count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding without a file. `path` is relative to the value that was checked."""

    rule: Rule
    path: KeyPath
    message: str
    fix: str = ""

    def found_in(
        self, file: str, where: Position | None = None, *, resource: str | None = None, mapping: str | None = None
    ) -> Finding:
        """Return the fault as a finding."""
        line, column = (where.line, where.column) if where else (None, None)
        return Finding(self.rule, self.message, self.fix, file, line, column, resource, mapping, self.path)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with its file. `line` and `column` count from 1; they are None if the position is unknown.

    `resource` is the resource type and name, such as `model customers`. `path` is relative to the mapping, if the
    finding has one.
    """

    rule: Rule
    message: str
    fix: str
    file: str
    line: int | None = None
    column: int | None = None
    resource: str | None = None
    mapping: str | None = None
    path: KeyPath = ()

    @property
    def subject(self) -> str:
        """The finding without its file: `model a, mapping b: fields.c: is missing. …`."""
        mapping = f"mapping {self.mapping}" if self.mapping else None
        owner = ", ".join(filter(None, (self.resource, mapping)))
        parts = filter(None, (owner, dotted(self.path), self.message))
        return f"{': '.join(parts)}.{f' {self.fix}' if self.fix else ''}"

    def __str__(self) -> str:
        """Return `file:line: subject`."""
        return f"{self.file}{f':{self.line}' if self.line else ''}: {self.subject}"


def dotted(path: KeyPath) -> str:
    """Join a path with dots: fields.traits.email."@path"."""
    return ".".join(f'"{key}"' if key.startswith("@") else key for key in path)


class InvalidProject(ConfigurationError):  # noqa: N818  the name describes the project
    """The project's files have errors. `findings` lists them; `problems` lists them as texts."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__(map(str, self.findings))


RULES: dict[str, Rule] = {}
"""code → rule, for the manual, --explain and SARIF"""


def _rule(severity: Severity, code_and_name: str, title: str, advice: str) -> Rule:
    code, name = code_and_name.split()
    RULES[code] = Rule(code, name, severity, title, advice)
    return RULES[code]


_error = partial(_rule, "error")
_warning = partial(_rule, "warning")

# 1xx: files
NOT_YAML = _error(
    "SEG101 not-yaml",
    "The file is not valid YAML, or it holds a key twice.",
    'Quote keys that begin with @ and values that begin with {{: "@path": ..., "{{ env_var(\'KEY\') }}".',
)
NO_SETTINGS = _error(
    "SEG102 no-settings",
    "segconn.yml is missing or cannot be read.",
    "Create it beside dbt_project.yml; `dbt-segconn init` writes one.",
)
NOT_RENDERED = _error(
    "SEG103 not-rendered",
    "dbt's Jinja cannot render a value of segconn.yml.",
    "Set the environment variable, or pass the variable with --vars. env_var() and var() also accept a default.",
)
STALE_MANIFEST = _warning(
    "SEG104 stale-manifest",
    "The mappings in the file differ from those in dbt's manifest.",
    "The file has changed since dbt read it. Findings describe the manifest, and their lines may be wrong. Run `dbt "
    "parse` first.",
)
PLAIN_KEY = _warning(
    "SEG105 plain-key",
    "segconn.yml or dbt_project.yml contains a secret as plain text.",
    "Everyone who can read the repository can use it. Write \"{{ env_var('SEGMENT_WRITE_KEY') }}\". If the file was "
    "shared, create a new key or webhook.",
)
NO_PLAN = _error(
    "SEG106 no-plan",
    "The tracking plan of a destination cannot be read.",
    "Name a file or folder in one of the forms that the manual lists, or set `violations: off`.",
)
# 2xx: keys and values
UNKNOWN_KEY = _error(
    "SEG201 unknown-key",
    "The key is unknown.",
    "It is probably misspelled. The message lists the known keys. An unknown key is an error because it would have "
    "no effect.",
)
MISSING_KEY = _error("SEG202 missing-key", "A required key is missing.", "Add the key that the message names.")
WRONG_TYPE = _error(
    "SEG203 wrong-type", "A value has the wrong type.", "Write a value of the type that the message names."
)
WRONG_VALUE = _error(
    "SEG204 wrong-value", "A value is outside its range.", "Write one of the values that the message names."
)
UNKNOWN_ACTION = _error(
    "SEG205 unknown-action",
    "The action does not exist.",
    "Write one of Segment's actions: identify, track, group, page or screen.",
)
NO_DESTINATION = _error(
    "SEG206 no-destination",
    "The mapping does not name a destination of segconn.yml.",
    "Name one in `destination`. If segconn.yml has a single destination, leave the key out.",
)
DISABLED_DESTINATION = _warning(
    "SEG207 disabled-destination",
    "An enabled mapping delivers to a disabled destination.",
    "Nothing is sent, and each run lists the mapping as skipped. Enable the destination, or disable the mapping.",
)
REPEATED_NAME = _error(
    "SEG208 repeated-name",
    "Two mappings of one model have the same name.",
    "Rename one of them. The name identifies the state of a mapping.",
)
NO_TABLE = _error(
    "SEG209 no-table",
    "The model has no table or view to read.",
    "Materialize an ephemeral model as a table or view. If the table is missing in the warehouse, run dbt.",
)
NO_MAPPING = _error(
    "SEG210 no-mapping",
    "An alert names no mapping of the project, or several.",
    "Write model.mapping, or package.model.mapping if two packages have the same name. To include all mappings, "
    "leave `mappings` out.",
)
NO_CONSENT = _error(
    "SEG211 no-consent",
    "segconn.yml requires consent, and the mapping has no consent columns.",
    "Name the column of each consent category in `consent`, on the model or on the mapping. Write `consent: "
    "not_needed` if the calls need none. Segment sends calls without a consent object to all destinations.",
)
DELETED_UNSEEN = _error(
    "SEG212 deleted-unseen",
    "A mapping with a checkpoint cannot send deleted records.",
    "A sync with a checkpoint reads only new rows, so it cannot detect deleted records. Remove `checkpoint`, or "
    "remove `deleted` from `sync_mode`.",
)
NO_ORDER = _error(
    "SEG213 no-order",
    "The type of the column does not fit `checkpoint` or `order_by`.",
    "A checkpoint needs a timestamp or a date with a lag such as `1 hour` or `2 days`, or an integer with a number. "
    "`order_by` accepts every type except JSON and binary.",
)
MISPLACED = _error(
    "SEG214 misplaced",
    "Mappings are in a place where dbt-segconn does not read them.",
    "Move them under config.meta.segconn of a model, seed or snapshot. They are not read beside `meta`, under "
    "columns, sources or exposures, or under another spelling.",
)
DISABLED_MODEL = _warning(
    "SEG215 disabled-model",
    "A model with mappings is disabled in dbt.",
    "Nothing is synced. Enable the model, or remove its mappings.",
)
CONSENT_DROPPED = _error(
    "SEG216 consent-dropped",
    "The model's own `segconn` block drops the consent columns of a folder.",
    "dbt replaces a folder's `segconn` block with the block of the model or of a nearer folder. Repeat `consent` "
    "there, or write `consent: not_needed`. Segment sends calls without a consent object to all destinations.",
)
ORDER_MISSING = _error(
    "SEG217 order-missing",
    "A snapshot is mapped without an order of its versions.",
    "Calls about one user may arrive in any order unless `order_by` names a column. Write `order_by: "
    "dbt_valid_from`, or send the current rows only with `records: current`.",
)
NOT_A_SNAPSHOT = _error(
    "SEG218 not-a-snapshot",
    "The model has `records: current` but is not a snapshot.",
    "Only a snapshot marks its current rows. Filter the rows in the model instead.",
)
PARTITION_FILTER = _error(
    "SEG219 partition-filter",
    "The model's table can only be queried with a filter on its partitions.",
    "A sync reads all rows, to find new, changed and deleted ones. Remove `require_partition_filter` from the model, "
    "or map a model without it that selects the rows to send.",
)
DENIED_COLUMN = _error(
    "SEG220 denied-column",
    "The destination denies a column that the mapping sends.",
    "The column has a label in dbt that `deny` of the destination lists. Remove the column from `fields`, hash it for "
    "an ad network (`$email | hash google email`), or name another destination. With `$*`, list the columns to send.",
)
UNKNOWN_LABEL = _warning(
    "SEG221 unknown-label",
    "A destination denies a label that no column has.",
    "`deny` has no effect then. Correct the label, or label the columns in the YAML of the mapped models. A label is a "
    "key of `meta`, such as `pii`, a key with a value, such as `sensitivity=high`, a tag, or a classifier of dbt 2.",
)
# 3xx: identifiers and columns
NO_IDENTIFIER = _error(
    "SEG301 no-identifier",
    "The model has no unique identifier.",
    "Name the column, or columns, in `unique_identifier`. Alternatively, test one column with both unique and "
    "not_null.",
)
UNTESTED_IDENTIFIER = _warning(
    "SEG302 untested-identifier",
    "The unique identifier is not tested with unique and not_null.",
    "Records with a null or repeated identifier are discarded. Add dbt's tests `unique` and `not_null` to the "
    "column, so that a failed test holds the model back. For several columns, use "
    "dbt_utils.unique_combination_of_columns and one `not_null` each. Constraints of a contract count as tests.",
)
NO_COLUMN = _error(
    "SEG303 no-column",
    "The model has no such column.",
    "Correct the name. Columns are known from the model's contract, from a catalog.json as new as the manifest, or "
    "with --online from the warehouse.",
)
DOUBTFUL_COLUMN = _warning(
    "SEG304 doubtful-column",
    "The model probably has no such column.",
    "An older catalog.json does not list it, or the model's YAML documents a column with nearly the same name. "
    "Correct the name, document the column, or check it with --online.",
)
NO_ID_WHEN_DELETED = _error(
    "SEG305 no-id-when-deleted",
    "A required field has no value for deleted records.",
    "A deleted record keeps only the columns of its unique identifier, and $__segment_id. All other columns are "
    "null, so its call would be discarded or would name another user. Map the field from these columns, or send "
    "deletions with a separate mapping.",
)
SNAPSHOT_KEY = _error(
    "SEG306 snapshot-key",
    "The unique identifier does not fit the rows of a snapshot that the mapping reads.",
    "A snapshot holds a row for each version of an entity. With `records: current`, the identifier must be the "
    "snapshot's unique_key. With all rows, it must be dbt_scd_id: each version is a record. Both are the defaults.",
)
NO_VALUE = _error(
    "SEG307 no-value",
    "A column that the mapping sends has a type without a JSON value.",
    "Select what you need of it in the model, such as a number or a text. With `$*`, list the columns to send in "
    "`fields` instead, or leave the column out of the model.",
)
# 4xx: fields
BROKEN_MAPPING = _error(
    "SEG401 broken-mapping",
    "The fields break the rules of Segment's mapping language, or of the $ shorthand.",
    "Correct the fields. `dbt-segconn docs directives` lists the shorthand and the directives.",
)
UNKNOWN_FIELD = _error(
    "SEG402 unknown-field",
    "The action has no such field and would drop it.",
    "`dbt-segconn fields` lists the fields of each action. Put what you know about a user under traits, and what "
    "you know about an event under properties.",
)
MISSING_FIELD = _error(
    "SEG403 missing-field",
    "A field that every call needs is not mapped.",
    "Every record would be discarded. Map user_id or anonymous_id; for track also event_name, for group also group_id.",
)
RENDERED_AWAY = _error(
    "SEG404 rendered-away",
    "dbt's Jinja rendered a template to nothing before dbt-segconn read it.",
    "Write ${column} instead of {{ column }}, or protect the template with {% raw %}...{% endraw %}.",
)
NEVER_SENT = _error(
    "SEG405 never-sent",
    "A constant makes Segment drop every call.",
    "Segment accepts calls of at most 32 KB, timestamps in ISO-8601 with a time zone, and a messageId of at most "
    "100 characters. It answers 200 to other calls and drops them.",
)
CONSTANT_ID = _error(
    "SEG406 constant-id",
    "An id is the same for all records.",
    "Segment merges all records that share a user id, anonymous id or group id, and this cannot be undone. Write $ "
    "before the name of a column. If you mean a constant, write `constant_ids: allowed` in the mapping.",
)
TOO_MANY_MEMBERS = _error(
    "SEG407 too-many-members",
    "A call has more traits or properties than Segment accepts.",
    "Segment accepts 300 traits or properties in a call. It answers 200 to larger calls and drops them. Map fewer.",
)
# 5xx: Segment's Spec
TRAIT_TYPE = _warning(
    "SEG501 trait-type",
    "A reserved trait or property has another type than Segment's Spec gives it.",
    "Segment and its destinations read reserved names by the Spec. They drop or misread another type: "
    "https://segment.com/docs/connections/spec/identify/#traits .",
)
EVENT_NAME = _warning(
    "SEG502 event-name",
    "The event name is a poor name.",
    "Each name becomes a separate event, and a separate table in warehouses. Put what varies into properties, and "
    "write names like Order Completed: https://segment.com/docs/connections/spec/track/#event .",
)
UNKNOWN_INTEGRATION = _warning(
    "SEG503 unknown-integration",
    "A name in `integrations` is not in the list of Segment's destinations.",
    "Segment ignores a name that it does not know, so `false` would not stop the calls. Copy the name from Segment's "
    "catalog; upper and lower case matter. The list ships with dbt-segconn and may lack a new destination. A function "
    "has its workspace in the name: `My Function (My Workspace)`.",
)
UNPLANNED = _warning(
    "SEG504 unplanned",
    "The tracking plan does not have this event or property.",
    "Segment can block unplanned events and omit unplanned properties. Correct the name, or add it to the plan. A "
    "transformation in Segment may rename it later.",
)
PLAN_VIOLATION = _error(
    "SEG505 plan-violation",
    "The calls of the mapping violate the tracking plan.",
    "Every call violates it, or every call with a value. Correct the mapping or the plan.",
)
# 6xx: YAML
YAML_TRAP = _warning(
    "SEG601 yaml-trap",
    "YAML reads a word as another value.",
    "dbt reads YAML 1.1, in which on, off, yes and no are booleans, 010 is eight and 12:30:00 is 45000. Quote the "
    "word if you mean text; otherwise write true or 8.",
)
REPEATED_KEY = _error(
    "SEG602 repeated-key", "A key appears twice in one place, and dbt keeps the last.", "Remove or rename one of them."
)
