"""Files that commands generate inside the project."""

from __future__ import annotations

from pathlib import Path

from dbt_segconn.commands.terminal.output import say
from dbt_segconn.errors import ConfigurationError


def write_generated(path: Path, text: str) -> None:
    """Write a file that begins with our heading, and print its path.

    Raises ConfigurationError if the file exists and does not begin with the heading: it is the user's.
    """
    heading = text.partition("\n")[0]
    if path.exists() and not path.read_text(encoding="utf-8").startswith(heading):
        raise ConfigurationError(f"{path}: exists, and this command did not write it. Choose another file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    say(f"Wrote {path}.")
