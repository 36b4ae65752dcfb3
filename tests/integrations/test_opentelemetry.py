"""OpenTelemetry: spans and metrics from the real SDK to a collector on loopback, decoded from OTLP."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from standing import ADA, BOB, MAPPING, WRITE_KEY, Api, serving

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(Api):
    """Keeps the bodies of OTLP requests by their path."""

    def take(self, raw, headers):
        with self.guard:
            self.received.append(raw)
        return self.faults[0] if self.faults else 200

    def spans(self):
        found = []
        for raw in self.received:
            message = ExportTraceServiceRequest()
            message.ParseFromString(raw)
            found += [
                one for resource in message.resource_spans for scope in resource.scope_spans for one in scope.spans
            ]
        return [one for one in found if len(one.span_id) == 8]


def values_of(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def points_of(received):
    """Return the points of each metric: attributes and value."""
    found = {}
    for raw in received:
        message = ExportMetricsServiceRequest()
        message.ParseFromString(raw)
        for resource in message.resource_metrics:
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                data = getattr(metric, metric.WhichOneof("data"))
                found[metric.name] = [(values_of(point.attributes), point) for point in data.data_points]
    return found


@pytest.fixture
def traces(monkeypatch):
    collector = Collector()
    with serving(collector) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{url}/v1/traces")
        yield collector
        collector.released.set()


@pytest.fixture
def measures(monkeypatch):
    collector = Collector()
    with serving(collector) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{url}/v1/metrics")
        yield collector


def test_spans_of_run_sync_steps_and_requests(shop, api, traces, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{SPAN}-01")
    shop.manifest(MAPPING)
    shop.table(ADA, BOB)
    api.faults = [503]
    assert shop.segconn("run", "--all").exit_code == 0
    spans = {(one.name, values_of(one.attributes).get("http.response.status_code")): one for one in traces.spans()}
    names = {one.span_id: one.name for one in spans.values()}
    above = {name: names.get(one.parent_span_id) for name, one in spans.items()}
    sync = "sync customers.identify_customers"
    assert above == {
        ("dbt-segconn run", None): None,
        (sync, None): "dbt-segconn run",
        ("resume", None): sync,
        ("stage", None): sync,
        ("deliver", None): sync,
        ("settle", None): sync,
        ("POST", 503): "deliver",
        ("POST", 200): "deliver",
    }
    run = spans["dbt-segconn run", None]
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (TRACE, SPAN)
    assert values_of(spans["stage", None].attributes)["db.system.name"] == "duckdb"
    failed, sent = (spans["POST", status] for status in (503, 200))
    assert (failed.kind, failed.status.code, values_of(failed.attributes)["error.type"]) == (3, 2, "503")
    about = values_of(sent.attributes)
    assert (about["http.request.method"], about["server.address"], about["segconn.calls"]) == ("POST", "127.0.0.1", 2)
    assert about["http.request.resend_count"] == 1
    assert values_of(spans[sync, None].attributes)["segconn.records.confirmed"] == 2
    told = b"".join(traces.received)
    assert all(secret.encode() not in told for secret in (WRITE_KEY, *ADA[:2]))


def test_failed_sync_is_an_error(shop, api, traces):
    shop.manifest(MAPPING)
    shop.table(ADA)
    api.faults = [401]
    assert shop.segconn("run", "--all").exit_code == 1
    errors = {one.name: values_of(one.attributes).get("error.type") for one in traces.spans() if one.status.code == 2}
    assert errors == {
        "POST": "401",
        "deliver": "DeliveryError",
        "sync customers.identify_customers": None,
        "dbt-segconn run": None,
    }


def test_metrics_count_records_retries_and_lag(shop, api, measures, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    shop.rows(ADA, BOB)
    shop.dbt("run")
    api.faults = [503]
    assert shop.segconn("run").exit_code == 0
    assert b"deployment.environment.name" in measures.received[-1]
    points = points_of(measures.received)
    records = {about["segconn.outcome"]: point.as_int for about, point in points["segconn.records"]}
    assert records == {"confirmed": 2, "discarded": 0, "left_out": 0, "held_back": 0}
    ((about, point),) = points["segconn.retries"]
    assert (about, point.as_int) == ({"segconn.destination": "app"}, 1)
    assert [(about["segconn.status"], point.as_int) for about, point in points["segconn.syncs"]] == [("success", 1)]
    ((_, lag),) = points["segconn.lag"]
    assert 0 <= lag.as_double < 300
    durations = {
        about["http.response.status_code"]: point.count for about, point in points["http.client.request.duration"]
    }
    assert durations == {503: 1, 200: 1}


@pytest.mark.parametrize("fault", ["refused", "silent", "error"])
def test_broken_collector_is_a_warning(shop, api, traces, monkeypatch, fault):
    shop.manifest(MAPPING)
    shop.table(ADA)
    traces.delay, traces.faults = 60 if fault == "silent" else 0, [400]
    if fault == "refused":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    result = shop.segconn("run", "--all")
    delay = time.time() - (shop.dir / "target/segconn/run_results.json").stat().st_mtime
    assert result.exit_code == 0
    assert delay < 8
    assert "OpenTelemetry: spans or metrics were not exported" in result.output
    assert len(api.received) == 1


def test_missing_exporter_is_a_warning(shop, api, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = shop.segconn("run", "--all")
    assert result.exit_code == 0
    assert "a package is missing: zipkin" in result.output


def test_provider_of_the_caller_is_used(shop, api):
    """A process of its own: a provider is set once."""
    shop.manifest(MAPPING)
    shop.table(ADA)
    code = (
        "import sys, pathlib, dbt_segconn\n"
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "kept = InMemorySpanExporter()\n"
        "provider = TracerProvider()\n"
        "provider.add_span_processor(SimpleSpanProcessor(kept))\n"
        "trace.set_tracer_provider(provider)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with trace.get_tracer('host').start_as_current_span('host') as host:\n"
        "    assert dbt_segconn.run(project_dir=folder, profiles_dir=folder, all=True).success\n"
        "run = next(one for one in kept.get_finished_spans() if one.name == 'dbt-segconn run')\n"
        "assert run.parent.span_id == host.get_span_context().span_id\n"
        "assert 'POST' in {one.name for one in kept.get_finished_spans()}\n"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    subprocess.run([sys.executable, "-c", code, str(shop.dir)], check=True, env=environment)
