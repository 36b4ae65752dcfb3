"""Optional tools around a run, one module each: orchestrators, the dbt platform, OpenLineage, OpenTelemetry."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dbt_segconn.errors import SegconnError

if TYPE_CHECKING:
    from dbt_segconn.engine.sync import Listener

# Where OpenLineage's client looks for its configuration
_LINEAGE_FILES = (Path("openlineage.yml"), Path("~/.openlineage/openlineage.yml"))
_OTLP = "OTEL_EXPORTER_OTLP"
_TELEMETRY = (f"{_OTLP}_ENDPOINT", f"{_OTLP}_TRACES_ENDPOINT", f"{_OTLP}_METRICS_ENDPOINT")
_EXPORTERS = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")


def observers() -> Iterator[Listener]:
    """Yield the listeners that the environment switches on. Import nothing for the others."""
    if _is_lineage_on():
        yield _loaded("openlineage", "LineageListener", "", "OPENLINEAGE_DISABLED")
    if _is_telemetry_on():
        packages = " opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
        yield _loaded("opentelemetry", "TelemetryListener", packages, "OTEL_SDK_DISABLED")


def _is_lineage_on() -> bool:
    """Check for a configuration of OpenLineage's client. Without one, it would print the events."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    is_named = any(os.environ.get(name) for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG"))
    is_dynamic = any(name.startswith("OPENLINEAGE__TRANSPORT__") for name in os.environ)
    return is_named or is_dynamic or any(path.expanduser().is_file() for path in _LINEAGE_FILES)


def _is_telemetry_on() -> bool:
    """Check for an exporter in the environment, or for a provider that the caller of this process has set."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    # The SDK's own default would export to localhost
    exporters = {os.environ.get(name) or "none" for name in _EXPORTERS}
    return any(os.environ.get(name) for name in _TELEMETRY) or exporters != {"none"} or has_host_provider()


def has_host_provider() -> bool:
    """Check whether the process has a provider of spans already, such as that of `opentelemetry-instrument`."""
    # Not imported here: a caller that has set a provider has imported it
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def _loaded(module: str, name: str, packages: str, switch: str) -> Listener:
    """Import and build a listener. Without its packages, return one that warns."""
    from dbt_segconn.integrations.logs import UnavailableListener

    try:
        listener: Listener = getattr(import_module(f"dbt_segconn.integrations.{module}"), name)()
    # A run must not fail because a tool that observes it is missing
    except ImportError as error:
        return UnavailableListener(
            f"{module} is configured by the environment, but a package is missing: {error.name or error}. "
            f"pip install 'dbt-segconn[{module}]'{packages}. {switch}=true switches it off"
        )
    except SegconnError as error:
        return UnavailableListener(str(error))
    return listener
