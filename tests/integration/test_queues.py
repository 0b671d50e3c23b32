"""The order in which a worker process reads its queues in Redis."""

from uuid import uuid4

from kombu.message import Message

from producer.broker import Broker
from schema.documents import Lane, Task
from schema.messages import ChunkMessage, queue_name
from worker.celery_app import create_app

STREAM = 5


def test_stream_of_a_task_stops_no_other_task_of_its_lane(
    broker: Broker, broker_url: str, key_prefix: str
) -> None:
    """Without it, a person's single document waits for the end of another task's stream."""
    stream = [(message(Task.SENTIMENT), Lane.INTERACTIVE)] * STREAM
    single = (message(Task.MODERATION), Lane.INTERACTIVE)
    bulk = (message(Task.KEYWORDS), Lane.BULK)
    broker.publish([bulk, *stream, single])

    read = read_all(broker_url, key_prefix, STREAM + 2)

    assert read.index(queue_name(Task.MODERATION, Lane.INTERACTIVE)) <= 1
    assert read[-1] == queue_name(Task.KEYWORDS, Lane.BULK)


def message(task: Task) -> ChunkMessage:
    return ChunkMessage(job_id=uuid4(), chunk_no=0, task=task)


def read_all(broker_url: str, key_prefix: str, count: int) -> list[str]:
    """The queues of the next `count` messages, read one after the other as a worker does."""
    app = create_app(broker_url, key_prefix)
    app.amqp.queues.select([queue_name(task, lane) for task in Task for lane in Lane])
    read: list[str] = []

    def take(_: object, taken: Message) -> None:
        read.append(taken.delivery_info["routing_key"])

    with (
        app.connection_for_read() as connection,
        app.amqp.TaskConsumer(connection, callbacks=[take], no_ack=True),
    ):
        while len(read) < count:
            connection.drain_events(timeout=5)
    app.close()
    return read
