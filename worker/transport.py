"""Kombu's Redis transport, with two fixes.

A failed acknowledgement frees its slot. A consumer has a slot for each thread. Kombu frees a
message's slot once Redis has received its acknowledgement. If the connection is lost while every
thread works, no acknowledgement gets through: every slot stays taken, so the consumer stops reading
from Redis, never finds out that its connection is lost, and never makes another one (celery#8030,
and others since).

A message that Celery cannot read is dropped. Celery refuses messages of unknown tasks or with wrong
arguments, but one whose body is `null`, for instance, ends the process, and comes back to the next
one.
"""

import logging
from typing import Any

import kombu.connection
from kombu.transport import redis, virtual

logger = logging.getLogger(__name__)

_UNREADABLE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What kombu and Celery raise over the content of a message. Kombu takes KeyError for a lost
connection: such a message would come back each time that another connection is made."""


class _QoS(redis.QoS):
    def held(self) -> list[str]:
        """The tags of the messages that were delivered and not acknowledged."""
        return list(self._delivered)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message, and free its slot whether Redis received that or not.

        A message that Redis kept is delivered again, and finds nothing to claim.
        """
        try:
            redis.QoS.ack(self, delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)


class _Channel(redis.Channel):
    QoS = _QoS

    def _brpop_read(self, **options: object) -> bool:
        """Deliver the next message; what cannot be delivered is dropped, and acknowledged."""
        held = {*self.qos.held()}
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        except _UNREADABLE as error:
            logger.warning("dropped a message that is not Textmill's: %s", type(error).__name__)
            for delivery_tag in self.qos.held():
                if delivery_tag not in held:
                    self.qos.ack(delivery_tag)
            return True


class _Transport(redis.Transport):
    Channel = _Channel

    def _deliver(self, message: dict[str, Any], queue: str) -> None:
        """Hand a message to its consumer.

        Raises:
            ValueError: it is compressed, as no message of Textmill is: a small one could fill the
                memory.
        """
        if (message.get("headers") or {}).get("compression"):
            msg = "the message is compressed"
            raise ValueError(msg)
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


class Connection(kombu.connection.Connection):
    """A connection to Redis through this transport."""

    def get_transport_cls(self) -> type[redis.Transport]:
        """The transport, whatever the scheme of the URL: it is the same with TLS."""
        return _Transport
