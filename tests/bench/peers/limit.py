"""The realistic limit of one Python process: rows from a database, a hand-written mapping, orjson, requests.

usage: limit.py FILE.duckdb ROWS [PROCESSES]
       limit.py postgresql://... ROWS [PROCESSES]      (a server-side cursor)
env SINK=http://127.0.0.1:8099
No state, no checks, no retries, no dbt: what a program that does all of that is compared with.
"""
import gc
import hashlib
import json
import multiprocessing
import os
import queue
import resource
import sys
import threading
import time

import orjson
import requests

path, rows = sys.argv[1], int(sys.argv[2])
processes = int(sys.argv[3]) if len(sys.argv) > 3 else 1
URL = os.environ.get("SINK", "http://127.0.0.1:8099") + "/v1/batch"
GROUP, POSTERS, BATCH_BYTES, BATCH_EVENTS, EVENT_BYTES = 64, 2, 475_000, 2_500, 32_000
CONTEXT = {"library": {"name": "limit", "version": "1"}}


def event(row):
    cid, name, email, updated_at, signup, value, subscribed, phone, plan, orders = row
    message_id = hashlib.blake2b(f"customers\x1f{cid}".encode(), digest_size=16).hexdigest()
    return {"type": "identify", "userId": str(cid), "messageId": message_id, "timestamp": updated_at,
            "traits": {"name": name, "email": email, "createdAt": signup, "ltv": value, "subscribed": subscribed,
                       "phone": phone, "plan": plan, "orders": orders}, "context": CONTEXT}


def post_all(bodies):
    with requests.Session() as session:
        session.auth = ("wk", "")
        session.headers["Content-Type"] = "application/json"
        while (body := bodies.get()) is not None:
            session.post(URL, data=body).raise_for_status()


def open_cursor(low, count):
    where = f"from customers where customer_id > {low} and customer_id <= {low + count}"
    if not path.startswith("postgresql:"):
        import duckdb

        return duckdb.connect(path, read_only=True).execute(
            "select customer_id, full_name, email, strftime(updated_at, '%Y-%m-%dT%H:%M:%S.%gZ'), signup_date::varchar,"
            f" lifetime_value::double, is_subscribed, phone, plan, order_count {where}"
        )
    import psycopg2

    cursor = psycopg2.connect(path, options="-c search_path=marts").cursor("customers")
    cursor.execute(
        "select customer_id, full_name, email, to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), signup_date::text,"
        f" lifetime_value::float8, is_subscribed, phone, plan, order_count {where}"
    )
    return cursor


def deliver(low, count):
    bodies = queue.Queue(4)
    posters = [threading.Thread(target=post_all, args=(bodies,)) for _ in range(POSTERS)]
    for poster in posters:
        poster.start()
    cursor = open_cursor(low, count)
    parts, size, held, total = [], 64, 0, 0

    def close():
        nonlocal size, held, total
        bodies.put(b'{"batch":[' + b",".join(parts) + b"]}")
        total += held
        parts.clear()
        size, held = 64, 0

    while page := cursor.fetchmany(4096):
        events = [event(row) for row in page]
        for at in range(0, len(events), GROUP):
            group = events[at:at + GROUP]
            text = orjson.dumps(group)
            assert len(text) <= EVENT_BYTES  # so every event in it is small enough too
            if size + len(text) > BATCH_BYTES or held + len(group) > BATCH_EVENTS:
                close()
            parts.append(memoryview(text)[1:-1])
            size += len(text) - 1
            held += len(group)
    if parts:
        close()
    for _ in posters:
        bodies.put(None)
    for poster in posters:
        poster.join()
    assert total == count


gc.freeze()
start = time.perf_counter()
if processes == 1:
    deliver(0, rows)
else:
    share = rows // processes
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=deliver, args=(i * share, share)) for i in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
wall = time.perf_counter() - start
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
print(json.dumps({"what": "limit", "processes": processes, "events": rows, "wall_s": round(wall, 2),
                  "events_per_s": round(rows / wall), "cpu_s_per_million": round(cpu / rows * 1e6, 1),
                  "peak_mb": max(own.ru_maxrss, children.ru_maxrss * processes) // 1024}))
