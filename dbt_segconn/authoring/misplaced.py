"""Mistakes outside of mappings: `segconn` keys in places that are not read, and secrets in plain text."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from dbt_segconn.project.artifacts import META_KEY, TABLES, Manifest
from dbt_segconn.project.findings import DISABLED_MODEL, MISPLACED, PLAIN_KEY, STALE_MANIFEST, Fault, Finding, KeyPath
from dbt_segconn.project.settings import FILE_NAME, findings_in_settings
from dbt_segconn.project.source_positions import RESOURCES, Files, SourcePositions, key_in_sql
from dbt_segconn.project.yaml_file import PROJECT_FILE, YAML_SUFFIXES, Node, entries, get, position, text_at

# dbt's other resources: they are not synced
_OTHERS = ("sources", "exposures", "metrics", "semantic_models", "saved_queries", "analyses", "macros", "groups")
# Folders without source files, besides hidden ones
_SKIPPED = frozenset({"target", "dbt_packages", "dbt_modules", "logs", "node_modules", "venv", "env", "site-packages"})
# segcon, segconnn and sgconn have a higher ratio to segconn
_NEAR = 0.84
# Only such files are parsed: PyYAML takes far longer than this search
_MENTION = re.compile(rf"{META_KEY}|mappings|unique_identifier")
# Without one of these keys below it, a similar name is not a misspelt `segconn`
_KEYS_OF_META = frozenset({"mappings", "unique_identifier", "consent", "timezone"})

_SECRETS = (("write_key",), ("oauth", "private_key"))
# A literal in Jinja is plain text, too
_LITERAL = re.compile(r"""\{\{-?\s*('[^']*'|"[^"]*")\s*-?\}\}""")
_JINJA = re.compile(r"\{\{.*?\}\}")
_VAR = re.compile(r"""\bvar\(\s*['"](\w+)['"]""")
# Signs of a secret in a webhook URL: Slack's path, credentials, a long random text, a UUID
_TOKEN = re.compile(
    r"hooks\.slack\.com/services/\w|^\w+://[^/]*@"
    r"|(?<=[/=])(?=\w*\d)(?=\w*[A-Za-z])\w{16,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}"
)


def misplaced(project_dir: Path, manifest: Manifest) -> Iterator[Finding]:
    """Yield every block of mappings that is not read, in the YAML of the project and in dbt's manifest."""
    files = Files(project_dir)
    seen: set[str] = set()
    for file in _yaml_files(project_dir, files):
        found = [*_file_findings(files.node(file), file, manifest)]
        seen.update(one.resource for one in found if one.resource)
        yield from found
    # the same mistake in YAML and in the manifest is one finding, with the line in the YAML
    yield from (one for one in _manifest_findings(manifest, files) if one.resource not in seen)
    for resource_key in RESOURCES:
        yield from _folder_findings(get(files.node(PROJECT_FILE), resource_key), resource_key)


def _yaml_files(root: Path, files: Files) -> Iterator[str]:
    """Yield the YAML files that may contain mappings, relative to the project.

    It does not stop at model-paths: dbt reads no file of another folder, so its mappings would be missing silently.
    """
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if one not in _SKIPPED and not one.startswith("."))
        for name in sorted(names):
            file = Path(folder, name).relative_to(root).as_posix()
            if file.endswith(YAML_SUFFIXES) and _MENTION.search(files.text(file)):
                yield file


def _file_findings(node: Node | None, file: str, manifest: Manifest) -> Iterator[Finding]:
    for resource_key in RESOURCES:
        for model in _listed(node, resource_key):
            resource = f"{resource_key[:-1]} {_name(model)}"
            for key_node, fault in (*_model_faults(model), *_unparsed(model, resource_key, manifest)):
                yield _finding(fault, file, key_node, resource)
    for resource_key in _OTHERS:  # dbt accepts any meta there, so nothing else would report it
        for one in _listed(node, resource_key):
            for key_node, value in _find_below(one):
                if get(value, "mapping") is None:  # `exposures` writes a description of a mapping, not a mapping
                    reason = f"{META_KEY} under {resource_key} is not read: these are not synced"
                    fault = Fault(MISPLACED, (), reason, "Move it to config.meta of a model, seed or snapshot.")
                    yield _finding(fault, file, key_node, f"{resource_key} {_name(one)}")


def _listed(node: Node | None, resource_key: str) -> Iterator[Node]:
    """Yield the resources under a key; in dbt_project.yml, the same key has folders, not a list."""
    listed = get(node, resource_key)
    if isinstance(listed, yaml.SequenceNode):
        yield from listed.value


def _model_faults(model: Node) -> Iterator[tuple[Node, Fault]]:
    """Yield faults for misspelt and misplaced keys of a model, its versions and columns."""
    yield from _key_faults(model)
    for _, _, version in entries(get(model, "versions")):
        yield from _model_faults(version)
    for _, _, column in entries(get(model, "columns")):
        for key_node, _value in _find_below(column):
            reason = f"{META_KEY} under the column {_name(column)} is not read"
            yield key_node, Fault(MISPLACED, (), reason, "Move it to config.meta of the model.")


def _key_faults(model: Node) -> Iterator[tuple[Node, Fault]]:
    for holder in ((), ("config",), ("meta",), ("config", "meta")):
        for key, key_node, value in entries(get(model, *holder)):
            if key == META_KEY and holder[-1:] != ("meta",):
                reason = f"{META_KEY} {'under config' if holder else 'next to the name'} is not read"
                fix = f"Move it to config.meta: config: {{meta: {{{META_KEY}: …}}}}."
                yield key_node, Fault(MISPLACED, (), reason, fix)
            elif key != META_KEY and _is_misspelt(key, value):
                fix = f"Did you mean {META_KEY!r}? Write it under config.meta."
                yield key_node, Fault(MISPLACED, (), f"{key!r} is not read", fix)


def _is_misspelt(key: str, value: Node) -> bool:
    """Return whether a key is a misspelt `segconn` with mappings."""
    plain = key.casefold().lstrip("+").replace("dbt", "").replace("_", "").replace("-", "")
    is_alike = plain == META_KEY or difflib.SequenceMatcher(None, plain, META_KEY).ratio() > _NEAR
    return is_alike and any(name in _KEYS_OF_META for name, _, _ in entries(value))


def _find_below(node: Node) -> Iterator[tuple[Node, Node]]:
    """Yield every `segconn` below a node: its key and its value."""
    for key, key_node, value in entries(node):
        # an item of a list is its own key
        if key_node is not value and (key == META_KEY or _is_misspelt(key, value)):
            yield key_node, value
        else:
            yield from _find_below(value)


def _unparsed(model: Node, resource_key: str, manifest: Manifest) -> Iterator[tuple[Node, Fault]]:
    """Yield a fault if dbt's manifest does not have the mappings of a model, or not the model."""
    holders = (get(model, "config", "meta"), get(model, "meta"))
    written = [key_node for holder in holders for key, key_node, _ in entries(holder) if key == META_KEY]
    if not written:
        return
    name = _name(model)
    nodes = (*manifest.raw["nodes"].values(), *manifest.disabled())
    own = [node for node in nodes if (node.get("resource_type"), node.get("name")) == (resource_key[:-1], name)]
    # a disabled model has another finding
    fine = {one.unique_id for one in manifest.models} | {node["unique_id"] for node in manifest.disabled()}
    if not any(node["unique_id"] in fine for node in own):
        reason = f"dbt's manifest {'has none of these mappings' if own else f'has no {resource_key[:-1]} of this name'}"
        fix = "Run `dbt parse`." if own else "Fix the name, or run `dbt parse`."
        yield written[0], Fault(STALE_MANIFEST, (), reason, fix)


def _manifest_findings(manifest: Manifest, files: Files) -> Iterator[Finding]:
    for unique_id, node in manifest.raw["nodes"].items():
        # dbt 1 accepts any key in config(); dbt 2 does not
        if node["resource_type"] in TABLES and META_KEY in (node.get("config") or {}):
            model = manifest.model(unique_id)
            fix = f"Write config(meta={{'{META_KEY}': …}})."
            fault = Fault(MISPLACED, (), f"{META_KEY} in config() is not read", fix)
            where = key_in_sql(files.text(model.sql_file))
            yield fault.found_in(model.sql_file, where, resource=f"{model.resource_type} {model.name}")
    for model in manifest.disabled_models():
        fault = Fault(DISABLED_MODEL, (), "the model is disabled, so that its mappings are not synced", "Enable it.")
        yield SourcePositions(model, files).finding(fault)


def _folder_findings(node: Node | None, resource_key: str, *, is_meta: bool = False) -> Iterator[Finding]:
    """Yield findings for `segconn` of folders in dbt_project.yml that is outside `+meta` or misspelt."""
    for key, key_node, value in entries(node):
        if is_meta and key == META_KEY:
            continue
        if _is_misspelt(key, value):
            fault = Fault(MISPLACED, (), f"{key!r} is not read", f"Write +meta: {{{META_KEY}: …}}.")
            yield _finding(fault, PROJECT_FILE, key_node, resource_key)
        else:
            yield from _folder_findings(value, resource_key, is_meta=key in {"meta", "+meta"})


def _finding(fault: Fault, file: str, key_node: Node, resource: str) -> Finding:
    return fault.found_in(file, position(key_node, ()), resource=resource)


def _name(resource: Node) -> str:
    return text_at(resource, "name") or "?"


def plain_secrets(project_dir: Path) -> Iterator[Finding]:
    """Yield a finding for each secret that Jinja does not read from the environment; never its value."""
    files = Files(project_dir)
    secrets = dict(_secrets(files.node(FILE_NAME)))
    yield from findings_in_settings(
        project_dir, (_secret_fault(path) for path, text in secrets.items() if _is_plain(text))
    )
    project = files.node(PROJECT_FILE)
    # a secret in `vars` of dbt_project.yml is plain text, too
    for path, text in secrets.items():
        for name in _VAR.findall(text):
            yield from _var_findings(project, name, path)


def _secrets(settings: Node | None) -> Iterator[tuple[KeyPath, str]]:
    """Yield each secret of segconn.yml as written. Skip webhook URLs without a sign of a secret."""
    for name, _, destination in entries(get(settings, "destinations")):
        for path in _SECRETS:
            if (text := text_at(destination, *path)) is not None:
                yield ("destinations", name, *path), text
    for at, _, alert in entries(get(settings, "alerts")):
        text = text_at(alert, "url")
        if text is not None and (_VAR.search(text) or _TOKEN.search(_without_jinja(text))):
            yield ("alerts", at, "url"), text
        if (text := text_at(alert, "routing_key")) is not None:
            yield ("alerts", at, "routing_key"), text
        for name, _, value in entries(get(alert, "headers")):
            yield ("alerts", at, "headers", name), text_at(value) or ""


def _var_findings(project: Node | None, name: str, secret: KeyPath) -> Iterator[Finding]:
    """Yield findings for the values of a variable in a secret: under `vars`, or under `vars` of the package."""
    package = text_at(project, "name") or ""
    for path in (("vars", name), ("vars", package, name)):
        value = text_at(project, *path) or ""
        is_secret = value and "{{" not in value and (secret[-1] != "url" or _TOKEN.search(value))
        if project is not None and is_secret:
            fault = _secret_fault(secret)
            message = f"{fault.message}, and {'.'.join(secret)} of {FILE_NAME} reads it"
            yield replace(fault, path=path, message=message).found_in(PROJECT_FILE, position(project, path))


def _secret_fault(path: KeyPath) -> Fault:
    key = path[-1]
    prefix = "ALERT" if path[0] == "alerts" else "SEGMENT"
    name = "SLACK_WEBHOOK" if key == "url" else re.sub(r"\W", "_", f"{prefix}_{key}".upper())
    fix = f"Read it from the environment: {key}: \"{{{{ env_var('{name}') }}}}\"."
    return Fault(PLAIN_KEY, path, "is written as plain text", fix)


def _is_plain(text: str) -> bool:
    """Return whether a text has no Jinja, or has a token outside its Jinja."""
    outside = _without_jinja(text)
    return bool(text.strip()) and ("{{" not in _LITERAL.sub("text", text) or bool(_TOKEN.search(outside)))


def _without_jinja(text: str) -> str:
    return _JINJA.sub("", _LITERAL.sub(lambda found: found[1][1:-1], text))
