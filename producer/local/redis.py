"""The embedded Redis."""

from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from producer.local.binaries import redis_server
from producer.local.children import Child, Children, Program
from producer.local.ports import LOOPBACK, start_on_free_port


def start_redis(children: Children, folder: Path, password: str) -> str:
    """Start Redis with its data in `folder`.

    Returns:
        Its URL, password included.

    Raises:
        SettingsError: no server program is installed.
        ServiceUnavailableError: the server does not start.
    """
    server = redis_server()

    def program(port: int) -> Program:
        # The configuration goes through stdin, since anyone can list arguments.
        return Program(
            name="redis",
            arguments=[server, "-"],
            folder=folder,
            environment={"LC_ALL": "C"},
            config=_config(port, password),
        )

    def ready(_: Child, port: int) -> bool:
        # Otherwise the client would wait seconds between its own attempts.
        once = Retry(NoBackoff(), retries=0)
        with Redis(LOOPBACK, port, password=password, socket_timeout=1, retry=once) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    port = start_on_free_port(children, program, ready)
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def _config(port: int, password: str) -> str:
    return f"""
        bind {LOOPBACK}
        port {port}
        requirepass {password}
        dir .
        appendonly yes
        save ""
        maxmemory-policy noeviction
        daemonize no
    """
