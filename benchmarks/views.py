"""How long the usual query of each view takes on a large database.

`python -m benchmarks.views --documents 10000000` fills a separate Postgres by SQL, in a temporary
folder, and prints a JSON object: milliseconds by view, for the first query and for the next 20.
"""

import json
import statistics
import time
from pathlib import Path

import click
import sqlalchemy as sa

from benchmarks.large_database import seed, usual_queries
from benchmarks.system import own_servers
from producer.local import servers
from schema.database import create_engine

ROUNDS = 20
"""Times that a query is run after the first run, which warms up."""


@click.command()
@click.option("--documents", type=click.IntRange(min=1000), default=1_000_000)
@click.option("--folder", type=click.Path(path_type=Path), help="For the database's data.")
def main(documents: int, folder: Path | None) -> None:
    """Seed, ask, print."""
    with own_servers(folder) as services, servers(services, durable=False) as stack:
        print(json.dumps(_measure(stack.urls.owner, documents), indent=2))


def _measure(url: str, documents: int) -> dict[str, object]:
    engine = create_engine(url, application="benchmark")
    began = time.perf_counter()
    seeded = seed(engine, documents)
    seconds = time.perf_counter() - began
    with engine.connect() as connection:
        size = connection.scalar(sa.text("select pg_database_size(current_database())"))
        timings = {
            view: _milliseconds(connection, query) for view, query in usual_queries(seeded).items()
        }
    engine.dispose()
    return {
        "documents": seeded.documents,
        "database_bytes": size,
        "seeding_seconds": round(seconds),
        "milliseconds": timings,
    }


def _milliseconds(connection: sa.Connection, query: str) -> dict[str, float]:
    taken = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        connection.execution_options(no_parameters=True).exec_driver_sql(query).all()
        taken.append((time.perf_counter() - began) * 1000)
    return {
        "first": round(taken[0], 1),
        "best": round(min(taken[1:]), 1),
        "median": round(statistics.median(taken[1:]), 1),
        "worst": round(max(taken[1:]), 1),
    }


if __name__ == "__main__":
    main()
