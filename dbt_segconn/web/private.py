"""Files with calls or identifiers of records, which only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_private(path: Path, *, appends: bool = False) -> BinaryIO:
    """Open a file to write, and close it to all others, also if it was open to them; a log is written unbuffered.

    Raises OSError if the file cannot be opened or stays open to others.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if appends else 0)
    file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "ab" if appends else "wb", 0 if appends else -1)
    mode = os.fstat(file.fileno()).st_mode
    try:
        if stat.S_ISREG(mode) and mode & 0o077:
            path.chmod(stat.S_IMODE(mode) & 0o700)
        if stat.S_ISREG(mode) and not appends:
            file.truncate()
    except OSError:
        file.close()
        raise
    return file
