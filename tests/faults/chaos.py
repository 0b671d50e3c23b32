"""Run jobs of every task under random faults, then check every rule.

    make chaos SECONDS=120 SEED=7
    python -m tests.faults.chaos --seconds 120 --seed 7

One or two dispatchers and one or two workers, with their own Postgres and Redis, process 50,000
documents at a time, a few of them plants, while a monkey injects one fault after another. When its
time is up, everything is healed, the jobs run to the end, and every document must have exactly its
expected outcome. The seed decides which faults are injected; timing decides what they hit.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from producer.jobs import status
from schema.database import create_engine
from schema.documents import JobId, Lane, Task
from tests.faults.monkey import FAULTS, Monkey
from tests.faults.planted import Plant
from tests.fixtures import invariants
from tests.fixtures.mill import Mill
from tests.fixtures.servers import OwnServers

DOCUMENTS = 50_000
CHUNK = 64
SEED_BOUND = 1_000_000
PATIENCE = 3600
"""Seconds that the jobs have to finish after the last fault."""

SENTENCES = (
    "The parcel came two days late, and nobody told us",
    "味道很好，下次还会再来",
    "Staff were kind; the room was cold",
    "物流很慢，包装也破了",
    "Win a free phone today, just call this number",
    "会议改到下周三下午三点",
    "这个 app 很好用，but it drains the battery",
)
PLANTS = {
    Plant.PREPROCESS: "stage_error",
    Plant.TOKENIZE: "stage_error",
    Plant.PREDICT: "stage_error",
    Plant.POSTPROCESS: "stage_error",
    Plant.MEMORY_ERROR: "stage_error",
    Plant.DEVICE_MEMORY: "too_large_for_device",
}
DEADLY = {Plant.SEGFAULT: "worker_crashed", Plant.KILLED: "worker_crashed"}


@dataclass
class Expected:
    """The expected outcome of every document, by job and position."""

    outcomes: dict[JobId, list[str]] = field(default_factory=dict)

    def wrong(self, mill: Mill) -> list[str]:
        """Describe every document that has another outcome."""
        found = []
        for job_id, expected in self.outcomes.items():
            became = invariants.outcomes(mill.engine, job_id)
            found += [
                f"document {seq} of job {job_id}: {became.get(seq)}, not {outcome}"
                for seq, outcome in enumerate(expected, 1)
                if became.get(seq) != outcome
            ]
        return found


def main() -> None:
    """Run, print, and exit with 1 if a rule is broken or an outcome is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    arguments = parser.parse_args()
    seed = arguments.seed
    if seed is None:
        seed = random.SystemRandom().randrange(SEED_BOUND)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)  # noqa: S311  # reproducible from the seed
    console = Console(stderr=True)
    with _mill() as (mill, servers):
        expected = Expected()
        monkey = Monkey(mill, servers, chance)
        print(monkey.processes)  # noqa: T201
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            _rage(monkey, mill, expected, chance, progress, arguments)
            _finish(mill, expected, progress)
        broken = invariants.broken(mill.engine)
        wrong = expected.wrong(mill)
        documents = sum(map(len, expected.outcomes.values()))
    _report(monkey)
    print(f"seed {seed}: {documents} documents in {len(expected.outcomes)} jobs")  # noqa: T201
    if broken or wrong:
        for rule, rows in broken.items():
            print(f"BROKEN: {rule}: {rows}")  # noqa: T201
        print("\n".join(wrong[:50]))  # noqa: T201
        print(f"{len(broken)} rules broken, {len(wrong)} documents with a wrong outcome")  # noqa: T201
        sys.exit(1)
    print("every rule holds, every document has the outcome that it must have")  # noqa: T201


@contextmanager
def _mill() -> Iterator[tuple[Mill, OwnServers]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="textmill-chaos-")))
        # The account that runs Postgres must be able to traverse this folder.
        folder.chmod(0o711)
        servers = stack.enter_context(OwnServers.in_folder(folder / "servers"))
        servers.start_postgres()
        servers.start_redis()
        # Bypasses the proxy, so that network faults do not blind the checks.
        engine = create_engine(servers.direct.producer, application="chaos")
        stack.callback(engine.dispose)
        mill = Mill(
            servers.database,
            servers.redis_url,
            "chaos:",
            engine=engine,
            folder=folder,
        )
        stack.callback(mill.close)
        yield mill, servers


def _rage(
    monkey: Monkey,
    mill: Mill,
    expected: Expected,
    chance: random.Random,
    progress: Progress,
    arguments: argparse.Namespace,
) -> None:
    """Inject faults while jobs run, for the given time, then heal everything."""
    bar = progress.add_task("faults", total=None)
    began = time.monotonic()
    while time.monotonic() - began < arguments.seconds:
        if all(status(mill.engine, job_id).finished for job_id in expected.outcomes):
            _submit(mill, expected, chance, arguments.documents)
        time.sleep(chance.uniform(0, 2))
        monkey.act()
        progress.update(bar, completed=len(monkey.done), description=monkey.done[-1].fault)
    monkey.heal()


def _submit(mill: Mill, expected: Expected, chance: random.Random, documents: int) -> None:
    """Submit one job per task, each with a few plants among its documents."""
    for task in Task:
        count = documents // len(Task)
        texts = [f"{chance.choice(SENTENCES)} {number}" for number in range(count)]
        outcomes = ["succeeded"] * count
        plants = {**PLANTS, **DEADLY} if task is Task.SENTIMENT else PLANTS
        places = chance.sample(range(count), len(plants))
        for place, (plant, code) in zip(places, plants.items(), strict=True):
            texts[place] = f"{plant} {place}"
            outcomes[place] = code
        lane = chance.choice(list(Lane))
        expected.outcomes[mill.submit(texts, task=task, lane=lane, chunk=CHUNK)] = outcomes


def _finish(mill: Mill, expected: Expected, progress: Progress) -> None:
    """Wait until every job has finished."""
    total = sum(map(len, expected.outcomes.values()))
    bar = progress.add_task("running to the end", total=total)

    def finished() -> bool:
        seen = [status(mill.engine, job_id) for job_id in expected.outcomes]
        progress.update(bar, completed=total - sum(job.pending for job in seen))
        return all(job.finished for job in seen)

    mill.until(finished, "every job ends", PATIENCE)


def _report(monkey: Monkey) -> None:
    table = Table("fault", "times", "seconds to the next outcome: median", "most")
    for fault in FAULTS:
        times = sorted(done.recovery for done in monkey.done if done.fault == fault)
        if times:
            middle, most = times[len(times) // 2], times[-1]
            table.add_row(fault, str(len(times)), f"{middle:.1f}", f"{most:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
