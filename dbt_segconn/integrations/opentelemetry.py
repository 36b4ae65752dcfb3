"""OpenTelemetry: spans of a run, its syncs, steps and requests; metrics of records, requests and lag.

Providers are those of the caller, if it has any. Otherwise they are built from the environment variables of the SDK and
end with the run. Spans have no payload, no write key and no value of a row.
https://opentelemetry.io/docs/specs/semconv/http/
"""

from __future__ import annotations

import logging
import os
import threading
from collections import abc
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from dbt_segconn.delivery import Request
from dbt_segconn.engine.gate import RunResult, SyncResult
from dbt_segconn.engine.opening import Project
from dbt_segconn.engine.sync import Listener
from dbt_segconn.errors import SegconnError, message_of
from dbt_segconn.integrations import has_host_provider
from dbt_segconn.project.mappings import Mapping
from dbt_segconn.version import __version__
from dbt_segconn.warehouse.adapter import Warehouse
from dbt_segconn.warehouse.source import Source

# The end of a run waits at most this long for the exporters
CLOSE_SECONDS = 4.0
# Values of db.system.name that differ from dbt's names of adapters
_SYSTEMS = {"postgres": "postgresql", "redshift": "aws.redshift"}
# The buckets of the convention
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class TelemetryListener(Listener):
    """Records spans and metrics. Raise ImportError or SegconnError if an exporter is missing."""

    observes_requests = True

    def __init__(self) -> None:
        self._exporters = None if has_host_provider() else {one: [*_exporters(one)] for one in ("traces", "metrics")}
        self._spans: dict[str, list[Span]] = {}  # the open spans of each sync, innermost last
        self._system: dict[str, str] = {}

    def open(self, project: Project, run_id: str) -> None:
        """Start the span of the run, below the span of the caller or of TRACEPARENT."""
        self._project, self._run_id = project, run_id
        # Not set as global providers, which belong to the caller of this process
        self._own = OwnProviders(**self._exporters) if self._exporters else None
        self._tracer = (self._own.traces if self._own else trace).get_tracer("dbt_segconn", __version__)
        meter = (self._own.metrics if self._own else metrics).get_meter("dbt_segconn", __version__)
        self._durations = meter.create_histogram(
            "http.client.request.duration", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._retries = meter.create_counter("segconn.retries", "{request}", "Requests that repeat a batch.")
        self._records = meter.create_counter("segconn.records", "{record}", "Records of syncs by outcome.")
        self._syncs = meter.create_counter("segconn.syncs", "{sync}", "Syncs by status.")
        self._lag = meter.create_gauge("segconn.lag", "s", "Time from the build of a model to the end of its sync.")
        above = context.get_current()
        if not trace.get_current_span(above).get_span_context().is_valid:
            above = propagate.extract({name.lower(): value for name, value in os.environ.items()})
        about = {"segconn.run_id": run_id, "segconn.project": project.context.project.name}
        self._run = self._tracer.start_span("dbt-segconn run", above, attributes=about)

    def connect(self, warehouse: Warehouse, sources: abc.Mapping[str, Source]) -> None:  # noqa: ARG002
        """Keep the type and name of the database."""
        adapter_type = warehouse.config.credentials.type
        self._system = {"db.system.name": _SYSTEMS.get(adapter_type, adapter_type), "db.namespace": warehouse.database}

    def start(self, number: int, total: int, mapping: Mapping) -> None:  # noqa: ARG002
        """Start the span of a sync."""
        self._spans[mapping.id] = [self._start(f"sync {mapping.name}", self._run, _about(mapping))]

    def enter(self, mapping: Mapping, step: str) -> None:
        """Start the span of a step."""
        spans = self._spans[mapping.id]
        spans.append(self._start(step, spans[-1], {} if step == "deliver" else self._system))

    def leave(self, mapping: Mapping, step: str, error: BaseException | None) -> None:  # noqa: ARG002
        """End the span of a step."""
        span = self._spans[mapping.id].pop()
        if error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
        span.end()

    def request(self, mapping: Mapping, request: Request) -> None:
        """Record a request that has ended."""
        base_url, resent = self._project.settings.destinations[mapping.destination].base_url, request.attempt - 1
        about = _about_request(base_url, request)
        more = {"url.full": f"{base_url}/v1/batch", "segconn.calls": request.calls}
        more |= {"http.request.resend_count": resent} if resent else {}
        parent = self._spans.get(mapping.id, [self._run])[-1]  # a request that was abandoned outlives its sync
        began = int(request.started_at * 1e9)
        span = self._start("POST", parent, {**about, **more}, kind=SpanKind.CLIENT, start_time=began)
        if "error.type" in about:
            span.set_status(StatusCode.ERROR)
        span.end(began + int(request.seconds * 1e9))
        self._durations.record(request.seconds, about)
        if resent:
            self._retries.add(1, {"segconn.destination": mapping.destination})

    def end(self, number: int, total: int, result: SyncResult) -> None:  # noqa: ARG002
        """End the span of a sync, and count its records."""
        span, about = self._spans.pop(result.mapping.id)[0], _about(result.mapping)
        self._syncs.add(1, {**about, "segconn.status": result.status})
        for outcome, count in self._outcomes(result):
            self._records.add(count, {**about, "segconn.outcome": outcome})
            span.set_attribute(f"segconn.records.{outcome}", count)
        if result.status in {"success", "partial"} and (lag := self._lag_of(result.mapping)) is not None:
            self._lag.set(lag, about)
        span.set_attribute("segconn.status", result.status)
        if result.status in {"failed", "blocked"}:
            span.set_status(StatusCode.ERROR, result.message)
        span.end()

    def finish(self, outcome: RunResult | Exception) -> None:
        """End the span of the run. Export what is left, if this run has built the providers."""
        if isinstance(outcome, Exception):
            self._run.set_status(StatusCode.ERROR, message_of(outcome))
        elif not outcome.success:
            self._run.set_status(StatusCode.ERROR)  # the spans of syncs have the messages
        self._run.end()
        if self._own:
            self._own.close()

    def _start(self, name: str, parent: Span, attributes: abc.Mapping[str, Any], **more: Any) -> Span:
        # the current context does not enter the threads of syncs
        above = trace.set_span_in_context(parent, context.Context())
        span: Span = self._tracer.start_span(name, above, attributes=attributes, **more)
        return span

    def _outcomes(self, result: SyncResult) -> Iterator[tuple[str, int]]:
        """Yield the records of this run by outcome."""
        yield "confirmed", result.confirmed
        if result.row and result.row.run_id == self._run_id:  # an earlier run has counted those of its own sync
            yield "discarded", result.row.discarded
            yield "left_out", result.row.left_out
            yield "held_back", result.row.held_back

    def _lag_of(self, mapping: Mapping) -> float | None:
        """Return the seconds since dbt has built the model; None without its results."""
        results = self._project.results
        outcome = results.outcomes.get(mapping.model.unique_id) if results else None
        if outcome is None or outcome.completed_at is None:
            return None
        # Without fractions and zone: Python 3.10 cannot read the Z that dbt writes
        built_at = datetime.fromisoformat(outcome.completed_at[:19]).replace(tzinfo=timezone.utc)
        return (datetime.now(timezone.utc) - built_at).total_seconds()


def _about(mapping: Mapping) -> dict[str, str]:
    return {
        "segconn.mapping": mapping.name,
        "segconn.destination": mapping.destination,
        "segconn.action": mapping.meta.action,
    }


def _about_request(base_url: str, request: Request) -> dict[str, Any]:
    """Return the attributes that the span and the metric of a request share."""
    url, status = urlsplit(base_url), request.status
    about = {
        "http.request.method": "POST",
        "server.address": url.hostname,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "http.response.status_code": status,
        "error.type": request.error or (str(status) if status and status >= 400 else None),
    }
    return {name: value for name, value in about.items() if value is not None}


class OwnProviders:
    """The providers of one run."""

    def __init__(self, traces: list[Callable[[], Any]], metrics: list[Callable[[], Any]]) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = {"service.name": "dbt-segconn", "service.version": __version__}
        resource = Resource.create({**about, **OTELResourceDetector().detect().attributes})
        # close() shuts the providers down, within a limit of time
        self.traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in traces:
            self.traces.add_span_processor(BatchSpanProcessor(exporter()))
        readers = [PeriodicExportingMetricReader(exporter()) for exporter in metrics]
        self.metrics = MeterProvider(readers, resource, shutdown_on_exit=False)
        self._failures = _Failures(logging.ERROR)
        logging.getLogger("opentelemetry").addHandler(self._failures)

    def close(self) -> None:
        """Export what is left in at most CLOSE_SECONDS. Raise SegconnError if an export failed."""
        threads = [threading.Thread(target=one.shutdown, daemon=True) for one in (self.traces, self.metrics)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CLOSE_SECONDS / len(threads))
        logging.getLogger("opentelemetry").removeHandler(self._failures)
        late = f"no answer in {CLOSE_SECONDS:.0f} seconds" if any(one.is_alive() for one in threads) else None
        if reason := self._failures.first or late:
            raise SegconnError(
                f"OpenTelemetry: spans or metrics were not exported: {reason}. The syncs are not affected"
            )


class _Failures(logging.Handler):
    """Keeps the first failure that the SDK logs. Without a handler, Python prints it with its stack trace."""

    first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # the reason may hold the URL, and the URL a key
        self.first = self.first or record.getMessage().partition(", reason")[0].rstrip(".")


def _exporters(signal: str) -> Iterator[Callable[[], Any]]:
    """Yield the exporters of a signal, `traces` or `metrics`, by their entry points, as the SDK finds them."""
    prefix = f"OTEL_EXPORTER_OTLP_{signal.upper()}_"
    has_endpoint = any(os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", f"{prefix}ENDPOINT"))
    general = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    protocol = os.environ.get(f"{prefix}PROTOCOL", general)
    setting = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER") or ("otlp" if has_endpoint else "none")
    for name in {one.strip() for one in setting.split(",")} - {"none"}:
        entry = _PROTOCOLS.get(protocol, protocol) if name == "otlp" else name
        found = [*entry_points(group=f"opentelemetry_{signal}_exporter", name=entry)]
        if not found:
            raise ImportError(entry)
        yield found[0].load()
