"""Terraform files (HCL): resources with their attributes, as plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dbt_segconn.errors import ConfigurationError

_CALL = re.compile(r"\$\{\s*jsonencode\((.*)\)\s*\}", re.DOTALL)


def read_resources(path: Path, text: str, *types: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the resources of these types, in the order of the types: type, label, attributes.

    Raises ConfigurationError if the file is not valid HCL, or the parser is not installed.
    """
    try:
        import hcl2
    except ModuleNotFoundError:
        raise ConfigurationError(
            "Terraform files require a parser that is not installed: pip install 'dbt-segconn[terraform]'"
        ) from None
    from lark.exceptions import LarkError

    try:
        for block in _plain(hcl2.loads(text)).get("resource", ()):
            for resource_type in types:
                for label, attributes in block.get(resource_type, {}).items():
                    yield resource_type, label, attributes
    except (LarkError, ValueError, AttributeError):  # AttributeError: valid HCL in which a resource is not a block
        raise ConfigurationError(f"{path}: is not valid HCL.") from None


def jsonencoded(text: str) -> Any:
    """Return the argument of jsonencode(), which the HCL parser returns as text. Raises ValueError for other text."""
    import hcl2

    # The argument is HCL, whose keys may be without quotes, so it is not read as JSON
    call = _CALL.fullmatch(text)
    return _plain(hcl2.loads(f"value = {call[1]}\n"))["value"] if call else json.loads(text)


def _plain(value: Any) -> Any:
    """Remove the parser's quotes from texts and keys; replace HCL's escape `$${` by `${`."""
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return str(json.loads(value)).replace("$${", "${").replace("%%{", "%{")
    return value
