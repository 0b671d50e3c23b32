"""The Celery application of a worker process."""

from collections.abc import Callable, Sequence

from celery import Celery, signals
from celery.exceptions import Reject
from kombu.utils.scheduling import round_robin_cycle
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from schema.documents import Lane, Task
from schema.messages import TASK_NAME, ChunkMessage, broker_options, queue_name
from schema.urls import login_refused
from worker.celery_log import say_ordinary_events_in_a_line
from worker.transport import Connection


class LanesInOrder(round_robin_cycle):
    """The order in which a process reads its queues: interactive lanes first, tasks in rotation."""

    def consume(self, n: int) -> list[str]:
        """The first `n` queues to read, in order."""
        return sorted(self.items, key=lambda queue: not queue.endswith(Lane.INTERACTIVE))[:n]


def create_app(broker_url: str, key_prefix: str) -> Celery:
    """A Celery application that consumes chunk messages; connects to nothing yet."""
    app = Celery("textmill", broker=broker_url, set_as_current=False)
    app.amqp.Connection = Connection
    app.conf.update(
        accept_content=["json"],
        # A worker survives an outage of Redis, however long.
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            **broker_options(key_prefix),
            "queue_order_strategy": LanesInOrder,
        },
        # A message is acknowledged once Postgres holds the outcomes. One lost before that is
        # delivered again; if its chunk is done by then, there is nothing left to claim.
        task_acks_late=True,
        task_ignore_result=True,
        task_serializer="json",
        # A chunk still running when its message is delivered again is fenced off by its attempt.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Its Redis keys are shared by all Celery applications on the server, whatever their prefix.
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        # A message prefetched by a busy process would be kept from an idle one.
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


def check_login(broker_url: str) -> None:
    """Check the login to Redis, which Celery would retry in vain; leave an outage to Celery.

    Raises:
        SettingsError: Redis refuses the login.
    """
    try:
        with Redis.from_url(broker_url, socket_connect_timeout=5, socket_timeout=5) as client:
            client.ping()
    except AuthenticationError as error:
        raise login_refused(broker_url, error) from error
    except RedisError:
        pass  # Celery waits for it


def consume(
    app: Celery,
    process: Callable[[ChunkMessage], bool],
    drain: Callable[[], None],
    *,
    name: str,
    tasks: Sequence[Task],
    threads: int,
) -> None:
    """Consume until SIGTERM, then let running chunks finish.

    Args:
        app: made by `create_app`.
        process: called in a thread with each message; False sends the message back.
        drain: called once on SIGTERM, interrupting whatever the main thread is doing.
        name: the process's name.
        tasks: the tasks whose queues are consumed.
        threads: how many messages are processed at once.
    """
    say_ordinary_events_in_a_line()

    def process_chunk(**fields: object) -> None:
        if not process(ChunkMessage.model_validate(fields)):
            reason = "the process drains"
            raise Reject(reason, requeue=True)

    def shutting_down(**_: object) -> None:
        drain()

    signals.worker_shutting_down.connect(shutting_down, weak=False)
    app.task(process_chunk, name=TASK_NAME)

    queues = [queue_name(task, lane) for lane in Lane for task in tasks]
    worker = app.Worker(
        concurrency=threads,
        hostname=name,
        pool="threads",
        queues=queues,
        quiet=True,
        # Dispatch sees workers in Postgres; messages between workers would only add a failure mode.
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )
    worker.start()
