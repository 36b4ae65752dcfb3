"""Write the generated parts of the manual and of the package's tour: python tests/write_reference.py"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import dbt_segconn
from dbt_segconn.commands import main
from dbt_segconn.commands.exit_codes import MEANINGS
from dbt_segconn.docs import reference
from dbt_segconn.docs.pages import pages

PACKAGE = Path(dbt_segconn.__file__).parent
TOUR = PACKAGE / "README.md"
_TABLE = re.compile(r"(?<=<!-- generated: modules -->\n).*?(?=<!-- end -->)", re.DOTALL)


def fresh_pages():
    """Yield each page's path, its text and the text that it should have."""
    for page in pages():
        yield PACKAGE / "docs" / page.file, page.text, reference.refreshed(page.text, main, MEANINGS)
    text = TOUR.read_text(encoding="utf-8")
    yield TOUR, text, _TABLE.sub(lambda _: "\n".join(_rows()) + "\n", text)


def _rows():
    """Yield the table of modules, in the order of the import contracts: each imports only what stands above it."""
    yield from ("", "| module | what it is for |", "|---|---|")
    orders = _orders()
    for room in orders["dbt_segconn"]:
        folder = PACKAGE / room
        if not folder.is_dir():
            yield _row(f"`{room}.py`", folder.with_suffix(".py"))
            continue
        yield _row(f"**`{room}/`**", folder / "__init__.py")
        known = orders.get(f"dbt_segconn.{room}", [])
        found = sorted(
            {one.stem for one in folder.glob("*.py")} | {one.parent.name for one in folder.glob("*/__init__.py")}
        )
        for name in sorted(found, key=lambda one: (known.index(one) if one in known else len(known), one)):
            if name not in {"__init__", "__pycache__"}:
                path = folder / name
                is_folder = path.is_dir()
                yield _row(
                    f"… `{name}{'/' if is_folder else '.py'}`",
                    path / "__init__.py" if is_folder else path.with_suffix(".py"),
                )


def _orders():
    """Read the layers of the import contracts, lowest first."""
    contracts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        container: [name.strip() for layer in reversed(one["layers"]) for name in layer.split("|")]
        for one in contracts
        for container in one.get("containers", ())
    }


def _row(name, file):
    purpose = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = purpose.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return f"| {name} | {first} |"


if __name__ == "__main__":
    for path, text, fresh in fresh_pages():
        if text != fresh:
            path.write_text(fresh, encoding="utf-8")
            print(f"Wrote {path.name}.")
