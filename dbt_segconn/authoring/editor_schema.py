"""JSON Schemas of segconn.yml and of dbt's YAML, for editors. They derive from the pydantic models."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from dbt_segconn.actions import ACTIONS, fields_schema
from dbt_segconn.mapping.schema import definitions
from dbt_segconn.project.artifacts import META_KEY
from dbt_segconn.project.meta import MappingMeta, ModelMeta
from dbt_segconn.project.settings import Settings
from dbt_segconn.project.source_positions import RESOURCES

# All editors support this version
DRAFT = "http://json-schema.org/draft-07/schema#"
_REF = "#/definitions/{model}"
# A text with Jinja
_JINJA = {"type": "string", "pattern": r"\{[{%]"}
# Jinja is accepted for the members of these types, not in place of all of them
_TREES = ("object", "array")

FOLDER = ".segconn"
SETTINGS_LINE = f"# yaml-language-server: $schema={FOLDER}/settings.schema.json"
"""First line of segconn.yml: the YAML language server reads the path of the schema from it."""
VS_CODE = f"""With the YAML extension of VS Code, begin segconn.yml with this line:
  {SETTINGS_LINE}
and put this into .vscode/settings.json:
  {{"yaml.schemas": {{"{FOLDER}/models.schema.json": ["models/**/*.yml", "seeds/**/*.yml", "snapshots/**/*.yml"]}}}}"""


def settings_schema() -> dict[str, Any]:
    """Return the schema of segconn.yml."""
    schema = _schema_of(Settings)
    return {"$schema": DRAFT, "title": "segconn.yml", **schema}


def meta_schema() -> dict[str, Any]:
    """Return the schema of `config.meta.segconn`."""
    model, mapping = _schema_of(ModelMeta), _schema_of(MappingMeta)
    known = {**definitions(), **model.pop("definitions", {}), **mapping.pop("definitions", {})}
    fields = {f"{name}_fields": fields_schema(name) for name in ACTIONS}
    mapping["allOf"] = [_fields_of(name) for name in ACTIONS]
    model["properties"]["mappings"]["items"] = {"$ref": "#/definitions/mapping"}
    title = f"config.meta.{META_KEY}"
    return {"$schema": DRAFT, **model, "title": title, "definitions": {**known, **fields, "mapping": mapping}}


def models_schema() -> dict[str, Any]:
    """Return the schema of a dbt YAML file; it accepts all keys of dbt."""
    meta = meta_schema()
    known = meta.pop("definitions")
    del meta["$schema"]
    held = {"properties": {"meta": {"properties": {META_KEY: {"$ref": "#/definitions/segconn"}}}}}
    carrying = {"properties": {**held["properties"], "config": held}}
    # each version of a model may have a meta of its own
    member = {"properties": {**carrying["properties"], "versions": {"items": carrying}}}
    return {
        "$schema": DRAFT,
        "title": "dbt YAML with mappings of dbt-segconn",
        "type": ["object", "null"],  # a YAML file with comments only is null
        "properties": {resource_key: {"items": member} for resource_key in RESOURCES},
        "definitions": {**known, "segconn": meta},
    }


class _Described(GenerateJsonSchema):
    """A generator that adds the docstrings of fields. pydantic would read them at each start of the program."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        found = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        for name, text in _texts_below_fields(model):
            found["properties"][model.model_fields[name].alias or name]["description"] = text
        return found


def _texts_below_fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield each field of the class with its docstring."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    for field, text in pairwise(definition.body if isinstance(definition, ast.ClassDef) else []):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(docstring))):
                yield name, inspect.cleandoc(docstring)


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF, schema_generator=_Described)
    if known := schema.pop("$defs", None):
        schema["definitions"] = {name: _with_jinja(one) for name, one in known.items()}
    return _with_jinja(schema)


def _with_jinja(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that also accepts Jinja for each value: editors see a file before it is rendered."""
    properties = {name: _value(one) for name, one in schema.get("properties", {}).items()}
    return {**schema, **({"properties": properties} if properties else {})}


def _value(schema: Mapping[str, Any]) -> dict[str, Any]:
    shape = {key: value for key, value in schema.items() if key not in {"title", "default", "description", "format"}}
    shape.pop("writeOnly", None)  # of SecretStr: in a file, a key is a text like any other
    about = {key: schema[key] for key in ("description", "default") if key in schema}
    types = [one.get("type") for one in shape.get("anyOf", [shape])]
    if "$ref" in shape or any(name in _TREES for name in types):
        return {**about, **shape}
    return {**about, "anyOf": [shape, _JINJA]}


def _fields_of(action: str) -> dict[str, Any]:
    """Return a condition that applies the schema of `fields` by action."""
    names = [action, f"send{action.capitalize()}"]  # the second is Segment's own name, as in its exports
    return {
        "if": {"properties": {"action": {"enum": names}}, "required": ["action"]},
        "then": {"properties": {"fields": {"$ref": f"#/definitions/{action}_fields"}}},
    }


def write_schemas(project_dir: Path) -> list[Path]:
    """Write the schemas of segconn.yml and of dbt's YAML files into the project; replace existing ones."""
    folder = project_dir / FOLDER
    folder.mkdir(exist_ok=True)
    schemas = {"settings.schema.json": settings_schema(), "models.schema.json": models_schema()}
    for name, schema in schemas.items():
        (folder / name).write_bytes(orjson.dumps(schema, option=orjson.OPT_INDENT_2) + b"\n")
    return [folder / name for name in schemas]
