"""The guarantee: whatever happens on the way, Segment ends up equal to the model, and hears nothing twice.

Random histories of a real table, on DuckDB or PostgreSQL, and a real Tracking API. Rows come, change, return to
what they were and go; some are wider than a page or a batch, and some wider than Segment takes. Mappings are edited,
renamed, reset, joined by a second destination; some are read from a checkpoint on. The API resets connections before
and after it took a batch, answers late, with 401, 429, 500 and all that `hostile` knows, and refuses some records
(always the same: what it once took it would take again). Some mappings send the calls of
several records to one user in the order of a column. A run to which worse happens is a
process of its own: it is killed by SIGKILL at any step, meets a failing statement, a full disk or a server that ends
its connection, loses its lock or is interrupted. In the end everything is mended. With the stand-in of Redshift,
statements also meet conflicts with concurrent transactions, and connections are lost before and after a statement.

tests/guarantee.sh runs thousands of them. By hand, GUARANTEE_EXAMPLES, GUARANTEE_POSTGRES_EXAMPLES and
GUARANTEE_REDSHIFT_EXAMPLES set how many histories are run (12 on DuckDB and 4 on PostgreSQL in the test suite, 4 on
the stand-in of Redshift in tests/warehouses/run.sh), and `--hypothesis-seed` sets which.

The message of a failure names a file with the whole history: each step, with what its process raised and printed. It
also holds `@reproduce_failure('VERSION', b'BLOB')`. GUARANTEE_REPLAY=VERSION:BLOB runs that one history again, given
the name of the test.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import traceback
from contextlib import contextmanager
from functools import wraps
from itertools import count, pairwise
from pathlib import Path
from tempfile import mkdtemp

import mortal
import pytest
from hostile import NAMES, Hostile
from hypothesis import HealthCheck, Phase, reproduce_failure, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from mortal import Fate
from standing import Api, Shop, new_shop, serving
from warehouses.postgres import Postgres
from warehouses.redshift_fake import new_database
from warehouses.redshift_proxy import CONFLICTS, LOST, LOST_AFTER

from dbt_segconn.delivery import batches, connection, sender, tracking_api
from dbt_segconn.engine import ranges
from dbt_segconn.engine.calls import message_id_prefix
from dbt_segconn.limits import CALL_BYTES
from dbt_segconn.warehouse import session

EXAMPLES = int(os.environ.get("GUARANTEE_EXAMPLES", "12"))
POSTGRES_EXAMPLES = int(os.environ.get("GUARANTEE_POSTGRES_EXAMPLES", "4"))
REDSHIFT_EXAMPLES = int(os.environ.get("GUARANTEE_REDSHIFT_EXAMPLES", "4"))
REPLAY = os.environ.get("GUARANTEE_REPLAY", "")
FAILURES = Path(os.environ.get("GUARANTEE_FAILURES", tempfile.gettempdir()))
SHARDS = 5  # one test each, so that they can run side by side; the last reads from a checkpoint, two others in order
KEYS = {"app": "wk-app-5Tz", "ads": "wk-ads-8Qp"}
ENVIRONMENT = {"WK_APP": KEYS["app"], "WK_ADS": KEYS["ads"]}
GONE = (None, None)
TEAMS = {key: "red" if key in "abc" else "blue" for key in "abcdef"}

UNVERSIONED = "f"  # the row in which the column of the checkpoint is null
# Emails, by one letter each: two wide ones fit neither into a page nor into a batch, the last is too large for Segment
WIDE = {"v": "v" * 24_000, "w": "w" * 31_000, "u": "u" * (CALL_BYTES + 1_000)}
TOO_LARGE = "u"
ROW = st.tuples(st.sampled_from("xyzxyzvwu"), st.sampled_from([None, "1", "2"]))
ORDINARY = [500, 503, "reset", "lost", "late", 401, 200, 429, (429, {"Retry-After": "0"}), 408]
FAULTS = st.lists(
    st.sampled_from(ORDINARY) | st.builds(Hostile, st.sampled_from(NAMES), st.sampled_from([200, 200, 503])), max_size=4
)
FATES = st.none() | st.builds(
    Fate,
    what=st.sampled_from(["kill", "kill", "kill", "fail", "break", "stop"]),
    step=st.integers(0, 45),
    late=st.booleans(),
)
FATES_OF_SERVERS = st.builds(
    Fate,
    what=st.sampled_from(["kill", "cut", "cut", "fail", "break"]),
    step=st.integers(0, 90),
    late=st.booleans(),
)
# In a process of its own: a lock that cannot be released, as the connection is lost, ends with its process
NO_FATE = Fate(what="kill", step=10**9)
# Number of a statement → what happens to it on the wire
TROUBLE = st.dictionaries(
    st.integers(0, 60) | st.integers(0, 400), st.sampled_from([*CONFLICTS, *CONFLICTS, LOST, LOST_AFTER]), max_size=6
)
FULL_DISK = st.builds(Fate, what=st.just("disk"), step=st.integers(0, 60_000) | st.integers(0, 600_000))


TUNED = [
    (tracking_api, "BACKOFF_SECONDS"),
    (connection, "TIMEOUT"),
    (connection, "DEADLINE_SECONDS"),
    (connection, "BODY_SECONDS"),
    (connection, "TICK_SECONDS"),
    (batches, "CHUNK"),
    (sender, "CHUNK"),
    (batches, "BATCH_CALLS"),
    (batches, "BATCH_BYTES"),
    (ranges, "FIRST_PAGE"),
    (ranges, "PAGE_BYTES"),
    (ranges, "READ_AHEAD"),
    (ranges, "WRITTEN_PAGE_BYTES"),
    (ranges, "GROUP_CALLS"),
    (ranges, "GROUP_BYTES"),
    (session, "CONFLICT_SECONDS"),
]


class Listening(Api):
    """Keeps apart what each write key has sent, each messageId once."""

    def __init__(self):
        super().__init__()
        self.heard = {key: {} for key in KEYS.values()}
        self.refused = ()

    def note(self, call, write_key):
        email = call["properties"]["email"]
        if email and WIDE.get(email[0]) == email:
            call["properties"]["email"] = email[0]
        self.heard[write_key].setdefault(call["messageId"], call)

    def forget(self):
        super().forget()
        for calls in self.heard.values():
            calls.clear()


def in_memory(tmp_path_factory):
    """Return a folder that no disk has to be waited for, where there is one: what is killed are processes."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        return Path(mkdtemp(prefix="segconn_guarantee_", dir=memory))
    return tmp_path_factory.mktemp("guarantee")


