"""The benchmark tables: 6M rows of TPC-H lineitem types and 2M wide mixed rows, made by the server itself."""

from __future__ import annotations

import psycopg

from syncline.testing.postgres_server import PostgresServer

__all__ = ["LINEITEM", "WIDE", "fill"]

LINEITEM = """
CREATE TABLE lineitem (
  l_orderkey bigint NOT NULL, l_partkey bigint NOT NULL, l_suppkey bigint NOT NULL, l_linenumber integer NOT NULL,
  l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL, l_discount numeric(15,2) NOT NULL,
  l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL, l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL,
  l_commitdate date NOT NULL, l_receiptdate date NOT NULL, l_shipinstruct varchar(25) NOT NULL,
  l_shipmode varchar(10) NOT NULL, l_comment varchar(44) NOT NULL)
"""
FILL_LINEITEM = """
INSERT INTO lineitem
SELECT 1 + g / 4, 1 + (g * 7919) %% 200000, 1 + (g * 104729) %% 10000, 1 + g %% 4, 1 + g %% 50,
       (90000 + (g * 7) %% 9500000) / 100.0, (g %% 11) / 100.0, (g %% 9) / 100.0, (ARRAY['A','N','R'])[1 + g %% 3],
       (ARRAY['O','F'])[1 + g %% 2], date '1992-01-02' + (g * 31 %% 2526)::int,
       date '1992-01-31' + (g * 17 %% 2466)::int,
       date '1992-01-04' + (g * 13 %% 2554)::int,
       (ARRAY['DELIVER IN PERSON','COLLECT COD','NONE','TAKE BACK RETURN'])[1 + g %% 4],
       (ARRAY['REG AIR','AIR','RAIL','SHIP','TRUCK','MAIL','FOB'])[1 + g %% 7],
       left('quickly ' || md5(g::text), 10 + (g %% 34)::int)
FROM generate_series(0, %s::bigint - 1) g
"""
WIDE = """
CREATE TABLE erp_orders (
  id bigint PRIMARY KEY, public_id uuid NOT NULL, customer text, email varchar(80), status text, amount numeric(38,9),
  ratio numeric, price double precision, weight real, active boolean, tags text[], amounts integer[], details jsonb,
  ordered_on date, created_at timestamptz NOT NULL, local_time timestamp, payload bytea)
"""
FILL_WIDE = """
INSERT INTO erp_orders
SELECT g, md5(g::text)::uuid, CASE WHEN g %% 7 = 0 THEN NULL ELSE 'Kunde "' || g || E'"\\n\\\\N, Zoë' END,
       CASE g %% 5 WHEN 0 THEN '' WHEN 1 THEN NULL ELSE 'c' || g || '@example.com' END,
       (ARRAY['new','paid','NULL','shipped'])[1 + g %% 4], g / 7.0::numeric(38,9),
       CASE WHEN g %% 1000 = 0 THEN 'NaN'::numeric ELSE (g * 1.000000000001)::numeric END,
       g / 3.0, (g %% 100)::real / 9,
       g %% 2 = 0, CASE g %% 4 WHEN 0 THEN NULL WHEN 1 THEN ARRAY[]::text[] ELSE ARRAY['a' || g, NULL, 'b,"c"'] END,
       ARRAY[g, NULL, g %% 17]::integer[], jsonb_build_object('n', g, 'deep', jsonb_build_array(1, 'x', NULL)),
       date '2000-01-01' + (g %% 9000)::int, timestamptz '2020-01-01' + g * interval '1.000001 second',
       timestamp '2020-01-01' + g * interval '7 second', decode(md5(g::text), 'hex')
FROM generate_series(1, %s::bigint) g
"""


def fill(server: PostgresServer, database: str, *, lineitem: int, wide: int) -> None:
    """Create and fill both tables, freeze and analyse them, so that no hint bit is written while something is timed."""
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '1GB'")
        if lineitem:
            connection.execute(LINEITEM)
            connection.execute(FILL_LINEITEM, (lineitem,))
            connection.execute("ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber)")
        if wide:
            connection.execute(WIDE)
            connection.execute(FILL_WIDE, (wide,))
        connection.execute("VACUUM (FREEZE, ANALYZE)")
        connection.execute("CHECKPOINT")
