"""Tests on random inputs: some hundred in the suite, as many as fit into FUZZ_SECONDS where that is set.

    FUZZ_SECONDS=3600 python -m pytest -n 0 --no-cov -s tests/mapping/test_language.py -k fuzzed

`-s` shows how many inputs there were. A failure prints its input and the seed of its round: FUZZ_SEED=<seed> begins
with that round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
FIRST_SEED = int(os.environ.get("FUZZ_SEED", "1"))
ROUND = 500  # inputs of one seed


def fuzz(*strategies: SearchStrategy[Any], examples: int, shrinks: bool = True) -> Callable[[Any], Any]:
    """Run a test on random values of these strategies, which are its last parameters.

    Without `shrinks`, a failure shows its first input: for tests that take seconds for each input.
    """

    def decorate(test: Any) -> Any:
        tried = 0

        @wraps(test)
        def counted(*arguments: Any, **named: Any) -> None:
            nonlocal tried
            tried += 1
            test(*arguments, **named)

        drawing = settings(
            max_examples=ROUND if SECONDS else examples,
            deadline=None,
            database=None,
            derandomize=not SECONDS,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(*strategies)(counted))
        drawing = pytest.mark.filterwarnings("ignore:Generating overly large repr")(drawing)
        if not SECONDS:
            return drawing

        @pytest.mark.timeout(2 * SECONDS + 3600)
        @wraps(drawing)
        def repeated(*arguments: Any, **named: Any) -> None:
            began, number = time.monotonic(), FIRST_SEED
            while time.monotonic() - began < SECONDS:
                try:
                    seed(number)(drawing)(*arguments, **named)
                except BaseException:
                    print(f"\n{test.__name__}: fails in the round of FUZZ_SEED={number}, after {tried} inputs")
                    raise
                number += 1
            seconds = time.monotonic() - began
            print(f"\n{test.__name__}: {tried} inputs in {seconds:.0f} s, seeds {FIRST_SEED} to {number - 1}")

        return repeated

    return decorate
