"""The pages of the manual and their sections, found by topic and fitted to the width of a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from textwrap import fill

_NUMBERED = re.compile(r"\d\d-(?P<topic>[a-z-]+)\.md")
_FENCE = "```"
_HEADING = re.compile(r"(?P<marks>#{1,4}) (?P<text>.+)")
# Marks of generated parts, which only tests/write_reference.py needs
_MARKER = re.compile(r"<!-- .*? -->\n+")
_LINK = re.compile(r"(?P<file>\d\d-[a-z-]+\.md)(?:#(?P<slug>.+))?")
# GitHub keeps letters, digits, underscores and hyphens of a heading in its anchor
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")

# The parts of a page that are fitted in different ways
_ITEM = r"(?:- |\d+\. )"
_PART = re.compile(
    r"(?P<code>^ *```(?s:.*?)^ *```$)"
    r"|(?P<table>(?:^\|.*\n?)+)"
    rf"|^(?P<indent> *{_ITEM}?)(?P<text>\S.*(?:\n(?! *{_ITEM}| *```|\||#) *\S.*)*)",
    re.MULTILINE,
)
_CELL_END = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Page:
    """A file of the manual. Its number orders the pages; its topic is the rest of the name."""

    file: str
    topic: str
    text: str

    @property
    def title(self) -> str:
        """The first heading."""
        return self.text.partition("\n")[0].removeprefix("# ")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a page with all text below it, subsections included. `slug` is its anchor on GitHub."""

    page: Page
    slug: str
    level: int
    text: str


@cache
def pages() -> tuple[Page, ...]:
    """Read the pages in their order."""
    files = sorted(resources.files(__package__).iterdir(), key=lambda file: file.name)
    return tuple(
        Page(file.name, found["topic"], file.read_text(encoding="utf-8"))
        for file in files
        if (found := _NUMBERED.fullmatch(file.name))
    )


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return _NOT_IN_SLUG.sub("", heading.lower()).replace(" ", "-")


def sections(page: Page) -> Iterator[Section]:
    """Yield the sections of a page below its title, in their order."""
    lines = page.text.split("\n")
    starts = list(_headings(lines))
    for number, (at, level, text) in enumerate(starts):
        end = next((other for other, other_level, _ in starts[number + 1 :] if other_level <= level), len(lines))
        if level > 1:
            yield Section(page, slug(text), level, "\n".join(lines[at:end]).strip() + "\n")


def _headings(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    is_code = False  # a comment of shell or YAML in a block of code looks like a heading
    for at, line in enumerate(lines):
        is_code ^= line.startswith(_FENCE)
        if not is_code and (found := _HEADING.fullmatch(line)):
            yield at, len(found["marks"]), found["text"]


def find(topic: str) -> str | None:
    """Return the text of a page or section for a terminal, or None.

    A page comes before a section of the same name. `seg217` finds the section `seg217-order-missing`.
    """
    text = _text_of(topic)
    return _MARKER.sub("", text) if text else None


def _text_of(topic: str) -> str | None:
    if link := _LINK.fullmatch(topic):
        return _linked(link["file"], link["slug"])
    wanted = slug(topic.strip()).replace("_", "-")  # order_by and order-by name the same section
    for page in pages():
        if page.topic == wanted:
            return page.text
    found = [section for page in pages() for section in sections(page)]
    exact = (one.text for one in found if one.slug.replace("_", "-") == wanted)
    longer = (one.text for one in found if one.slug.replace("_", "-").startswith(f"{wanted}-"))
    return next(exact, None) or next(longer, None)


def _linked(file: str, wanted: str | None) -> str | None:
    page = next((one for one in pages() if one.file == file), None)
    if page is None:
        return None
    found = (one.text for one in sections(page) if one.slug == wanted)
    return next(found, None) if wanted else page.text


def topics() -> tuple[str, ...]:
    """Return every topic: the pages, then their sections; a finding by its code."""
    of_sections = (section.slug for page in pages() for section in sections(page))
    codes = (re.sub(r"^(seg\d{3})-.*", lambda found: found[1].upper(), one) for one in of_sections)
    return tuple(dict.fromkeys((*(page.topic for page in pages()), *codes)))


def fitted(text: str, width: int) -> str:
    """Return a page with lines of this width at most. Code and longer words stay as they are."""
    if max(map(len, text.splitlines())) <= width:
        return text
    return _PART.sub(lambda part: _fit(part, width), text)


def _fit(part: re.Match[str], width: int) -> str:
    if part["code"]:
        return part["code"]
    if part["table"]:
        return _fit_table(part["table"], width)
    return _wrapped(part["text"], part["indent"], width)


def _wrapped(text: str, indent: str, width: int) -> str:
    later = " " * len(indent)
    words = " ".join(text.split())
    return fill(
        words, width, initial_indent=indent, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _fit_table(table: str, width: int) -> str:
    lines = table.splitlines()
    if max(map(len, lines)) <= width:
        return table
    heads, _, *rows = ([cell.strip().replace("\\|", "|") for cell in _CELL_END.split(line)[1:-1]] for line in lines)
    return "\n\n".join("\n".join(_entry(heads, row, width)) for row in rows) + "\n"


def _entry(heads: list[str], row: list[str], width: int) -> Iterator[str]:
    """Yield a row as its first cell, with the others below it."""
    yield _wrapped(row[0], "", width)
    for head, cell in zip(heads[1:], row[1:], strict=True):
        if cell:
            yield _wrapped(cell if len(heads) == 2 else f"{head}: {cell}", "    ", width)
