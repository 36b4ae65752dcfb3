"""Artifacts of a job in the dbt platform (dbt Cloud), by its Administrative API v2.

https://docs.getdbt.com/dbt-cloud/api-v2. A run of a job has several steps, such as `dbt deps`, `dbt build` and
`dbt docs generate`. Without the number of a step, the API returns the artifacts of the last one. So each step that
builds or tests is read by its number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import requests

from dbt_segconn.errors import ConfigurationError, printable
from dbt_segconn.project.artifacts import MANIFEST_FILE
from dbt_segconn.project.run_results import BUILDING_OR_TESTING, RESULTS_FILE

TOKEN = "DBT_CLOUD_API_TOKEN"  # noqa: S105  the name of an environment variable
# Statuses of a run: https://docs.getdbt.com/dbt-cloud/api-v2#/operations/Retrieve%20Run
FINISHED = {10: "success", 20: "error", 30: "cancelled"}
PAGE = 100  # the most runs that the API lists at once
POLL_SECONDS = 10.0
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
ATTEMPTS = 5
# The API answers 429 after 5,000 requests of an account in a minute
RETRIED = {429, 500, 502, 503, 504}
CHUNK = 1 << 20
# Names of steps are such as: Invoke dbt with `dbt build --select tag:crm`
_COMMAND = re.compile(r"`dbt\s+(?:-\S+\s+)*([a-z]+)")


@dataclass(frozen=True, slots=True)
class DbtPlatform:
    """One account of the dbt platform. `host` is its access URL, such as `ab123.us1.dbt.com`.

    Find both in the account settings. The token needs the permission to read jobs and runs.
    """

    account: int
    token: str = field(repr=False)
    host: str

    def latest_run(self, job: int) -> int:
        """Return the id of the job's newest finished run. Raise ConfigurationError if there is none."""
        for run in self._runs(job):
            if run.get("status") in FINISHED:
                return int(run["id"])
        raise ConfigurationError(f"job {job} of the dbt platform has no finished run. Start the job, or check its id.")

    def fetch(self, run: int, folder: Path) -> tuple[Path, ...]:
        """Wait until a run has ended. Write the artifacts of its steps; return the files of results, oldest first.

        A run that retries another one has the results of the failed nodes only: the other's results come first.
        Raise ConfigurationError if the run has no results, or if its artifacts have expired.
        """
        # A run that failed has artifacts, too, and its failed models are held back
        details = self._wait(run)
        earlier = details.get("retrying_run_id")
        files = self.fetch(int(earlier), folder) if earlier else ()
        steps = [(int(one["index"]), str(one.get("name"))) for one in details.get("run_steps") or ()]
        read = [(index, name) for index, name in sorted(steps) if _command_of(name) in BUILDING_OR_TESTING]
        files += tuple(filter(None, (self._step(run, index, folder) for index, _ in read)))
        if not files:
            names = ", ".join(printable(name) for _, name in steps) or "none"
            raise ConfigurationError(
                f"run {run} of the dbt platform ended with {FINISHED[details['status']]}, and none of its steps has "
                f"results of dbt run, build, seed, snapshot or test (steps: {names}). If the run is old, its artifacts "
                "have expired: start the job again."
            )
        return files

    def _step(self, run: int, index: int, folder: Path) -> Path | None:
        """Write results and manifest of one step: both must be of the same dbt invocation. None without results."""
        there = folder / f"{run}-{index}"
        path = f"runs/{run}/artifacts"
        results = self._download(f"{path}/{RESULTS_FILE}", index, there / RESULTS_FILE)
        if results and self._download(f"{path}/{MANIFEST_FILE}", index, there / MANIFEST_FILE):
            return results
        return None

    def _runs(self, job: int) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while True:
            query = {"job_definition_id": job, "order_by": "-finished_at", "limit": PAGE, "offset": offset}
            page: Sequence[Mapping[str, Any]] = self._get("runs/", query, f"job {job}")
            yield from page
            offset += PAGE
            if len(page) < PAGE:
                return

    def _wait(self, run: int) -> Mapping[str, Any]:
        while True:
            details: Mapping[str, Any] = self._get(f"runs/{run}/", {"include_related": '["run_steps"]'}, f"run {run}")
            if details.get("status") in FINISHED:
                return details
            sleep(POLL_SECONDS)

    def _get(self, path: str, query: Mapping[str, Any], what: str) -> Any:
        with self._request(path, query) as response:
            if response.status_code == requests.codes.not_found:
                raise ConfigurationError(f"{what} does not exist in account {self.account} of {self.host}.")
            try:
                return response.json()["data"]
            except (requests.RequestException, ValueError, LookupError, TypeError):
                raise ConfigurationError(
                    f"{self.host} is not an API of the dbt platform: its answer is not the documented JSON. Set "
                    "--dbt-cloud-host to the access URL of the account settings."
                ) from None

    def _download(self, path: str, step: int, file: Path) -> Path | None:
        with self._request(path, {"step": step}) as response:
            if response.status_code == requests.codes.not_found:
                return None
            file.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: a part of a file must not be read as dbt's results
            draft = file.with_suffix(".tmp")
            try:
                with draft.open("wb") as out:
                    out.writelines(response.iter_content(CHUNK))
            except requests.RequestException as error:
                raise ConfigurationError(f"{self.host}: {path} broke off: {_reason(error)}. Run again.") from None
            return draft.replace(file)

    @contextmanager
    def _request(self, path: str, query: Mapping[str, Any]) -> Iterator[requests.Response]:
        """Send a request, again after 429 and errors of the server. Raise ConfigurationError for other failures."""
        url = f"{self.base}/api/v2/accounts/{self.account}/{path}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                # a redirect would pass the token on
                response = requests.get(
                    url, params=query, auth=self._sign, timeout=TIMEOUT, stream=True, allow_redirects=False
                )
            except requests.RequestException as error:
                if attempt == ATTEMPTS:
                    raise ConfigurationError(f"{self.host} cannot be reached: {_reason(error)}.") from None
                sleep(2.0**attempt)
                continue
            with response:
                if attempt == ATTEMPTS or response.status_code not in RETRIED:
                    self._check(response)
                    yield response
                    return
            sleep(_retry_after(response) or 2.0**attempt)

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token. As a header, requests would replace it by an entry of ~/.netrc."""
        request.headers["Authorization"] = f"Token {self.token}"
        return request

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise ConfigurationError(
                f"{self.host} answers {status}: the token in {TOKEN} is not valid for account {self.account}, or lacks "
                "the permission to read jobs and runs. Tokens are valid in their own region only."
            )
        if status not in {requests.codes.ok, requests.codes.not_found}:
            raise ConfigurationError(
                f"{self.host} answers {status}. Set --dbt-cloud-host to the access URL of the account settings, such "
                "as ab123.us1.dbt.com, if it is not this one."
            )

    @property
    def base(self) -> str:
        """The URL of the host, without a slash at its end."""
        return self.host.rstrip("/") if "://" in self.host else f"https://{self.host.rstrip('/')}"


def connect(account: int | None, host: str | None) -> DbtPlatform:
    """Return an account with the token of the environment. Raise ConfigurationError if a part is missing."""
    token = os.environ.get(TOKEN)
    if not token:
        raise ConfigurationError(f"the environment variable {TOKEN} is not set. Set it to a service token of dbt.")
    if account is None:
        raise ConfigurationError("--dbt-cloud-account is missing: the account id is in the URL of each job.")
    if not host:  # hosts of getdbt.com, which all accounts of a region shared, are retired
        raise ConfigurationError(
            "--dbt-cloud-host is missing: the access URL of the account, such as ab123.us1.dbt.com, is in its settings."
        )
    platform = DbtPlatform(account, token, host)
    parts = urlsplit(platform.base)
    is_local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if (parts.scheme != "https" and not is_local) or not parts.hostname or parts.username or parts.query:
        raise ConfigurationError("--dbt-cloud-host must be a host such as ab123.us1.dbt.com; the token is sent to it.")
    return platform


def _command_of(step: str) -> str | None:
    found = _COMMAND.search(step)
    return found[1] if found else None


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdigit() else None


def _reason(error: requests.RequestException) -> str:
    """Return the kind of failure; its text may quote headers of a proxy."""
    return type(error).__name__
