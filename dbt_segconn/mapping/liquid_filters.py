"""The filters of liquidjs. They follow JavaScript; Shopify's filters follow Ruby.

https://liquidjs.com/filters/overview.html ; liquid.py names the filters that Segment disables.
"""

from __future__ import annotations

import base64
import binascii
import html
import math
import re
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote_plus

from dbt_segconn.errors import EvaluationError
from dbt_segconn.mapping import javascript as js

Filter = Callable[..., Any]

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
_TAGS = re.compile(r"<script[\s\S]*?</script>|<style[\s\S]*?</style>|<.*?>|<!--[\s\S]*?-->")


def text(value: Any) -> str:
    """Return the text of a value as liquidjs prints it: null is empty, items of a list are concatenated."""
    if value is None or value is js.MISSING:
        return ""
    return "".join(map(text, value)) if isinstance(value, (list, range)) else js.to_text(value)


def number(value: Any) -> float:
    """Convert a value to a number; a value without one is 0."""
    return number_or_none(value) or 0


def number_or_none(value: Any) -> float | None:
    """Follow ToNumber; return None for NaN."""
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, (str, list)):
        return js.to_number(js.to_text(value))
    return 0 if value is None else None


def items(value: Any) -> list[Any]:
    """Convert a value to a list: null is an empty list, a single value a list of one item."""
    if value is None or value is js.MISSING:
        return []
    return list(value) if isinstance(value, (list, range)) else [value]


def _tidy(value: float) -> float:
    return js.as_integer(value) if isinstance(value, float) and math.isfinite(value) else value


def _divided_by(value: Any, divisor: Any, whole: Any = False) -> float:  # noqa: FBT002  a positional argument in Liquid
    left, right = number(value), number(divisor)
    if right == 0:
        return math.nan if left == 0 else math.copysign(math.inf, left)
    return math.floor(left / right) if whole else _tidy(left / right)


def _modulo(value: Any, divisor: Any) -> float:
    return math.nan if number(divisor) == 0 else _tidy(math.fmod(number(value), number(divisor)))


def _round(value: Any, digits: Any = 0) -> float:
    """Round half away from zero."""
    scale = 10 ** min(max(int(number(digits)), -300), 300)
    scaled = number(value) * scale
    if not math.isfinite(scaled):
        return number(value)
    return _tidy(math.copysign(math.floor(abs(scaled) + 0.5), scaled) / scale)


def _slice(value: Any, begin: Any, length: Any = 1) -> Any:
    sequence = items(value) if isinstance(value, (list, range)) else js.utf16_units(text(value))
    start = int(number(begin))
    start = max(start + len(sequence), 0) if start < 0 else start
    part = sequence[start : start + max(int(number(length)), 0)]
    return part if isinstance(value, (list, range)) else js.joined("".join(part))


def _split(value: Any, separator: Any) -> list[str]:
    pieces = text(value).split(text(separator)) if text(separator) else js.utf16_units(text(value))
    while pieces and pieces[-1] == "":  # as in Ruby, empty pieces at the end are dropped
        pieces.pop()
    return pieces


def _size(value: Any) -> int:
    if isinstance(value, str):
        return js.utf16_length(value)
    return len(value) if isinstance(value, (list, range)) else 0


def _default(value: Any, other: Any, *, allow_false: Any = False) -> Any:
    if isinstance(value, (str, list)):
        return value or other
    if value is False and allow_false:
        return value
    return other if value is None or value is js.MISSING or value is False else value


def _truncate(value: Any, length: Any = 50, ending: Any = "...") -> str:
    units, end = js.utf16_units(text(value)), text(ending)
    if len(units) <= number(length):
        return text(value)
    return js.joined("".join(units[: max(int(number(length)) - js.utf16_length(end), 0)])) + end


def _truncatewords(value: Any, words: Any = 15, ending: Any = "...") -> str:
    parts = text(value).split()
    if isinstance(words, str) and js.to_number(words) is None:
        return ""
    limit = max(int(number(words)), 1)
    return " ".join(parts[:limit]) + (text(ending) if len(parts) >= limit else "")


def _capitalize(value: Any) -> str:
    word = text(value)
    return word[:1].upper() + word[1:].lower()  # str.capitalize() would use the title case of digraphs such as ǆ


def _where(value: Any, key: Any, expected: Any = js.MISSING) -> list[Any]:
    found = [(one, js.get_property(one, text(key))) for one in items(value)]
    if expected is js.MISSING:
        return [one for one, member in found if member is not None and member is not js.MISSING and member is not False]
    return [one for one, member in found if member == expected and type(member) is type(expected)]


def _sum(value: Any, key: Any = js.MISSING) -> float:
    numbers = items(value) if key is js.MISSING else [js.get_property(one, text(key)) for one in items(value)]
    return _tidy(sum(map(number, numbers)))


def _escape(value: Any) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text(value))


