"""The page of syncs, served live on this machine."""

from dbt_segconn.errors import ConfigurationError

try:
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise ConfigurationError(
        f"The page needs {error.name}, which is not installed: pip install 'dbt-segconn[debugger]'"
    ) from None

from dbt_segconn.web.live.server import running, serve

__all__ = ["running", "serve"]
