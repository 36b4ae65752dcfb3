"""JavaScript's value rules for Python's JSON values. Segment's mapping language depends on them.

Values are None, bool, int, float, str, list, dict, and MISSING for undefined. Two rules differ from JavaScript:
integers above 2^53 stay exact, and objects keep the order of insertion.
https://tc39.es/ecma262/
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final


class _Missing:
    """JavaScript's undefined."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    # Code compares by `is MISSING`: a copy must be the same object
    def __copy__(self) -> _Missing:
        return self

    def __deepcopy__(self, _: object) -> _Missing:
        return self


MISSING: Final = _Missing()

_TYPES: dict[type, str] = {
    _Missing: "undefined",
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

# JavaScript's texts are UTF-16. A cut may split a character into two surrogates; joining texts may unite two
_SURROGATES = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INDEX = re.compile(r"0|[1-9][0-9]*", re.ASCII)
# https://tc39.es/ecma262/#sec-white-space and line terminators
WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000\ufeff"
)
# Python's float() and int() would also accept `1_000`, `nan`, `inf` and digits of other scripts
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RADIX = re.compile(r"0([xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)", re.ASCII)


def type_of(value: Any) -> str:
    """Return the name of a value's type: undefined, null, boolean, number, string, array or object."""
    return _TYPES.get(type(value)) or "object"


def is_truthy(value: Any) -> bool:
    """Follow ToBoolean: objects and arrays are true, even empty ones; NaN is false."""
    if isinstance(value, (dict, list)):
        return True
    return bool(value) and value == value  # noqa: PLR0124  only NaN differs from itself


def equals_empty_text(value: Any) -> bool:
    """Follow `value == ''` for values other than null and undefined."""
    if isinstance(value, (str, list, dict)):
        return to_text(value) == ""
    return bool(value == 0)  # == converts '' to the number 0


def to_text(value: Any) -> str:
    """Follow String(value)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):  # before numbers: a bool is an int in Python
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number_to_text(value)
    if isinstance(value, list):
        return joined(",".join("" if one is None or one is MISSING else to_text(one) for one in value))
    if value is None:
        return "null"
    return "undefined" if value is MISSING else "[object Object]"


def number_to_text(number: float) -> str:
    """Follow Number::toString, except for integers that a double cannot represent: these keep all digits."""
    if isinstance(number, int):
        if -(10**21) < number < 10**21:
            return str(number)
        # JavaScript prints larger numbers with an exponent, which would lose digits of an integer that is no double
        exact = _exact_double(number)
        # str() raises an error for integers of more than 4,300 digits, Decimal does not
        return format(Decimal(number), "f") if exact is None else number_to_text(exact)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    text = repr(number)
    return text if "e" not in text else _exponential(number)


def _exact_double(number: int) -> float | None:
    try:
        double = float(number)
    except OverflowError:
        return None
    return double if int(double) == number else None


def _exponential(number: float) -> str:
    """Format a number that Python prints with an exponent; JavaScript uses one from 1e21 and below 1e-6."""
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent)  # number of digits before the decimal point
    minus = "-" if sign else ""
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
    return f"{minus}{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def to_number(text: str) -> float | None:
    """Follow Number(text); return None for NaN."""
    stripped = text.strip(WHITE_SPACE)
    if not stripped:
        return 0
    if _RADIX.fullmatch(stripped):
        return int(stripped, 0)
    if _DECIMAL.fullmatch(stripped):
        return as_integer(float(stripped))
    return {"Infinity": math.inf, "+Infinity": math.inf, "-Infinity": -math.inf}.get(stripped)


def as_integer(number: float) -> float:
    """Return a whole double as an int, the form that JSON prints; keep -0.0."""
    if number.is_integer() and abs(number) < 1e21 and not (number == 0 and math.copysign(1, number) < 0):
        return int(number)
    return number


def utf16_length(text: str) -> int:
    """Count UTF-16 units, as `length` does."""
    return len(text) if text.isascii() else sum(2 if character > "\uffff" else 1 for character in text)


def utf16_units(text: str) -> list[str]:
    """Split a text into its UTF-16 units; each half of a pair is a lone surrogate."""
    if text.isascii():
        return list(text)
    data = text.encode("utf-16-le", "surrogatepass")
    return [data[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(data), 2)]


def joined(text: str) -> str:
    """Replace every pair of adjacent surrogates by its character."""
    if _LONE_SURROGATE.search(text) is None:
        return text
    return _SURROGATES.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)


def get_property(value: Any, key: str) -> Any:
    """Follow `value[key]`, without properties of JavaScript's prototypes."""
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if isinstance(value, list):
        return _at(value, key)
    if isinstance(value, str):
        return _at(utf16_units(value), key) if key == "length" or _INDEX.fullmatch(key) else MISSING
    return MISSING


