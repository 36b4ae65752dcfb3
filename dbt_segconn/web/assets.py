"""The files that a page loads: its own, and those that all pages share."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SHARED = ("dbt_segconn.web", "shared")


@dataclass(frozen=True, slots=True)
class Assets:
    """The files in `folder` of `package` and the shared ones, by name. No two of them have the same name."""

    package: str
    folder: str

    def names(self) -> set[str]:
        """Return the names of all files."""
        return {one.name for package, folder in self._places for one in files(package).joinpath(folder).iterdir()}

    def read(self, name: str) -> bytes:
        """Return the content of the file with one of these names."""
        found = (files(package).joinpath(folder).joinpath(name) for package, folder in self._places)
        return next(one.read_bytes() for one in found if one.is_file())

    def media_type(self, name: str) -> str:
        """Return the media type of a file."""
        return MEDIA_TYPES[PurePath(name).suffix]

    @property
    def _places(self) -> tuple[tuple[str, str], ...]:
        return (self.package, self.folder), SHARED
