"""Reads the exported edges below a folder by the reader that is named, and prints requests by server and the type and least of their windows' starts."""

import json
import sys

reader, folder = sys.argv[1:]
files = f"{folder}/**/*.parquet"
if reader == "duckdb":
    import duckdb

    duckdb.sql("set timezone = 'UTC'")
    requests = dict(duckdb.sql(f"select server.name, sum(requests) from '{files}' group by all").fetchall())
    kind, first = duckdb.sql(f"select typeof(window_start_us), epoch_us(min(window_start_us)) from '{files}' group by 1").fetchall()[0]
    p95 = duckdb.sql(f"select max(p95_us) from '{files}'").fetchall()[0][0]
    days = duckdb.sql(f"select count(distinct (date, hour)) from '{files}'").fetchall()[0][0]
elif reader == "pandas":
    import pandas

    edges = pandas.read_parquet(folder)
    requests = edges.groupby(edges["server"].map(lambda server: server["name"]))["requests"].sum().to_dict()
    kind, first = str(edges["window_start_us"].dtype), edges["window_start_us"].min().timestamp() * 1e6
    p95 = edges["p95_us"].max()
    days = len(edges[["date", "hour"]].drop_duplicates())
else:
    import polars

    edges = polars.scan_parquet(files, hive_partitioning=True)
    by_server = edges.group_by(polars.col("server").struct.field("name")).agg(polars.col("requests").sum())
    requests = dict(by_server.collect().rows())
    start = polars.col("window_start_us")
    kind = str(edges.collect_schema()["window_start_us"])
    first = edges.select(start.min().dt.epoch("us")).collect().item()
    p95 = edges.select(polars.col("p95_us").max()).collect().item()
    days = edges.select("date", "hour").unique().collect().height

requests = {server: int(count) for server, count in requests.items()}
print(json.dumps({"requests": requests, "kind": kind, "first_us": round(first), "p95_us": p95, "hours": days}))
