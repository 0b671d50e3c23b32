"""One worker process: a device, its models, and the threads that feed them.

The supervisor starts it as `python -m worker.process`. The environment already pins the device,
since torch reads that on import.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable

import torch
from celery.exceptions import SecurityWarning

from schema.database import check_version, create_engine, reachable
from schema.documents import Task
from schema.errors import NotLoadedError, ServiceUnavailableError, TextmillError
from schema.exit_codes import EXIT_UNREACHABLE
from schema.settings import ServiceSettings, WorkerSettings, read
from worker.analyser import Analyser
from worker.artifact_folders import ArtifactFolders
from worker.celery_app import check_login, consume, create_app
from worker.chunk_processor import ChunkProcessor
from worker.chunks import ChunkStore
from worker.core import Core
from worker.engine import Engine
from worker.exit_codes import (
    EXIT_CANNOT_START,
    EXIT_DEVICE_LOST,
    EXIT_NOT_LOADED,
    EXIT_ORPHANED,
)
from worker.gate import Gate
from worker.heartbeat import Heartbeat
from worker.held_chunks import HeldChunks
from worker.leases import Leases
from worker.meter import Meter
from worker.models import Models
from worker.pipeline import Pipeline
from worker.promotions import following_promotions
from worker.pulse import beat
from worker.reporting import reporting
from worker.server_urls import server_urls
from worker.token_budgets import TokenBudgets


def main() -> None:
    """Run until SIGTERM, or until the supervisor is gone."""
    parser = argparse.ArgumentParser(prog="python -m worker.process", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--device", required=True, help="cpu, or cuda:0 for the pinned GPU")
    parser.add_argument("--tasks", required=True, type=lambda text: text.split(","))
    parser.add_argument("--pulse", required=True, type=int, help="file descriptor to beat on")
    parser.add_argument("--metrics-port", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(
        format=f"%(asctime)s %(levelname)s {arguments.name} %(name)s: %(message)s",
        level=logging.INFO,
    )
    logging.getLogger("celery").setLevel(logging.WARNING)
    # Celery warns against pickled messages when run as root; ours are JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    beat(arguments.pulse)
    threading.Thread(target=_end_with_supervisor, name="guard", daemon=True).start()
    try:
        run(
            arguments.name,
            arguments.device,
            [Task(task) for task in arguments.tasks],
            arguments.metrics_port,
        )
    except TextmillError as error:
        logging.getLogger(__name__).error("%s", error)  # noqa: TRY400  # made for people
        sys.exit(_exit_code(error))


def run(name: str, device: str, tasks: list[Task], metrics_port: int | None) -> None:
    """Wire everything together and consume.

    Raises:
        ArtifactError: a model is missing or broken.
        NotLoadedError: an intact model could not be loaded.
        SchemaVersionError: the database has another migration.
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: Postgres or Redis is not set, or refuses the login.
    """
    services = read(ServiceSettings)
    urls = server_urls(services)
    settings = read(WorkerSettings)
    if device == "cpu":
        torch.set_num_threads(1)  # one process per core; more threads would only compete for it
    database = create_engine(
        urls.database,
        application=name,
        role="textmill_worker",
        connections=settings.threads + 2,
        pings=False,  # everything that uses it tries again
    )
    with reachable(database), database.connect() as connection:
        check_version(connection)
    check_login(urls.broker)
    folders = ArtifactFolders.of(settings)
    pipelines = {task: folders.load(task, None, device) for task in tasks}
    budgets, remember = _budgets(settings, pipelines.values(), device)
    # What was loaded stays, so the garbage collector need not scan it again and again, which would
    # take a tenth of the time for each document.
    gc.freeze()
    meter = Meter()
    chunks = ChunkStore(database, name, settings.lease, settings.max_attempts)
    leases = Leases(HeldChunks(database, name, settings.lease), settings)
    app = create_app(urls.broker, services.key_prefix)
    core = Core(is_device=device == "cpu")
    engine = Engine(
        budgets,
        linger=settings.linger,
        core=core,
        meter=meter,
        on_lost=_end_without_device,
        on_ceiling=remember,
    )
    heartbeat = Heartbeat(
        database, meter, worker=name, device=device, tasks=tasks, threads=settings.threads
    )
    with (
        engine,
        reporting(meter, engine.waiting, metrics_port),
        heartbeat.beating(leases, settings.heartbeat),
    ):
        gate, models = Gate(), Models(pipelines, folders, engine, device)
        analyser = Analyser(models, engine, core)
        processor = ChunkProcessor(chunks, leases, analyser, meter, gate)
        with following_promotions(database, models, worker=name, interval=settings.heartbeat):
            consume(app, processor, gate.close, name=name, tasks=tasks, threads=settings.threads)


def _exit_code(error: TextmillError) -> int:
    match error:
        case NotLoadedError():
            return EXIT_NOT_LOADED
        case ServiceUnavailableError():
            return EXIT_UNREACHABLE
        case _:
            return EXIT_CANNOT_START


def _budgets(
    settings: WorkerSettings, pipelines: Iterable[Pipeline], device: str
) -> tuple[dict[Pipeline, int], Callable[[Pipeline, int], None]]:
    """The token budget of each pipeline, and what to call when a budget turns out too large."""
    fixed = settings.micro_batch_tokens
    if fixed is not None:
        # An operator's choice is not measured, and says nothing about later starts.
        return dict.fromkeys(pipelines, fixed), lambda _pipeline, _budget: None
    measured = TokenBudgets(settings.cache_dir, device)
    budgets = {pipeline: measured.budget(pipeline) for pipeline in pipelines}
    return budgets, measured.remember


def _end_without_device(error: Exception) -> None:
    """End at once: another process will run the chunks in work again."""
    logging.getLogger(__name__).critical("the device failed, so this process ends: %s", error)
    logging.shutdown()
    os._exit(EXIT_DEVICE_LOST)


def _end_with_supervisor() -> None:
    """End when standard input does: the supervisor holds its other end.

    Without the supervisor, nobody kills processes that do not drain in time, and chunks may wait
    for a Postgres that never comes back.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass  # nothing is ever sent
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(read(WorkerSettings).drain)
    logging.getLogger(__name__).critical("the supervisor is gone, and chunks did not end in time")
    logging.shutdown()
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    main()
