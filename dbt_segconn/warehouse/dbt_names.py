"""Names for Jinja from dbt-core's own classes: dbt's base context, and `target`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.context import Context, JinjaLoaders
from dbt_segconn.warehouse.adapter import set_dbt_flags

# These print their argument, which may be a secret
_OUTPUTS = frozenset({"log", "print"})


def jinja_names(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the names of dbt's base context: `modules`, `fromjson`, `invocation_id` and more."""
    from dbt import tracking
    from dbt.context.base import BaseContext

    if tracking.active_user is None:
        tracking.do_not_track()  # also sets the time of `run_started_at`
    names: Mapping[str, Any] = BaseContext(cli_vars=dict(variables)).to_dict()
    return {name: value for name, value in names.items() if name not in _OUTPUTS}


def target_values(context: Context) -> Mapping[str, Any]:
    """Return dbt's `target`: the keys of the output without secrets."""
    target = context.target or context.default_target
    return dict(load_profile(context, context.profile, target).to_target_dict())


def load_profile(context: Context, profile: str | None, target: str | None) -> Any:
    """Load an output of profiles.yml with dbt's own class. Raises ConfigurationError with dbt's reason."""
    from dbt.config.runtime import load_profile as load
    from dbt_common.exceptions import DbtBaseException

    set_dbt_flags(context)
    try:
        return load(str(context.project_dir), dict(context.vars), profile, target)
    except DbtBaseException as error:
        raise ConfigurationError(f"dbt cannot load target {target} of profile {profile}: {error}") from error


JINJA_LOADERS = JinjaLoaders(jinja_names, target_values)
