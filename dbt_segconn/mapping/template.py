"""@template: text with placeholders {{path}} and {{{path}}}."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from dbt_segconn.mapping.javascript import MISSING, WHITE_SPACE, joined, to_text
from dbt_segconn.mapping.path import compile_path

_TRIPLE = re.compile(r"\{\{\{([^}]+)\}\}\}")
_DOUBLE = re.compile(r"\{\{([^}]+)\}\}")


def compile_template(template: str) -> Callable[[Any], str]:
    """Compile a template. As in Segment, the value of a {{{path}}} may itself contain {{path}}."""
    if _TRIPLE.search(template):
        triple = _compile(template, _TRIPLE)
        return lambda payload: _compile(triple(payload), _DOUBLE)(payload)
    return _compile(template, _DOUBLE)


def _compile(template: str, placeholder: re.Pattern[str]) -> Callable[[Any], str]:
    pieces = placeholder.split(template)  # text, path, text, path, …, text
    texts = pieces[::2]
    getters = [compile_path(path.strip(WHITE_SPACE)) for path in pieces[1::2]]
    if not getters:
        return lambda payload: template  # noqa: ARG005  the signature of all evaluators
    first, rest = texts[0], list(zip(getters, texts[1:], strict=True))

    def render(payload: Any) -> str:
        parts = [first]
        for get, text in rest:
            value = get(payload)
            if type(value) is str:
                parts.append(value)
            elif value is not None and value is not MISSING:
                parts.append(to_text(value))
            parts.append(text)
        return joined("".join(parts))

    return render


def paths(template: str) -> Iterator[str]:
    """Yield the paths that a template reads."""
    for placeholder in (_TRIPLE, _DOUBLE):
        for match in placeholder.finditer(template):
            yield match[1].strip(WHITE_SPACE)
