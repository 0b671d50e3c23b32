"""Redis, as dispatch uses it: publish messages, count those that wait."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from schema.documents import Lane, Task
from schema.errors import ServiceUnavailableError
from schema.messages import TASK_NAME, ChunkMessage, broker_options, queue_name
from schema.urls import broker_place, login_refused


class Broker:
    """Publishes chunk messages to the queues of the workers.

    Args:
        url: of Redis.
        key_prefix: prefix of all keys.
    """

    def __init__(self, url: str, key_prefix: str) -> None:
        self._url = url
        self._app = Celery("textmill", broker=url, set_as_current=False)
        self._app.conf.update(
            broker_transport_options=broker_options(key_prefix),
            broker_connection_timeout=5,
            task_serializer="json",
            task_ignore_result=True,
        )

    def publish(self, messages: Iterable[tuple[ChunkMessage, Lane]]) -> None:
        """Publish each message to the queue of its task and lane.

        Raises:
            ServiceUnavailableError: Redis does not answer, or takes no messages; earlier ones may
                have gone out.
            SettingsError: Redis refuses the login.
        """
        with self._reachable(), self._app.producer_pool.acquire(block=True) as producer:
            for message, lane in messages:
                self._app.send_task(
                    TASK_NAME,
                    kwargs=message.model_dump(mode="json"),
                    queue=queue_name(message.task, lane),
                    producer=producer,
                    retry=False,
                )

    def queued(self) -> dict[tuple[Task, Lane], int]:
        """The number of messages in each queue that no worker has taken.

        Raises:
            ServiceUnavailableError: Redis does not answer.
            SettingsError: Redis refuses the login.
        """
        with self._reachable(), self._app.producer_pool.acquire(block=True) as producer:
            client = producer.channel.client
            return {
                (task, lane): client.llen(queue_name(task, lane)) for task in Task for lane in Lane
            }

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, RedisError, OSError) as error:
            cause = error.__cause__ if isinstance(error, OperationalError) else error
            match cause:
                case AuthenticationError():
                    raise login_refused(self._url, error) from error
                case ResponseError():  # no memory, no right, or a replica
                    fault = f"refuses a command ({error}); give it memory, and the login the right"
                case _:
                    fault = f"does not answer ({error}); start it, or correct TEXTMILL_BROKER_URL"
            msg = f"Redis at {broker_place(self._url)} {fault}"
            raise ServiceUnavailableError(msg) from error