class OnDuckDB(Shop):
    """A shop whose warehouse is a file."""

    server = None

    def begin_anew(self):
        """Leave no table of the history before."""
        (self.dir / "shop.duckdb").unlink(missing_ok=True)
        (self.dir / "shop.duckdb.wal").unlink(missing_ok=True)
        self.connect().close()


class OnPostgres(Shop):
    """A shop whose warehouse is a server, which outlives the processes that are killed while they talk to it."""

    server: Postgres

    def begin_anew(self):
        """Leave no table of the history before, and nobody at work on it."""
        self.server.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        self.server.execute("set client_min_messages to warning; drop schema if exists segconn cascade")

    def table(self, *rows):
        columns = ", ".join(f"{column} {self.types.get(column, 'varchar')}" for column in self.columns)
        values = ", ".join(f"({', '.join('null' if one is None else repr(one) for one in row)})" for row in rows)
        fill = f"insert into customers values {values}" if rows else ""
        self.server.execute(f"drop table if exists customers; create table customers ({columns}); {fill}")

    def query(self, sql):
        with self.server.cursor() as cursor:
            cursor.execute(sql)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class OnRedshift(OnPostgres):
    """A shop whose warehouse speaks as Redshift: its statements meet conflicts, and its connections are lost."""

    def in_trouble(self, trouble):
        """Fail the statements of transactions with these numbers."""
        numbers = count()

        def fault(statements):
            return trouble.get(next(numbers)) if len(statements) > 1 and statements[-1] != "rollback" else None

        return self.server.proxy.failing(fault)


