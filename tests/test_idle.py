"""Mappings with nothing to send are compared together: each kind of difference must still be found."""

from __future__ import annotations

import json

import pytest
from standing import ADA, BOB, EVE, MAPPING

NOBODY = (None, "nobody@example.com", "pro")


def was_idle(shop):
    """Return whether the last sync was compared with others, and not staged alone."""
    (result,) = json.loads((shop.dir / "target/segconn/run_results.json").read_text())["results"]
    return result["status"] == "success" and set(result["timing"]) == {"stage"}


@pytest.mark.parametrize(
    "rows",
    [
        (ADA, BOB, EVE),
        (ADA,),
        (ADA, ("c2", "bob@example.com", "pro")),
        (ADA, ("c2", None, "free")),
        (ADA, BOB, BOB),
        (ADA, EVE),
        (ADA, BOB, NOBODY),
        (ADA, ADA),
        (),
    ],
    ids=["added", "deleted", "updated", "null", "repeated", "replaced", "no identifier", "as many rows", "empty"],
)
def test_difference_is_found(shop, rows):
    shop.manifest(MAPPING)
    shop.resync(ADA, BOB)
    shop.resync(BOB, ADA)
    assert was_idle(shop)
    shop.resync(*rows)
    assert not was_idle(shop)


def test_given_up_record_stays_idle(shop, api):
    api.refuses = lambda call: call["userId"] == "c2"
    shop.manifest(MAPPING)
    for _ in range(7):  # the last of them no longer tries it
        shop.resync(ADA, BOB)
        assert not was_idle(shop)
    shop.resync(ADA, BOB)
    assert was_idle(shop)
    shop.resync(ADA, ("c2", "new@example.com", "free"))
    assert not was_idle(shop)


def test_held_back_record_stays_idle(shop):
    shop.columns = ("customer_id", "email", "plan", "ads_ok")
    shop.more_settings = {"consent": {"without_value": "skip"}}
    shop.settings()
    shop.manifest(MAPPING, consent={"Ads": "ads_ok"})
    silent = (*BOB, None)
    shop.resync((*ADA, "true"), silent)
    shop.resync((*ADA, "true"), silent)
    assert was_idle(shop)
    shop.resync((*ADA, "true"), silent, silent)
    assert not was_idle(shop)
    shop.resync((*ADA, "true"), (*BOB, "false"))
    assert not was_idle(shop)


def test_kept_hashes_are_compared(shop):
    shop.manifest({**MAPPING, "changed_columns": True})
    shop.resync(ADA, BOB)
    shop.resync(ADA, BOB)
    assert was_idle(shop)
    shop.resync(ADA, (*BOB[:2], "pro"))
    assert not was_idle(shop)
