"""Kombu's Redis transport, with one fix: a failed acknowledgement frees its slot.

A consumer has a slot for each thread. Kombu frees a message's slot once Redis has received its
acknowledgement. If the connection is lost while every thread works, no acknowledgement gets
through: every slot stays taken, so the consumer stops reading from Redis, never finds out that its
connection is lost, and never makes another one (celery#8030, and others since).
"""

import kombu.connection
from kombu.transport import redis, virtual


class _QoS(redis.QoS):
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


class _Transport(redis.Transport):
    Channel = _Channel


class Connection(kombu.connection.Connection):
    """A connection to Redis through this transport."""

    def get_transport_cls(self) -> type[redis.Transport]:
        """The transport, whatever the scheme of the URL: it is the same with TLS."""
        return _Transport
