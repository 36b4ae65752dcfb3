"""@hash: the SHA-256 of a value as an ad network normalises it, so that it equals the hash that the network has.

- https://developers.google.com/doubleclick-advertisers/guides/conversions_ec
- https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters
- https://ads.tiktok.com/help/article/list-of-supported-ids-and-formats-for-a-customer-file
- https://developers.snap.com/api/marketing-api/Conversions-API/Parameters
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from dbt_segconn.errors import EvaluationError
from dbt_segconn.mapping import javascript as js
from dbt_segconn.mapping.javascript import MISSING

_HASHED = re.compile(r"[0-9a-fA-F]{64}")
# "(0)" is dialled at home only: in +44 (0)20 7946 0958, it is not part of the number with country code
_PHONE = re.compile(r"(?P<prefix>\+|00)?(?!.*\(0\))[-0-9 ().\u00a0/]+")
# https://www.itu.int/rec/T-REC-E.164 : digits with the country code, which never begins with 0
_E164 = re.compile(r"[1-9][0-9]{6,14}")
_GMAIL = frozenset({"gmail.com", "googlemail.com"})


def _lower(text: str) -> str:
    return text.strip().lower()


def _without_spaces(text: str) -> str:
    return "".join(text.lower().split())


def _without_punctuation(text: str) -> str:
    return "".join(one for one in _lower(text) if not unicodedata.category(one).startswith("P"))


def _google_email(text: str) -> str:
    user, at, domain = _lower(text).rpartition("@")
    return f"{user.replace('.', '') if domain in _GMAIL else user}{at}{domain}"


def _phone(text: str) -> str:
    """Return the digits of a phone number. Without a country code, they would be the hash of another number."""
    number = text.strip()
    found = _PHONE.fullmatch(number)
    digits = re.sub(r"[^0-9]", "", number.removeprefix("00")) if found else ""
    has_code = found and (found["prefix"] or number.isdigit())
    if not has_code or not _E164.fullmatch(digits):
        raise EvaluationError("@hash: a phone number must have its country code and no (0), such as +1 650 555 1212")
    return digits


RULES: Mapping[str, Callable[[str], str]] = {
    "google email": _google_email,
    "google phone": lambda text: f"+{_phone(text)}",
    "google name": _lower,
    "meta email": _lower,
    "meta phone": _phone,
    "meta name": _without_punctuation,
    "tiktok email": _without_spaces,
    "tiktok phone": _phone,
    "snap email": _lower,
    "snap phone": _phone,
    "snap name": _without_spaces,
    "linkedin email": _lower,
}
"""network and kind of value → the normalised value, which is hashed"""


def hashed(value: Any, normalise: Callable[[str], str]) -> Any:
    """Return the hash of a text or number. Blanks, null and what is hashed already stay as they are."""
    text = js.to_text(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if text is None or text is MISSING:
        return text
    if not isinstance(text, str):
        raise EvaluationError(f"@hash: expected string, got {js.type_of(text)}")
    if not text.strip() or _HASHED.fullmatch(text.strip()):
        return text
    try:
        return hashlib.sha256(normalise(text).encode()).hexdigest()
    except UnicodeEncodeError:
        raise EvaluationError("@hash: the text is not valid Unicode") from None
