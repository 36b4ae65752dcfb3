"""Redshift's SQL, through dbt-redshift and its real driver, on PostgreSQL behind a proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import pytest
from warehouses.postgres import USER, Postgres
from warehouses.redshift_proxy import Proxy

TEMPLATE = "redshift"
# Of a database, as Redshift has them
SETTINGS = {
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "backslash_quote": "on",
    "extra_float_digits": "0",
    "default_transaction_isolation": "serializable",
}
SHIM = """
create function datediff(unit text, a timestamp, b timestamp) returns bigint language sql immutable as $$
    select case unit
        when 'second' then extract(epoch from date_trunc('second', b) - date_trunc('second', a))::bigint
        when 'day' then (b::date - a::date)::bigint
    end
$$;
create function pg_get_late_binding_view_cols() returns setof record language sql as $$
    select null::name, null::name, null::name, null::varchar, null::int where false
$$;
set allow_system_table_mods = on;
create view pg_catalog.svv_external_columns as
select null::int as columnnum, null::varchar as schemaname, null::varchar as tablename, null::varchar as columnname,
    null::varchar as external_type
where false;
create view redshift_columns as
select ordinal_position, table_schema, table_name, column_name, coalesce(domain_name, data_type)::varchar as data_type,
    character_maximum_length, numeric_precision, numeric_scale
from information_schema.columns;
create domain super as jsonb;
create domain varbyte as bytea;
create domain geometry as point;
create domain hllsketch as bytea;
create function json_size(value jsonb) returns int language sql immutable as $$ select octet_length(value::text) $$;
create function "json_serialize"(value jsonb) returns varchar language plpgsql immutable as $$
begin
    if octet_length(value::text) > 65535 then
        raise exception 'String value exceeds the max size of 65535 bytes';
    end if;
    return coalesce(value::text, 'null');
end
$$;
create function from_varbyte(value bytea, format text) returns varchar language sql immutable as $$
    select replace(encode(value, format), chr(10), '')
$$;
create function st_astext(value point) returns varchar language sql immutable as $$
    select 'POINT(' || value[0] || ' ' || value[1] || ')'
$$;
"""


@dataclass(frozen=True)
class Redshift(Postgres):
    """One database of the server; `output` goes into profiles.yml."""

    proxy: Proxy | None = None
    name = "redshift"
    storage = ""

    @property
    def output(self) -> dict[str, Any]:
        return {
            "type": "redshift",
            "host": "127.0.0.1",
            "port": self.proxy.server_address[1],
            "user": USER,
            "password": "none",
            "dbname": self.database,
            "schema": self.schema,
            "threads": 4,
            "sslmode": "disable",
            "connect_timeout": 20,
        }

    def connect(self) -> Any:
        """Open a connection of its own, which is in no conflict with others and has PostgreSQL's literals."""
        options = "-c default_transaction_isolation=read\\ committed -c standard_conforming_strings=on"
        connection = psycopg2.connect(host=str(self.socket), user=USER, dbname=self.database, options=options)
        connection.autocommit = True
        return connection


@pytest.fixture(scope="session")
def redshift_proxy(postgres_server) -> Iterator[Proxy]:
    """Start the proxy, and prepare the database that all others are copied from."""
    postgres_server.execute(f"create database {TEMPLATE}")
    Postgres(postgres_server.socket, TEMPLATE).execute(SHIM)
    with Proxy(postgres_server.socket) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


@pytest.fixture
def redshift_fake(postgres_server, redshift_proxy, own_database) -> Redshift:
    """Make a database of one's own."""
    return new_database(postgres_server, redshift_proxy, own_database)


def new_database(server: Postgres, proxy: Proxy, database: str) -> Redshift:
    """Make a database of this name."""
    server.execute(f"create database {database} template {TEMPLATE}")
    for name, value in SETTINGS.items():
        server.execute(f"alter database {database} set {name} to {value}")
    return Redshift(server.socket, database, proxy)
