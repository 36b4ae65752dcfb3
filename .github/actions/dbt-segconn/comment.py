"""Write a Markdown file as the one comment of this action on a pull request: create it, or edit the earlier one.

python comment.py FILE, with GitHub's environment variables, TOKEN, and COMMENT_KEY, which tells comments apart. Without
the permission to comment, as on pull requests of forks, the file goes to the summary of the job. Needs no package.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

COMMENT_LIMIT = 65_000  # characters; GitHub's limit is 65,536
SUMMARY_LIMIT = 250_000  # characters of up to 4 bytes; GitHub's limit is 1 MiB
PAGE = 100
TIMEOUT_SECONDS = 30
NO_CHANGES = "No mapping changes."  # a line of `dbt-segconn diff --format markdown`
# Authors of comments that can write to the repository. Others may copy the marker of this action.
TRUSTED = {"OWNER", "MEMBER", "COLLABORATOR"}


def main(file: Path) -> None:
    """Comment. If that is not possible, write the summary and print why as an annotation."""
    text = file.read_text(encoding="utf-8")
    number = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_bytes()).get("pull_request", {}).get("number")
    if number is None:
        summarize(text)
        print("The changes are in the summary of the job: this is not a pull request.")
        return
    try:
        print(comment(text, f"issues/{int(number)}/comments"))
    except (OSError, ValueError) as error:
        summarize(text)
        print(f"::warning title=dbt-segconn diff::{reason(error)} The changes are in the summary of this job instead.")


def comment(text: str, comments: str) -> str:
    """Edit the earlier comment or create one, and return what was done. Create none to say that nothing changes."""
    marker = f"<!-- dbt-segconn diff of {quote(os.environ['COMMENT_KEY'])} -->"
    body = {"body": f"{marker}\n{cut(text, COMMENT_LIMIT)}"}
    if len(text) > COMMENT_LIMIT:
        summarize(text)
    earlier = next((one for one in existing(comments) if is_own(one, marker)), None)
    if earlier:
        request("PATCH", f"issues/comments/{int(earlier['id'])}", body)
        return "Updated the comment on the pull request."
    if NO_CHANGES in text.splitlines():
        return NO_CHANGES
    request("POST", comments, body)
    return "Commented on the pull request."


def existing(comments: str) -> Iterator[dict[str, Any]]:
    """Yield the comments of the pull request, oldest first."""
    for page in range(1, sys.maxsize):
        found = request("GET", f"{comments}?per_page={PAGE}&page={page}")
        yield from found
        if len(found) < PAGE:
            return


def is_own(one: dict[str, Any], marker: str) -> bool:
    """Return whether a comment is one that this action wrote."""
    is_trusted = (one["user"] or {}).get("type") == "Bot" or one["author_association"] in TRUSTED
    return is_trusted and (one["body"] or "").startswith(marker)


def request(method: str, path: str, body: dict[str, str] | None = None) -> Any:
    """Send a request to the REST API and return its JSON. Raise HTTPError for a status that is not 2xx."""
    url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/{path}"
    sent = Request(url, json.dumps(body).encode() if body else None, method=method)  # noqa: S310  GitHub's own URL
    sent.add_header("Accept", "application/vnd.github+json")
    sent.add_header("Content-Type", "application/json")
    sent.add_header("X-GitHub-Api-Version", "2022-11-28")
    sent.add_unredirected_header("Authorization", f"Bearer {os.environ['TOKEN']}")
    with urlopen(sent, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        return json.load(response)


def reason(error: Exception) -> str:
    """Return why the comment failed, without the text of the answer."""
    if not isinstance(error, HTTPError):
        return f"GitHub's API cannot be reached ({type(error).__name__})."
    if error.code in {401, 403, 404}:
        return (
            f"GitHub answers {error.code}: the token may not comment. On pull requests of forks it never may. "
            "Otherwise give the job `permissions: pull-requests: write`."
        )
    return f"GitHub answers {error.code} to the comment."


def cut(text: str, limit: int) -> str:
    """Return the whole lines within a limit, and how many are left out."""
    if len(text) <= limit:
        return text
    kept = text[:limit].rpartition("\n")[0]
    left_out = text.rstrip("\n").count("\n") - kept.count("\n")
    return f"{kept}\n\n… and {left_out:,} more lines: `dbt-segconn diff` shows them.\n"


def summarize(text: str) -> None:
    """Append the text to the summary of the job."""
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
        summary.write(cut(text, SUMMARY_LIMIT))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
