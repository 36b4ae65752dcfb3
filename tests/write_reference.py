"""Write the generated parts of the manual anew: python tests/write_reference.py"""

from __future__ import annotations

from pathlib import Path

from dbt_segconn.commands import main
from dbt_segconn.commands.exit_codes import MEANINGS
from dbt_segconn.docs import reference
from dbt_segconn.docs.pages import pages


def fresh_pages():
    """Yield each page's file name, its text and the text that it should have."""
    for page in pages():
        yield page.file, page.text, reference.refreshed(page.text, main, MEANINGS)


if __name__ == "__main__":
    for name, text, fresh in fresh_pages():
        if text != fresh:
            (Path(reference.__file__).parent / name).write_text(fresh, encoding="utf-8")
            print(f"Wrote {name}.")
