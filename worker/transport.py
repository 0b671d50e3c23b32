"""Kombu's Redis transport, with one repair: an acknowledgement that fails keeps no slot.

A consumer has a slot for each thread. Kombu frees a message's slot once Redis has heard that the
message is done. When the connection is lost while every thread works, no such word gets through:
every slot stays taken, so the consumer reads from Redis no more, so it never finds out that its
connection is lost, and never makes another one (celery#8030, and others since).
"""

import kombu.connection
from kombu.transport import redis, virtual


class _QoS(redis.QoS):
    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; its slot is free whether Redis heard of it or not.

        A message that Redis kept comes again, and finds nothing to claim.
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
    """A connection to Redis by this transport."""

    def get_transport_cls(self) -> type[redis.Transport]:
        """The transport, whatever the scheme of the URL: with TLS it is the same."""
        return _Transport
