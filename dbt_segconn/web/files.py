"""Files of the web pages: assets to serve, and private output files."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath
from typing import BinaryIO

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SHARED = ("dbt_segconn.web", "shared")


@dataclass(frozen=True, slots=True)
class Assets:
    """The files in `folder` of `package`, and the files that all pages share. File names are unique."""

    package: str
    folder: str

    def names(self) -> set[str]:
        """Return the names of all files."""
        return {file.name for package, folder in self._folders for file in files(package).joinpath(folder).iterdir()}

    def read(self, name: str) -> bytes:
        """Return the content of the file `name`, which must be one of `names()`."""
        candidates = (files(package).joinpath(folder).joinpath(name) for package, folder in self._folders)
        return next(file.read_bytes() for file in candidates if file.is_file())

    def media_type(self, name: str) -> str:
        """Return the media type of the file `name`."""
        return MEDIA_TYPES[PurePath(name).suffix]

    @property
    def _folders(self) -> tuple[tuple[str, str], ...]:
        return (self.package, self.folder), SHARED


def open_private(path: Path, *, appends: bool = False) -> BinaryIO:
    """Open a file for writing that only its owner can read, for calls or identifiers of records.

    Removes the permissions of other users from an existing file. With `appends`, the file is unbuffered and its
    content is kept. Raises OSError if the file cannot be opened or its permissions cannot be changed.
    """
    # without O_TRUNC: a file that cannot be made private keeps its content
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if appends else 0)
    file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "ab" if appends else "wb", 0 if appends else -1)
    mode = os.fstat(file.fileno()).st_mode
    try:
        # the mode of os.open() applies to new files only; devices and pipes, such as /dev/stdout, keep theirs
        if stat.S_ISREG(mode) and mode & 0o077:
            path.chmod(stat.S_IMODE(mode) & 0o700)
        if stat.S_ISREG(mode) and not appends:
            file.truncate()
    except OSError:
        file.close()
        raise
    return file
