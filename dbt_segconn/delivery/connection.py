"""A connection to one URL that things are posted to, or asked of: Segment's, or a webhook's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from dbt_segconn.version import __version__

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds without an answer

Authorization = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class Connection:
    """Posts to one URL from one thread, or asks it; follows no redirect and reads no netrc.

    Raises ValueError where a header cannot be sent, and from `post` and `get` OSError, which all errors of
    requests are.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: tuple[float, float] | None = None) -> None:
        self._url = url
        self._timeout = timeout or TIMEOUT
        self._session = requests.Session()
        # Proxies and certificates of the environment, looked up once and not for every request
        self._environment: dict[str, Any] = dict(self._session.merge_environment_settings(url, {}, None, None, None))
        self._session.trust_env = False
        self._session.headers.update({"User-Agent": f"dbt-segconn/{__version__}", **headers})

    def post(self, data: bytes, auth: Authorization | None = None) -> requests.Response:
        """Send one request; `auth` may put its header in."""
        return self._session.post(
            self._url, data=data, auth=auth, timeout=self._timeout, allow_redirects=False, **self._environment
        )

    def get(self) -> requests.Response:
        """Ask, and send nothing."""
        return self._session.get(self._url, timeout=self._timeout, allow_redirects=False, **self._environment)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


@contextmanager
def paths_unlogged() -> Iterator[None]:
    """Keep urllib3, which logs the path of each request for debugging, from logging those that hold secrets."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(_is_no_debugging)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_debugging)


def _is_no_debugging(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