@contextmanager
def world_of(shop, parsed):
    """Let a shop deliver to an API that hears for each of its keys."""
    api = Listening()
    with pytest.MonkeyPatch.context() as patch, serving(api) as url:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        for module, name in TUNED:
            patch.setattr(module, name, getattr(module, name))  # put back after `impatient`
        mortal.impatient(small_batches=True)
        shop.parsed = parsed
        shop.columns = ("customer_id", "email", "plan", "version", "team")
        shop.types = {"version": "bigint"}
        destinations = {
            name: {
                "write_key": f"{{{{ env_var('WK_{name.upper()}') }}}}",
                "endpoint": url,
                "events_per_second": "unlimited",
                "concurrency": 2,
            }
            for name in KEYS
        }
        shop.write("segconn.yml", {"destinations": destinations, "state": {"deliveries": {"keep": "1 day"}}})
        yield shop, api
        shutil.rmtree(shop.dir.parent)


@contextmanager
def patient():
    """Wait for an API without faults as long as a slow machine takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "TIMEOUT", (60.0, 60.0))
        patch.setattr(connection, "DEADLINE_SECONDS", 600.0)
        patch.setattr(connection, "BODY_SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory, parsed):
    folder = in_memory(tmp_path_factory)
    output = {"type": "duckdb", "path": str(folder / "shop/shop.duckdb")}
    shop = OnDuckDB(new_shop(folder, "http://127.0.0.1:9", output).dir, "")
    with world_of(shop, parsed) as made:
        yield made


@pytest.fixture(scope="module")
def postgres_world(tmp_path_factory, postgres_server):
    postgres_server.execute("create database guarantee")
    server = Postgres(postgres_server.socket, "guarantee")
    shop = OnPostgres(new_shop(in_memory(tmp_path_factory), "http://127.0.0.1:9", server.output).dir, "")
    yield from world_on(server, shop)


def world_on(server, shop):
    """Yield the world of a shop whose warehouse is a server."""
    shop.server = server
    shop.rows(("a", "b", "c"))
    shop.dbt("parse")
    manifest = (shop.dir / "target/manifest.json").read_bytes()
    with world_of(shop, lambda: manifest) as made:
        yield made


@pytest.fixture(scope="module")
def redshift_world(tmp_path_factory, postgres_server, redshift_proxy):
    pytest.importorskip("dbt.adapters.redshift", reason="tests/warehouses/run.sh redshift installs it")
    server = new_database(postgres_server, redshift_proxy, "guarantee_redshift")
    shop = OnRedshift(new_shop(in_memory(tmp_path_factory), "http://127.0.0.1:9", server.output).dir, "")
    yield from world_on(server, shop)


def told(function):
    """Write down that a step was taken, and where it fails the whole story."""

    @wraps(function)
    def telling(self, **drawn):
        self.story.append(f"{function.__name__}({', '.join(f'{name}={one!r}' for name, one in drawn.items())})")
        try:
            return function(self, **drawn)
        except Exception as error:
            self.has_failed = True
            self.story.append(traceback.format_exc())
            path = FAILURES / f"segconn_{type(self).__name__}_{os.getpid()}_{id(self)}.txt"
            path.write_text("\n".join(self.story))
            raise AssertionError(f"{error}\nall of this history: {path}") from error

    return telling


class History(RuleBasedStateMachine):
    """One project from its first sync to its last."""

    shop, api = None, None
    has_checkpoint = False
    is_ordered = False

    def __init__(self):
        super().__init__()
        self.shop.begin_anew()
        self.api.forget()
        self.api.faults = []
        self.rows = {}
        self.written = {}  # the rows of the last run, and how many changes there were when each came to be as it is
        self.versions = {}
        self.past = [{}]  # what the model was, each time before a run
        self.edits = 0
        self.has_plan = True
        self.destinations = ["app"]
        self.names = {"app": "state", "ads": "ads_state"}
        self.names_changes = False
        self.resets = {name: [] for name in KEYS}  # how much each destination had heard when it was reset
        self.resends = {name: [] for name in KEYS}  # and when its records were marked to be sent again
        self.has_begun = False
        self.has_run = False
        self.has_failed = False
        self.story = []

    @initialize(rows=st.dictionaries(st.sampled_from("abcdef"), ROW), refused=st.sampled_from(["", "z"]))
    @told
    def begin(self, rows, refused):
        self.api.refuses = lambda call: bool(refused) and call["properties"]["email"] == refused
        self.rows = rows
        self.has_begun = True
        self.declare()

    @rule(changes=st.dictionaries(st.sampled_from("abcdef"), ROW, min_size=1, max_size=4))
    @told
    def rows_come_and_change(self, changes):
        self.rows = {**self.rows, **changes}

    @precondition(lambda self: not self.has_checkpoint)  # nobody looks for them
    @rule(keys=st.sets(st.sampled_from("abcdef"), min_size=1))
    @told
    def rows_go(self, keys):
        self.rows = {key: row for key, row in self.rows.items() if key not in keys}

    @rule(back=st.integers(1, 3))
    @told
    def rows_are_as_they_were(self, back):
        kept = self.rows if self.has_checkpoint else {}
        self.rows = {**kept, **self.past[-min(back, len(self.past))]}

    @rule(has_plan=st.booleans())
    @told
    def the_mapping_is_edited(self, has_plan):
        self.edits += 1
        self.has_plan = has_plan
        self.declare()

    @rule()
    @told
    def changed_columns_is_switched(self):
        self.names_changes = not self.names_changes
        self.declare()

    @rule()
    @told
    def a_destination_joins_or_leaves(self):
        self.destinations = ["app"] if len(self.destinations) == 2 else ["app", "ads"]
        self.declare()

    @precondition(lambda self: self.has_run)
    @rule()
    @told
    def the_mapping_is_renamed(self):
        old = self.names["app"]
        self.names["app"] = {"state": "condition", "condition": "state"}[old]
        self.declare()
        result = self.shop.segconn("adopt", f"customers.{old}", f"customers.{self.names['app']}")
        if result.exit_code:  # it was cut short before it had any state
            assert "no mapping named" in result.output or "no records to move" in result.output, result.output

    @precondition(lambda self: self.has_run)
    @rule()
    @told
    def the_mapping_is_reset(self):
        result = self.shop.segconn("reset", f"customers.{self.names['app']}", "--yes")
        assert result.exit_code == 0, result.output
        self.resets["app"].append(len(self.api.heard[KEYS["app"]]))

    @precondition(lambda self: self.has_run)
    @rule()
    @told
    def records_are_resent(self):
        result = self.shop.segconn("resend", f"customers.{self.names['app']}", "--where", "1 = 1", "--yes")
        heard = len(self.api.heard[KEYS["app"]])
        if result.exit_code == 0:
            self.resends["app"].append(heard)
        else:
            allowed = ("unfinished sync", "has sent nothing yet", "no record that Segment has received")
            assert any(text in result.output for text in allowed), result.output

    @rule(faults=FAULTS, fate=FATES)
    @told
    def it_runs(self, faults, fate):
        self.run(faults, fate)

    @rule(faults=FAULTS, fate=FATES)
    @told
    def it_runs_again(self, faults, fate):
        self.run(faults, fate)

    @precondition(lambda self: self.shop.server is None)
    @rule(disk=FULL_DISK)
    @told
    def it_runs_on_a_full_disk(self, disk):
        self.run([], disk)

    @precondition(lambda self: self.shop.server is not None)
    @rule(faults=FAULTS, fate=FATES_OF_SERVERS)
    @told
    def it_runs_on_a_server(self, faults, fate):
        self.run(faults, fate)

    @precondition(lambda self: isinstance(self.shop, OnRedshift))
    @rule(faults=FAULTS, fate=st.none() | FATES_OF_SERVERS, trouble=TROUBLE)
    @told
    def it_runs_in_trouble(self, faults, fate, trouble):
        with self.shop.in_trouble(trouble):
            self.run(faults, fate or NO_FATE)

    def teardown(self):
        if self.has_begun and not self.has_failed:
            self.all_is_mended()

    @told
    def all_is_mended(self):
        self.api.refuses = lambda _call: False
        self.rows = {key: ("x" if email == TOO_LARGE else email, plan) for key, (email, plan) in self.rows.items()}
        self.run()  # perhaps finishes an outbox that holds records which were refused
        assert {discard["given_up"] for discard in self.discards()} <= {"yes"}, "the others were to be offered again"
        ending = self.run(retry=True)
        assert ending.success, ending
        self.segment_equals_the_model_and_heard_nothing_twice()
        self.calls_of_one_user_left_in_order()
        self.counts_add_up()
        self.log_has_what_was_confirmed()
        heard = sum(map(len, self.api.heard.values()))
        assert self.run().success
        assert sum(map(len, self.api.heard.values())) == heard, "a run with nothing changed sends nothing"

    def declare(self):
        properties = {"email": "$email", **({"plan": "$plan"} if self.has_plan else {}), "edit": self.edits}
        user = "$__segment_id"
        if self.is_ordered:
            user, properties = "$team", {**properties, "record": "$customer_id", "version": "$version"}
        self.shop.manifest(
            *(
                {
                    "name": self.names[name],
                    "action": "track",
                    "destination": name,
                    **self.reading(),
                    "changed_columns": self.names_changes and name == "app",
                    "guards": {"max_deleted_percent": 100},
                    "fields": {"event_name": "State", "user_id": user, "properties": properties},
                }
                for name in self.destinations
            ),
            unique_identifier=["team", "customer_id"] if self.is_ordered else "customer_id",
        )

    def reading(self):
        if self.has_checkpoint:
            return {"checkpoint": {"column": "version", "lag": 0}}
        order = {"order_by": "version"} if self.is_ordered else {}
        return {"sync_mode": ["added", "updated", "deleted"], **order}

    def run(self, faults=(), fate=None, **options):
        changed = [key for key, row in self.rows.items() if self.written.get(key) != row and key not in UNVERSIONED]
        self.versions.update({key: len(self.past) for key in changed})
        self.written = dict(self.rows)
        self.shop.table(
            *(
                (key, WIDE.get(email, email), plan, self.versions.get(key), TEAMS[key])
                for key, (email, plan) in self.rows.items()
            )
        )
        self.past.append(dict(self.rows))
        self.has_run = True
        self.api.faults = list(faults)
        if fate:
            ending = mortal.run(self.shop.dir, {**ENVIRONMENT, mortal.SMALL_BATCHES: "1"}, fate, **options)
        elif faults:
            ending = mortal.run_here(self.shop.dir, **options)
        else:
            with patient():
                ending = mortal.run_here(self.shop.dir, **options)
        self.api.faults = []
        self.story.append(str(ending))
        assert not ending.error or ending.error.startswith("SegconnError"), ending
        assert not ending.bugs, ending
        return ending

    def discards(self):
        result = self.shop.segconn("status", "--discards", "--format", "json")
        assert result.exit_code == 0, result.output
        names = {f"customers.{self.names[name]}" for name in self.destinations}
        rows = [json.loads(line) for line in result.output.splitlines() if "{" in line]
        return [row for row in rows if row["mapping"] in names]

    def segment_equals_the_model_and_heard_nothing_twice(self):
        assert self.discards() == []
        for name in self.destinations:
            heard = list(self.api.heard[KEYS[name]].values())
            last = {_record(call): (at, call["properties"]) for at, call in enumerate(heard)}
            reset = max(self.resets[name], default=0)  # who left the model after a reset was forgotten before
            known = {user: one for user, (at, one) in last.items() if at >= reset or user in self.rows}
            now = {user: one for user, one in known.items() if (one["email"], one.get("plan")) != GONE}
            assert all(call["properties"]["email"] != TOO_LARGE for call in heard)
            assert now.keys() == self.rows.keys()
            resent = max(self.resends[name], default=0)
            assert all(last[user][0] >= resent for user in now), "marked records were to be sent again"
            for user, one in now.items():
                assert one["email"] == self.rows[user][0]
                assert not self.has_plan or one["plan"] == self.rows[user][1]
            for user in last:
                calls = [(at, call["properties"]) for at, call in enumerate(heard) if _record(call) == user]
                self.nothing_twice(name, user, calls)
                self.in_order(user, [call for _, call in calls])

    def calls_of_one_user_left_in_order(self):
        """Within each sync; deleted records and those without a version come first."""
        arrived = {}
        for heard in self.api.heard.values() if self.is_ordered else ():
            for message_id, call in heard.items():
                of_sync = arrived.setdefault((message_id.rpartition("-")[0], call["userId"]), [])
                of_sync.append(call["properties"]["version"] or 0)
        assert all(versions == sorted(versions) for versions in arrived.values()), arrived

    def log_has_what_was_confirmed(self):
        logged = {}
        for row in self.shop.query("select sync_id, record_id, message_id from segconn.deliveries"):
            calls = logged.setdefault(row["sync_id"], {})
            assert row["message_id"] not in calls, f"logged twice: {row}"
            calls[row["message_id"]] = row["record_id"]
        for sync in self.shop.query("select * from segconn.syncs"):
            heard, calls = self.api.heard[KEYS[sync["destination"]]], logged.get(sync["sync_id"], {})
            of_sync = {
                one for one in heard if one.startswith(message_id_prefix(KEYS[sync["destination"]], sync["sync_id"]))
            }
            is_whole = sync["status"] in {"success", "partial"}
            assert calls.keys() == of_sync if is_whole else calls.keys() <= of_sync, sync
            assert self.is_ordered or all(heard[one]["userId"] == record for one, record in calls.items())

    def had_too_large(self):
        return any(email == TOO_LARGE for rows in self.past for email, _ in rows.values())

    def nothing_twice(self, name, user, calls):
        for (at, one), (then, other) in pairwise(calls):
            was_reset = any(at < reset <= then for reset in self.resets[name] + self.resends[name])
            assert one != other or was_reset, f"{name} heard of {user} twice: {one}"

    def in_order(self, user, calls):
        """Every call is what the model was at a run of its own, and these runs follow each other."""
        runs = iter(self.past)
        for call in calls:
            assert any(
                row[0] == call["email"] and ("plan" not in call or row[1] == call["plan"])
                for row in (past.get(user, GONE) for past in runs)
            ), f"{user} was never like this, or not in this order: {calls}"

    def counts_add_up(self):
        for sync in self.shop.query("select * from segconn.syncs"):
            key = KEYS[sync["destination"]]
            prefix = message_id_prefix(key, sync["sync_id"])
            heard = sum(message_id.startswith(prefix) for message_id in self.api.heard[key])
            assert heard >= sync["confirmed"]
            # what has left the project may have left an outbox, for when it comes back
            assert sync["finished_at"] or sync["destination"] not in self.destinations, f"left open: {sync}"
            if sync["status"] in {"success", "partial"}:
                assert sync["added"] + sync["updated"] + sync["deleted"] == sync["to_send"] + sync["left_out"]
                assert sync["to_send"] == sync["confirmed"] + sync["discarded"], sync
                unsent = sync["to_send"] - sync["sent"]  # Segment was not asked for those that are too large
                assert 0 <= unsent <= (sync["discarded"] if self.had_too_large() else 0), sync
                assert sync["confirmed"] == heard, sync
                assert sync["resumed"] <= sync["confirmed"]
        artifact = json.loads((self.shop.dir / "target/segconn/run_results.json").read_text())
        rows = {sync["sync_id"]: sync for sync in self.shop.query("select * from segconn.syncs")}
        for result in artifact["results"]:
            counts = result["counts"]
            row = rows[result["sync_id"]]
            assert {name: row[name] for name in counts if name in row} == {
                name: count for name, count in counts.items() if name in row
            }


def _record(call):
    return call["properties"].get("record", call["userId"])


def run_histories(world, name, examples, config, *, derandomize, has_checkpoint=False, is_ordered=False):
    class Shard(History):
        pass

    Shard.shop, Shard.api = world
    Shard.has_checkpoint, Shard.is_ordered = has_checkpoint, is_ordered
    Shard.__name__ = Shard.__qualname__ = name  # hypothesis derives its choices from the name
    if REPLAY:
        version, _, blob = REPLAY.partition(":")
        reproduce_failure(version, blob.encode())(Shard)
    elif (number := config.getoption("--hypothesis-seed")) is not None:
        seed(f"{number} {name}")(Shard)  # the shards are not to repeat each other
    run_state_machine_as_test(
        Shard,
        settings=settings(
            max_examples=max(1, examples),
            stateful_step_count=8,
            deadline=None,
            derandomize=derandomize,
            database=None,
            print_blob=True,
            phases=(Phase.generate,),  # the few steps of a history read well enough, and shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.no_cover  # which takes a third of the time, and whose lines other tests run, too
@pytest.mark.timeout(3000 if EXAMPLES <= 20 else 100_000)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_after_a_last_clean_run_segment_equals_the_model_and_heard_nothing_twice(world, shard, request):
    share = EXAMPLES // SHARDS
    run_histories(
        world,
        f"Shard{shard}",
        share,
        request.config,
        derandomize=EXAMPLES <= 20,
        has_checkpoint=shard == SHARDS - 1,
        is_ordered=shard in {1, 2},
    )


@pytest.mark.no_cover  # which takes a third of the time, and whose lines other tests run, too
@pytest.mark.timeout(3000 if POSTGRES_EXAMPLES <= 4 else 100_000)
@pytest.mark.parametrize("has_checkpoint", [False, True], ids=["whole", "checkpoint"])
def test_so_it_is_on_a_server_which_outlives_whoever_is_killed(postgres_world, has_checkpoint, request):
    name = "FromCheckpoint" if has_checkpoint else "Whole"
    share = POSTGRES_EXAMPLES // 3 if has_checkpoint else POSTGRES_EXAMPLES - POSTGRES_EXAMPLES // 3
    run_histories(
        postgres_world,
        name,
        share,
        request.config,
        derandomize=POSTGRES_EXAMPLES <= 4,
        has_checkpoint=has_checkpoint,
    )


@pytest.mark.no_cover
@pytest.mark.timeout(3000 if REDSHIFT_EXAMPLES <= 4 else 100_000)
@pytest.mark.parametrize("shard", ["whole", "ordered", "checkpoint"])
def test_so_it_is_on_redshift(redshift_world, shard, request):
    share = REDSHIFT_EXAMPLES // 4
    run_histories(
        redshift_world,
        f"Redshift_{shard}",
        REDSHIFT_EXAMPLES - 2 * share if shard == "whole" else share,
        request.config,
        derandomize=REDSHIFT_EXAMPLES <= 4,
        has_checkpoint=shard == "checkpoint",
        is_ordered=shard == "ordered",
    )