def _at(sequence: list[Any], key: str) -> Any:
    if key == "length":
        return len(sequence)
    # int() raises above 4,300 digits
    if _INDEX.fullmatch(key) and len(key) < 10 and int(key) < len(sequence):
        return sequence[int(key)]
    return MISSING


def replace(text: str, pattern: str, replacement: str, *, every: bool, ignore_case: bool) -> str:
    """Follow text.replace(RegExp, replacement) for a pattern without special characters."""
    haystack, needle = (fold(text), fold(pattern)) if ignore_case else (text, pattern)
    parts: list[str] = []
    done = 0
    while (at := haystack.find(needle, done)) >= 0:
        end = at + len(pattern)
        parts += [text[done:at], expand(replacement, text, at, end)]
        done = end
        if not every:
            break
    return joined("".join((*parts, text[done:])))


def fold(text: str) -> str:
    """Fold case like a regular expression with the i flag and without the u flag.

    https://tc39.es/ecma262/#sec-runtime-semantics-canonicalize-ch
    """
    return "".join(map(_canonical, text))


def _canonical(character: str) -> str:
    upper = character.upper()
    # the specification folds no character to several UTF-16 units (ß → SS), and none into ASCII (long s → S)
    if len(upper) != 1 or character > "\uffff" or (character >= "\x80" and upper < "\x80"):
        return character
    return upper


_SUBSTITUTION = re.compile(r"\$([$&`'])")


def expand(replacement: str, text: str, start: int, end: int) -> str:
    """Expand a replacement string: $$, $&, $` and $'. The pattern has no groups: $1 is text.

    https://tc39.es/ecma262/#sec-getsubstitution
    """
    if "$" not in replacement:
        return replacement
    values: dict[str, Callable[[], str]] = {
        "$": lambda: "$",
        "&": lambda: text[start:end],
        "`": lambda: text[:start],
        "'": lambda: text[end:],
    }
    return _SUBSTITUTION.sub(lambda match: values[match[1]](), replacement)


def stringify(value: Any) -> Any:
    """Follow JSON.stringify(value): compact, with keys in JavaScript's order. Return MISSING for undefined."""
    return MISSING if value is MISSING else _as_json(value)


def _as_json(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        keys = (key for key in ordered_keys(value) if value[key] is not MISSING)
        return "{" + ",".join(f"{_quoted(key)}:{_as_json(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    # JSON.stringify writes NaN and infinities as null, and undefined, too, if it is in an array
    if value is None or value is MISSING or (isinstance(value, float) and not math.isfinite(value)):
        return "null"
    return to_text(value)


def _quoted(text: str) -> str:
    # UTF-8 has no lone surrogates: JSON.stringify escapes them since ES2019
    quoted = json.dumps(text, ensure_ascii=False)
    return _LONE_SURROGATE.sub(lambda lone: f"\\u{ord(lone[0]):04x}", quoted)


def ordered_keys(value: dict[str, Any]) -> list[str]:
    """Return keys in JavaScript's order: array indexes first, by number, then the others as inserted."""
    # https://tc39.es/ecma262/#array-index
    # int() raises above 4,300 digits
    indexes = [key for key in value if len(key) <= 10 and _INDEX.fullmatch(key) and int(key) < 2**32 - 1]
    if not indexes:
        return list(value)
    chosen = set(indexes)
    return [*sorted(indexes, key=int), *(key for key in value if key not in chosen)]


def parse(text: str) -> Any:
    """Follow JSON.parse(text) with exact integers; raise ValueError if the text is not JSON, such as NaN."""
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _integer(digits: str) -> float:
    if digits == "-0":  # an int has no sign at zero
        return -0.0
    return int(digits) if len(digits) < 4000 else float(digits)  # int() raises above 4,300 digits


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def assign(objects: list[Any]) -> dict[str, Any]:
    """Follow Object.assign({}, ...objects): texts and arrays add their indexes, other values add nothing."""
    merged: dict[str, Any] = {}
    for one in objects:
        if isinstance(one, dict):
            merged.update(one)
        elif isinstance(one, (list, str)):
            items = utf16_units(one) if isinstance(one, str) else one
            merged.update({str(index): item for index, item in enumerate(items)})
    return merged


# In JavaScript, assigning this key changes the prototype and adds no key
PROTOTYPE = "__proto__"


def cleaned(value: Any) -> Any:
    """Remove undefined from objects; replace it by null in arrays, as in JSON."""
    if isinstance(value, dict):
        return {
            key: cleaned(one) if type(one) in _CONTAINERS else one
            for key, one in value.items()
            if one is not MISSING and key != PROTOTYPE
        }
    if isinstance(value, list):
        return [None if one is MISSING else cleaned(one) if type(one) in _CONTAINERS else one for one in value]
    return value


_CONTAINERS = frozenset({dict, list})
