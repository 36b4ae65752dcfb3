"""The page with its data in one file of its own, to publish: without identifiers of records, unless asked for."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from dbt_segconn.web.assets import Assets

ASSETS = Assets("dbt_segconn.web.page", "assets")
# How the page names the files that it loads
_STYLE = re.compile(r'<link rel="stylesheet" href="(\w+\.css)">')
_SCRIPT = re.compile(r'<script src="(\w+\.js)"></script>')


def freeze(snapshot: dict[str, Any], *, identifiers: bool = False) -> str:
    """Return the page with its data, its style and its scripts in one HTML text that loads nothing else.

    Whatever it holds of rows are the identifiers of refused records, and those only with `identifiers`.
    """
    shown = snapshot if identifiers else without_identifiers(snapshot)
    page = _text("index.html")
    styles, scripts = ([_text(name) for name in loaded.findall(page)] for loaded in (_STYLE, _SCRIPT))
    data = f'<script type="application/json" id="data">{_as_json(shown)}</script>'
    inline = "\n".join(f"<script>{script}</script>" for script in scripts)
    page = _STYLE.sub(lambda one: f"<style>{_text(one[1])}</style>", page)
    page = _SCRIPT.sub("", page).replace("<title>", f"{_policy(styles, scripts)}\n<title>")
    return page.replace("</body>", f"{data}\n{inline}\n</body>")


def without_identifiers(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot that names no record: refusals are left with their reasons and counts."""
    return {
        **snapshot,
        "has_identifiers": False,
        "discards": [{**row, "record_id": None} for row in snapshot["discards"]],
        "refused": [],
    }


def _text(name: str) -> str:
    return ASSETS.read(name).decode()


def _as_json(value: Any) -> str:
    """Write JSON that ends no script element, whatever stands in it."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Let the page run its own scripts and style, and nothing else: it can neither load nor send anything."""
    return (
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'\">"
    )


def _digests(texts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{one}'" for one in hashes)
