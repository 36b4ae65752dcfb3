"""The page of syncs with its data as one HTML file to publish, without identifiers of records by default."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from dbt_segconn.web.files import Assets

ASSETS = Assets("dbt_segconn.web.page", "assets")
_STYLE = re.compile(r'<link rel="stylesheet" href="(\w+\.css)">')
_SCRIPT = re.compile(r'<script type="module" src="(\w+\.js)"></script>')
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def freeze(snapshot: dict[str, Any], *, identifiers: bool = False) -> str:
    """Return the page with its data, styles and scripts as one HTML text that loads nothing else.

    The data has no values of rows, except identifiers of discarded records with `identifiers`.
    """
    shown = snapshot if identifiers else without_identifiers(snapshot)
    page = _text("index.html")
    styles = [_text(name) for name in _STYLE.findall(page)]
    script = _bundle(_SCRIPT.findall(page)[0])
    data = f'<script type="application/json" id="data">{_as_json(shown)}</script>'
    page = _STYLE.sub(lambda one: f"<style>{_text(one[1])}</style>", page)
    page = _SCRIPT.sub("", page).replace("<title>", f"{_policy(styles, [script])}\n<title>")
    return page.replace("</body>", f'{data}\n<script type="module">{script}</script>\n</body>')


def without_identifiers(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Return a snapshot without identifiers of records. Reasons and counts of discards remain."""
    return {
        **snapshot,
        "has_identifiers": False,
        "discards": [{**row, "record_id": None} for row in snapshot["discards"]],
        "discarded_records": [],
    }


def _bundle(entry: str) -> str:
    """Return a module and the modules that it imports as one script.

    All modules share one scope: their top-level names must be unique, and `import` must not rename.
    """
    names: dict[str, None] = {}

    def add(name: str) -> None:
        for imported in _IMPORT.findall(_text(name)):
            if imported not in names:
                add(imported)
        names[name] = None

    add(entry)
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in names)


def _text(name: str) -> str:
    return ASSETS.read(name).decode()


def _as_json(value: Any) -> str:
    """Write JSON that cannot close a script element."""
    text = orjson.dumps(value).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return a Content-Security-Policy that allows only these styles and scripts, and no requests."""
    return (
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'\">"
    )


def _digests(texts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{one}'" for one in hashes)
