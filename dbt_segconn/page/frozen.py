"""The page with its data in one file of its own, to publish: without identifiers of records, unless asked for."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import orjson

_STYLE = '<link rel="stylesheet" href="style.css">'
_SCRIPT = '<script src="script.js"></script>'


def asset(name: str) -> bytes:
    """Return a file of the page."""
    return files("dbt_segconn.page").joinpath("assets").joinpath(name).read_bytes()


def freeze(snapshot: dict[str, Any], *, identifiers: bool = False) -> str:
    """Return the page with its data, its style and its script in one HTML text that loads nothing else.

    Whatever it holds of rows are the identifiers of refused records, and those only with `identifiers`.
    """
    shown = snapshot if identifiers else without_identifiers(snapshot)
    style, script = asset("style.css").decode(), asset("script.js").decode()
    data = f'<script type="application/json" id="data">{_as_json(shown)}</script>'
    page = asset("index.html").decode()
    page = page.replace(_STYLE, f"{_policy(style, script)}\n<style>{style}</style>")
    return page.replace(_SCRIPT, f"{data}\n<script>{script}</script>")


def without_identifiers(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot that names no record: refusals are left with their reasons and counts."""
    return {
        **snapshot,
        "has_identifiers": False,
        "discards": [{**row, "record_id": None} for row in snapshot["discards"]],
        "refused": [],
    }


def _as_json(value: Any) -> str:
    """Write JSON that ends no script element, whatever stands in it."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(style: str, script: str) -> str:
    """Let the page run its own script and style, and nothing else: it can neither load nor send anything."""
    return (
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'\">"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
