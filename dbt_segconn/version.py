"""The version, which every call names in context.library."""

from __future__ import annotations

__version__ = "0.1.0"
