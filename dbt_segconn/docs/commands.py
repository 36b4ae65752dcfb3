"""The reference of the commands, from click's own description of them."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import click

from dbt_segconn.docs.keys import table

_METAVARS = {"integer range": "N", "integer": "N", "directory": "FOLDER", "text": "TEXT"}
# Declared as repeatable only so that a second value is an error
_GIVEN_ONCE = {"target_path"}
Key = tuple[tuple[str, ...], str]


def commands(main: click.Group) -> str:
    """Return a section for each command, with the options that most commands share in a section before them."""
    shared = _shared(main.commands.values())
    first = next(command for command in main.commands.values() if _keys(command) >= shared)
    head = [
        "## Project options",
        "",
        "Most commands accept these options. An environment variable applies where its option is not given.",
        "",
        _options(one for one in _options_of(first) if _key(one) in shared),
        "",
        "## Commands",
    ]
    parts = ("\n".join(_command(main.commands[name], shared)).strip() for name in sorted(main.commands))
    return "\n\n".join(["\n".join(head), *parts])


def _shared(many: Collection[click.Command]) -> set[Key]:
    counts = Counter(key for command in many for key in _keys(command))
    return {key for key, count in counts.items() if count > len(many) / 2}


def _keys(command: click.Command) -> set[Key]:
    return {_key(one) for one in _options_of(command)}


def _key(option: click.Option) -> Key:
    return tuple(option.opts), option.help or ""


def _options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def _command(command: click.Command, shared: Collection[Key]) -> Iterator[str]:
    given = " ".join(_argument(one) for one in command.params if isinstance(one, click.Argument))
    own = [one for one in _options_of(command) if _key(one) not in shared]
    usage = " ".join(filter(None, ("dbt-segconn", command.name, given, "[OPTIONS]" if _options_of(command) else "")))
    yield from (f"### {command.name}", "", f"`{usage}`", "")
    yield from _paragraphs(inspect.cleandoc(command.help or ""))
    if own:
        yield _options(own)
    if len(own) < len(_options_of(command)):
        yield f"{chr(10) if own else ''}{'Also' if own else 'Accepts'} the [project options](#project-options)."


def _argument(argument: click.Argument) -> str:
    name = f"{(argument.name or '').upper()}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the help as Markdown: what click does not wrap is a block of code."""
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.removeprefix("\b\n").split("\n")
            yield from (title, "", "```console", *(f"$ {line.strip()}" for line in lines), "```", "")
        else:
            yield from (paragraph, "")


def _options(options: Iterable[click.Option]) -> str:
    return table(("option", "description"), ((_names(one), _about(one)) for one in options))


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {_value(option)}"
    names = [*option.opts, *(one for one in option.secondary_opts if one.startswith("--"))]
    return ", ".join(f"`{name}{value if at == 0 else ''}`" for at, name in enumerate(names))


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice) and not option.metavar:
        return "|".join(map(str, option.type.choices))
    return option.metavar or _METAVARS.get(option.type.name) or option.type.name.upper()


def _about(option: click.Option) -> str:
    variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or ()
    facts = [
        f"Default: `{option.default}`." if option.show_default and option.default is not None else "",
        "Can be repeated." if option.multiple and option.name not in _GIVEN_ONCE else "",
        f"Environment: {', '.join(f'`{one}`' for one in variables)}." if variables else "",
    ]
    text = re.sub(r"\s+", " ", option.help or "Choose the format of the output.")
    return " ".join(filter(None, (text, *facts)))