def _base64_decode(value: Any) -> str:
    try:
        return base64.b64decode(text(value), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        raise EvaluationError("invalid base64 provided to base64_decode") from None


def _end(value: Any, at: int) -> Any:
    """Return the first or last item of a list, or UTF-16 unit of a text."""
    sequence = js.utf16_units(value) if isinstance(value, str) else items(value)
    return sequence[at] if sequence and isinstance(value, (str, list, range)) else ""


def _to_integer(value: Any) -> float:
    found = js.to_number(value) if isinstance(value, str) else number(value)
    return math.nan if found is None else found


def _replace_last(value: Any, pattern: Any, other: Any = "") -> str:
    if not text(pattern):  # an empty text is last found at the end
        return text(value) + text(other)
    before, found, after = text(value).rpartition(text(pattern))
    return f"{before}{text(other)}{after}" if found else text(value)


def _slugify(value: Any) -> str:
    return re.sub(r"[\W_]+", "-", text(value)).strip("-").lower()


def _date(value: Any, form: Any = "%A, %B %-e, %Y at %-l:%M %P %z", zone: Any = None) -> Any:
    if isinstance(zone, str):
        raise EvaluationError("date: time zones by name are not supported")
    moment = _moment(value)
    if moment is None:
        return value
    # strftime has no milliseconds, and its %s ignores the time zone of the value
    seconds = str(math.floor(moment.timestamp() + 0.5))
    return moment.strftime(text(form).replace("%s", seconds).replace("%L", f"{moment.microsecond // 1000:03}"))


fixed_now: ContextVar[datetime | None] = ContextVar("fixed_now", default=None)
"""The time of `now` in a unit test"""


def _moment(value: Any) -> datetime | None:
    """Parse a time: seconds since 1970, `now`, or ISO-8601. Without a zone it is UTC."""
    if isinstance(value, str) and value in {"now", "today"}:
        return fixed_now.get() or datetime.now(timezone.utc)
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, timezone.utc)
        if not isinstance(value, str):
            return None
        if re.fullmatch(r"\d+", value, re.ASCII):
            return datetime.fromtimestamp(int(value), timezone.utc)
        if not re.match(r"\d{4}-\d{2}", value):
            return None
        moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))  # Python 3.10 reads no Z
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _date_to_iso(value: Any) -> Any:
    moment = _moment(value)
    return value if moment is None else moment.replace(microsecond=0).isoformat()


FILTERS: dict[str, Filter] = {
    "abs": lambda value: abs(number(value)),
    "append": lambda value, other: text(value) + text(other),
    "at_least": lambda value, other: max(number(value), number(other)),
    "at_most": lambda value, other: min(number(value), number(other)),
    "base64_decode": _base64_decode,
    "base64_encode": lambda value: base64.b64encode(text(value).encode("utf-8", "replace")).decode(),
    "capitalize": _capitalize,
    "ceil": lambda value: math.ceil(number(value)) if math.isfinite(number(value)) else number(value),
    "cgi_escape": lambda value: quote(text(value), safe="", errors="replace").replace("%20", "+"),
    "compact": lambda value: [one for one in items(value) if one is not None and one is not js.MISSING],
    "date": _date,
    "date_to_xmlschema": _date_to_iso,
    "default": _default,
    "divided_by": _divided_by,
    "downcase": lambda value: text(value).lower(),
    "escape": _escape,
    "escape_once": lambda value: _escape(html.unescape(text(value))),
    "first": lambda value: _end(value, 0),
    "floor": lambda value: math.floor(number(value)) if math.isfinite(number(value)) else number(value),
    "inspect": js.stringify,
    "join": lambda value, separator=" ": text(separator).join(map(text, items(value))),
    "json": js.stringify,
    "jsonify": js.stringify,
    "last": lambda value: _end(value, -1),
    "lstrip": lambda value: text(value).lstrip(),
    "minus": lambda value, other: _tidy(number(value) - number(other)),
    "modulo": _modulo,
    "normalize_whitespace": lambda value: re.sub(r"\s+", " ", text(value)),
    "number_of_words": lambda value: len(text(value).split()),
    "plus": lambda value, other: _tidy(number(value) + number(other)),
    "pop": lambda value: items(value)[:-1],
    "prepend": lambda value, other: text(other) + text(value),
    "push": lambda value, other: [*items(value), other],
    "raw": lambda value: value,
    "remove": lambda value, pattern: text(value).replace(text(pattern), "") if text(pattern) else text(value),
    "remove_first": lambda value, pattern: text(value).replace(text(pattern), "", 1),
    "remove_last": _replace_last,
    "replace": lambda value, pattern, other="": text(other).join(
        text(value).split(text(pattern)) if text(pattern) else js.utf16_units(text(value))
    ),
    "replace_first": lambda value, pattern, other="": text(value).replace(text(pattern), text(other), 1),
    "replace_last": _replace_last,
    "round": _round,
    "rstrip": lambda value: text(value).rstrip(),
    "shift": lambda value: items(value)[1:],
    "size": _size,
    "slice": _slice,
    "slugify": _slugify,
    "split": _split,
    "strip": lambda value: text(value).strip(),
    "strip_html": lambda value: _TAGS.sub("", text(value)),
    "strip_newlines": lambda value: re.sub(r"\r?\n", "", text(value)),
    "sum": _sum,
    "times": lambda value, other: _tidy(number(value) * number(other)),
    "to_integer": _to_integer,
    "truncate": _truncate,
    "truncatewords": _truncatewords,
    "unshift": lambda value, other: [other, *items(value)],
    "upcase": lambda value: text(value).upper(),
    # the characters that encodeURI keeps; those of encodeURIComponent below
    "uri_escape": lambda value: quote(text(value), safe="!#$&'()*+,/:;=?@[]-._~", errors="replace"),
    "url_decode": lambda value: unquote_plus(text(value)),
    "url_encode": lambda value: quote(text(value), safe="-_.!~*'()", errors="replace").replace("%20", "+"),
    "where": _where,
    "xml_escape": _escape,
}
"""name → function of a value and the arguments of the filter"""
