"""A local stand-in for Segment's Tracking API, with a page that shows the calls that arrive."""

from dbt_segconn.errors import ConfigurationError

try:
    from dbt_segconn.web.debugger.server import create_app, running, serve
except ModuleNotFoundError as error:
    raise ConfigurationError(
        f"The debugger needs {error.name}, which is not installed: pip install 'dbt-segconn[debugger]'"
    ) from None

__all__ = ["create_app", "running", "serve"]
