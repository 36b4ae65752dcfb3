"""@hash: values as ad networks normalise them, against the hashes that they publish."""

from __future__ import annotations

import hashlib
import re

import pytest

from dbt_segconn.errors import EvaluationError, MappingError
from dbt_segconn.mapping import columns_used, compile_mapping
from dbt_segconn.mapping.compiler import SHORTHAND, expand, without_hashes


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of(rule, value):
    mapping = expand({"x": f"$email | hash {rule}"})
    return compile_mapping(mapping)({"properties": {"email": value}}).get("x")


@pytest.mark.parametrize(
    ("rule", "value", "start"),
    [  # published by Meta and TikTok
        ("meta email", " John_Smith@gmail.com ", "62a14e44f765"),
        ("meta phone", "+1 (650) 555-1212", "e323ec626319"),
        ("meta phone", 16505551212, "e323ec626319"),
        ("meta name", "Mary", "6915771be1c5"),
        ("tiktok phone", "37493828222", "65b7e6dc"),
    ],
)
def test_published_hashes_are_made(rule, value, start):
    assert hash_of(rule, value).startswith(start)


@pytest.mark.parametrize(
    ("rule", "value", "hashed"),
    [
        ("google email", "J.D.Oe@GoogleMail.com", "jdoe@googlemail.com"),
        ("google email", "j.doe@example.com", "j.doe@example.com"),
        ("google phone", "00 49 171 2345678", "+491712345678"),
        ("google name", " Zoë ", "zoë"),
        ("meta name", "O'Neil-Smith", "oneilsmith"),
        ("snap name", "Van Gogh", "vangogh"),
        ("tiktok email", "a b@Example.com", "ab@example.com"),
        ("linkedin email", "A@b.co", "a@b.co"),
    ],
)
def test_values_are_normalised_before(rule, value, hashed):
    assert hash_of(rule, value) == sha(hashed)


@pytest.mark.parametrize("value", [None, "", "  ", "A" * 64, sha("x")])
def test_hashes_and_blanks_stay(value):
    assert hash_of("google email", value) == value


@pytest.mark.parametrize(
    "value",
    ["650 555 1212", "(650) 555-1212", "0171 2345678", "call me", "+1 650", "+44 (0)20 7946 0958", True, {"a": 1}],
)
def test_phone_without_country_is_refused(value):
    with pytest.raises(EvaluationError):
        hash_of("google phone", value)


def test_unknown_rules_are_problems():
    with pytest.raises(MappingError, match=r"must end in a rule of google email, .*, not 'bing email'"):
        expand({"x": "$email | hash bing email"})
    with pytest.raises(MappingError, match="should be one of google email"):
        compile_mapping({"x": {"@hash": {"as": "md5", "value": {"@path": "$.a"}}}})
    with pytest.raises(EvaluationError):  # elements of an array are not checked
        compile_mapping({"x": [{"@hash": {"as": "md5", "value": {"@path": "$.a"}}}]})({"a": "b"})


@pytest.mark.parametrize(
    "text",
    ["${first} ${last} | hash meta name", " $email | hash meta email", "${email} | Hash meta email", "${a}\t|hash x"],
)
def test_hash_of_more_than_a_column_is_refused(text):
    """As a template, the plain value would be sent, with the text `| hash …` after it."""
    with pytest.raises(MappingError, match="only one column"):
        expand({"x": text})
    assert not re.search(SHORTHAND, text)


def test_hash_is_a_word_in_other_texts():
    assert expand({"x": "tags | hash tags", "y": "${a} | hashes"})["x"] == "tags | hash tags"


def test_only_hashed_values_are_left_out():
    hashed = {"@hash": {"as": "meta email", "value": {"@path": "$.properties.email"}}}
    beside = [{**hashed, "x": 1}]  # evaluated as a plain object
    assert columns_used(without_hashes({"a": hashed, "b": {"@path": "$.properties.plan"}})) == {"plan"}
    assert columns_used(without_hashes({"a": beside})) == {"email"}
