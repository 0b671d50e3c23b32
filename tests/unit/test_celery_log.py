"""What a worker's log shows of Celery's events."""

import logging
from collections.abc import Iterator

import pytest
from celery.app.trace import build_tracer
from celery.exceptions import Reject
from celery.worker import request
from kombu.message import Message
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.celery_app import create_app
from worker.celery_log import say_ordinary_events_in_a_line


@pytest.fixture(autouse=True)
def filtered() -> Iterator[None]:
    """Install the log filters for the duration of a test."""
    loggers = [logging.getLogger(name) for name in ("celery.app.trace", "celery.worker.request")]
    before = [list(logger.filters) for logger in loggers]
    say_ordinary_events_in_a_line()
    yield
    for logger, filters in zip(loggers, before, strict=True):
        logger.filters[:] = filters


class _Away:
    """A channel whose Redis is unreachable."""

    no_ack_consumers = None

    def basic_ack(self, *_: object, **__: object) -> None:
        raise RedisConnectionError


def _run(error: Exception) -> None:
    """Run a task that raises `error`, as a worker does."""

    def task() -> None:
        raise error

    app = create_app("memory://", "test:")
    made = app.task(task, name="a.task")
    build_tracer(made.name, made, app=app)("1", (), {}, {"id": "1"})


def test_message_that_goes_back_and_a_lost_acknowledgement_are_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, each deployment and each restart of Redis looks like a crash of every thread."""
    message = Message(channel=_Away(), delivery_tag="tag", body="")

    _run(Reject("the process drains", requeue=True))
    message.ack_log_error(request.logger, (RedisConnectionError,))

    rejected, unacknowledged = caplog.records
    assert "the process drains" in rejected.getMessage()
    assert "Couldn't ack" in unacknowledged.getMessage()
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("fault", [ZeroDivisionError("a bug"), PermissionError("no model")])
def test_a_real_fault_keeps_its_traceback(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it, nobody finds out where our own code failed."""
    _run(fault)

    assert "Traceback" in caplog.text
    assert {record.levelname for record in caplog.records} == {"ERROR"}
