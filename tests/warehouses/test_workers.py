"""Several workers deliver one outbox: processes of this machine, or those of a Dask cluster, of which some die."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from standing import MAPPING, PROGRAM, WRITE_KEY, wait_for

ON_POSTGRES = pytest.mark.parametrize("warehouse", ["postgres"], indirect=True)

SCHEMA = "https://schemas.getdbt.com/dbt/run-results/v6.json"
SOME = 4_500  # five shares


@pytest.fixture
def shop(shop, warehouse):
    """A shop of many customers, for a destination that takes one request at a time from each worker."""
    shop.settings(concurrency=1, events_per_second="unlimited")
    shop.manifest(MAPPING)
    warehouse.execute(
        "create table customers as select 'c' || n::text as customer_id, 'c' || n::text || '@example.com' as email, "
        f"'pro'::text as plan from generate_series(1, {SOME}) as n"
    )
    return shop


@contextmanager
def started(shop, *arguments):
    command = [PROGRAM, "run", "--all", "--project-dir", str(shop.dir), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def dask_of_processes():
    """A scheduler and a worker, each in a process of its own."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = str(Path(sys.executable).parent / "dask")
    local = ("--host", "127.0.0.1", "--no-dashboard")
    commands = (
        [dask, "scheduler", *local, "--port", address.rpartition(":")[2]],
        [dask, "worker", address, *local, "--nthreads", "1"],
    )
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
    try:
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        yield address, processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def workers_of(process) -> list[psutil.Process]:
    """Find the workers: forks of the fork server, which is a fork's child of the run."""
    return [
        worker
        for server in psutil.Process(process.pid).children()
        for worker in server.children()
        if worker.is_running()
    ]


def everyone() -> list[str]:
    return sorted(f"c{n}" for n in range(1, SOME + 1))


def requests(api) -> int:
    """Count the requests that are in flight; one that has timed out on a slow machine is sent again."""
    return len({body["batch"][0]["messageId"] for body in api.tried})


def users(calls) -> list[str]:
    return sorted(call["userId"] for call in calls)


@ON_POSTGRES
def test_two_workers_deliver_side_by_side_and_settle_as_one(shop, api, warehouse):
    warehouse.execute("update customers set email = repeat('x', 40000) where customer_id = 'c7'")
    api.delay = 60.0
    with started(shop, "--workers", "2", "--integrations", '{"All": false}') as process:
        wait_for(lambda: requests(api) == 2, seconds=120)  # one request at a time from each
        api.released.set()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output  # for the discard
    assert all(call["integrations"] == {"All": False} for call in api.accepted.values())
    assert users(api.accepted.values()) == sorted(set(everyone()) - {"c7"})
    counts = shop.counts()
    assert (counts["to_send"], counts["confirmed"], counts["discarded"]) == (SOME, SOME - 1, 1)
    assert shop.run().exit_code == 1
    assert len(api.accepted) == SOME - 1, "something was sent again"


@ON_POSTGRES
def test_a_worker_that_is_killed_is_replaced_and_every_record_arrives_once(shop, api):
    api.delay = 60.0
    with started(shop, "--workers", "2") as process:
        wait_for(lambda: requests(api) == 2, seconds=120)
        workers_of(process)[0].kill()
        api.released.set()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "a worker has died" in output
    assert users(api.accepted.values()) == everyone()
    assert len(api.received) > SOME, "the killed one had delivered nothing"
    assert shop.counts()["confirmed"] == SOME


@ON_POSTGRES
def test_workers_end_with_the_run_that_is_killed_and_the_next_goes_on_from_its_watermark(shop, api):
    api.delay = 60.0
    with started(shop, "--workers", "2") as process:
        wait_for(lambda: requests(api) == 2, seconds=120)
        workers = workers_of(process)
        process.kill()
        psutil.wait_procs(workers, timeout=20)
        assert not any(worker.is_running() for worker in workers)
    api.released.set()
    first = set(api.accepted)
    with started(shop, "--workers", "2") as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert first <= set(api.accepted)
    assert users(api.accepted.values()) == everyone()
    assert shop.counts()["resumed_by_this_run"] == SOME


@ON_POSTGRES
def test_ctrl_c_lets_the_workers_finish_what_is_in_flight(shop, api):
    api.delay = 60.0
    with started(shop, "--workers", "2") as process:
        wait_for(lambda: requests(api) == 2, seconds=120)
        process.send_signal(2)
        time.sleep(0.5)
        api.released.set()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert len(api.accepted) < SOME
    assert shop.counts()["confirmed"] == len(api.accepted)
    shop.run()
    assert users(api.accepted.values()) == everyone()


@ON_POSTGRES
def test_workers_keep_order_of_each_user(shop, api, warehouse):
    """4,000 users with three versions each; a worker dies with several requests in flight."""
    shop.settings(concurrency=12, events_per_second="unlimited")
    fields = {"user_id": "$user_id", "traits": {"version": "$version"}}
    shop.manifest({**MAPPING, "order_by": "version", "fields": fields}, unique_identifier="record_id")
    warehouse.execute(
        "drop table customers; create table customers as select u || '-' || v as record_id, u::text as user_id, "
        "v as version, repeat('x', 300) as filling from generate_series(1, 4000) as u, generate_series(1, 3) as v"
    )
    api.delay = 60.0
    with started(shop, "--workers", "4") as process:
        wait_for(lambda: requests(api) >= 8, seconds=120)
        workers_of(process)[0].kill()
        api.released.set()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert "a worker has died" in output
    arrived = api.arrived("version")
    assert len(arrived) == 4000
    assert {tuple(versions) for versions in arrived.values()} == {(1, 2, 3)}
    assert shop.counts()["confirmed"] == 12_000


