"""The command `docs`: show the manual."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from dbt_segconn.commands.main import command
from dbt_segconn.commands.terminal.output import say, width


def _complete_topic(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the pages; after the first letter, also the sections."""
    from dbt_segconn.docs.pages import pages, topics

    titles = {page.topic: page.title for page in pages()}
    names = topics() if incomplete else tuple(titles)  # sections and codes are too many for a first list
    matching = (name for name in names if name.lower().startswith(incomplete.lower()))
    return [CompletionItem(name, help=titles.get(name)) for name in matching]


@command(group="Reference")
@click.argument("topic", required=False, shell_complete=_complete_topic)
@click.pass_context
def docs(ctx: click.Context, topic: str | None) -> None:
    """Show a page of the manual, or list its pages.

    TOPIC is a page, the code of a finding, a link of a page, or the heading of a section, such as the name of a
    command. On a terminal, wide tables are shown as lists.

    \b
    Examples:
      dbt-segconn docs
      dbt-segconn docs getting-started
      dbt-segconn docs SEG217
      dbt-segconn docs send-test
    """
    from dbt_segconn.docs.pages import find, fitted, pages, topics
    from dbt_segconn.project.strict_model import near_name

    if topic is None:
        longest = max(len(page.topic) for page in pages())
        for page in pages():
            say(f"{page.topic:<{longest}}  {page.title}")
        say()
        say("Show one: dbt-segconn docs TOPIC.")
        say("A finding's code, the heading of a section and a link are also topics.")
        return
    text = find(topic)
    if text is None:
        near = near_name(topic, topics())
        raise click.UsageError(f"The manual has no topic {topic!r}.{near} List the pages: dbt-segconn docs", ctx)
    click.echo_via_pager(fitted(text, width()))  # writes plain text where the output is not a terminal