@ON_POSTGRES
def test_workers_share_the_rate_of_their_destination(shop, api):
    shop.settings(events_per_second=1000)
    moments = []
    api.note = lambda _call, _key: moments.append(time.monotonic())
    code = (
        "import pathlib, sys, dbt_segconn\n"
        "from dbt_segconn.engine.sync import Listener\n"
        "class Counter(Listener):\n"
        "    observes_requests, calls = True, 0\n"
        "    def request(self, mapping, request):\n"
        "        self.calls += request.calls\n"
        "counter, folder = Counter(), pathlib.Path(sys.argv[1])\n"
        "dbt_segconn.run(project_dir=folder, profiles_dir=folder, all=True, workers=2, listener=counter)\n"
        "print(counter.calls)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(shop.dir)], check=True, stdout=subprocess.PIPE, timeout=240)
    assert int(ended.stdout) == SOME  # a listener receives the requests of workers
    assert users(api.received) == everyone()
    # 4,500 at 1,000 a second, less a second's worth to begin with, less the two batches that go last
    assert moments[-1] - moments[0] > 1.4


@ON_POSTGRES
def test_on_dask_a_share_of_a_worker_that_is_killed_is_delivered_by_another(shop, api):
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1") as cluster:
        api.delay = 60.0
        with started(shop, "--scheduler", cluster.scheduler_address) as process:
            wait_for(lambda: requests(api) == 2, seconds=120)
            psutil.Process(next(iter(cluster.workers.values())).pid).kill()
            api.released.set()
            output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert users(api.accepted.values()) == everyone()
    assert len(api.received) > SOME, "the killed one had delivered nothing"
    counts = shop.counts()
    assert (counts["confirmed"], counts["discarded"]) == (SOME, 0)


@contextmanager
def overheard(address):
    """Relay to an address; yields the relay's own address and the bytes that have passed, either way."""
    heard = bytearray()

    def pump(source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                heard.extend(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    class Relay(socketserver.BaseRequestHandler):
        def handle(self):
            host, port = address.removeprefix("tcp://").split(":")
            with socket.create_connection((host, int(port))) as there:
                back = threading.Thread(target=pump, args=(there, self.request), daemon=True)
                back.start()
                pump(self.request, there)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()


@ON_POSTGRES
def test_vars_never_pass_the_dask_scheduler(shop, api):
    shop.settings(write_key="{{ var('app_key') }}")
    variables = {"app_key": WRITE_KEY}
    with dask_of_processes() as (address, _), overheard(address) as (relay, heard):
        refused = shop.run("--scheduler", relay, "--vars", json.dumps(variables))
        assert refused.exit_code == 2
        assert "--vars may hold a key and must not pass the scheduler" in refused.output
        results = {"metadata": {"dbt_schema_version": SCHEMA}, "args": {"vars": variables}, "results": []}
        shop.write("target/run_results.json", json.dumps(results))
        result = shop.run("--scheduler", relay)
    assert result.exit_code == 0, result.output
    assert users(api.accepted.values()) == everyone()
    assert b"_deliver_there" in heard
    assert WRITE_KEY.encode() not in heard


@ON_POSTGRES
def test_a_scheduler_that_is_killed_ends_the_run_with_the_reason_and_the_next_delivers_the_rest(shop, api):
    with dask_of_processes() as (address, scheduler):
        api.delay = 60.0
        with started(shop, "--scheduler", address) as process:
            wait_for(lambda: api.tried)
            scheduler.kill()
            api.released.set()
            output = process.communicate(timeout=120)[0]
    assert process.returncode == 1, output
    assert f"the Dask scheduler {address} is gone" in output
    assert shop.run().exit_code == 0
    assert users(api.accepted.values()) == everyone()


@ON_POSTGRES
def test_scheduler_dies_while_asked_for_workers(shop, api, monkeypatch):
    from distributed import Client

    monkeypatch.setattr("dbt_segconn.engine.workers.CONNECT_SECONDS", 3)
    ask, asked = Client.nthreads, []
    with dask_of_processes() as (address, scheduler):

        def ask_of_the_dead(client):
            asked.append(client)
            if len(asked) == 3:  # ranges are handed out
                scheduler.kill()
                scheduler.wait()
            return ask(client)

        monkeypatch.setattr(Client, "nthreads", ask_of_the_dead)
        result = shop.run("--scheduler", address)
    assert result.exit_code == 1, result.output
    assert f"the Dask scheduler {address} is gone" in result.output
    assert shop.run().exit_code == 0
    assert users(api.accepted.values()) == everyone()


@ON_POSTGRES
def test_a_scheduler_that_nobody_answers_at_is_told_before_anything_is_sent(shop, api, monkeypatch):
    monkeypatch.setattr("dbt_segconn.engine.workers.CONNECT_SECONDS", 1)
    result = shop.run("--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 2
    assert "--scheduler tcp://127.0.0.1:9: no Dask scheduler answers there" in result.output
    both = shop.run("--scheduler", "tcp://127.0.0.1:9", "--workers", "2")
    assert both.exit_code == 2
    assert "--workers 2 and --scheduler tcp://127.0.0.1:9: set only one" in both.output
    assert not api.tried


@pytest.mark.parametrize("warehouse", ["duckdb_file"], indirect=True)
def test_a_warehouse_for_one_process_refuses_workers(shop):
    result = shop.run("--workers", "2")
    assert result.exit_code == 2
    assert "--workers 2: DuckDB lets one process at a time open its file. Leave the option out." in result.output
