"""The embedded stack: a real Postgres and a real Redis from wheels, and what runs on them.

It serves each URL that is not set. Everything lies in one data directory::

    <data dir>/
        owner.lock       held by the process that runs the stack
        users.lock       held, shared, by those that joined it; it ends after them
        servers.lock     held by that process and, inherited, by all that it started
        passwords.json   generated once, mode 0600
        stack.json       URLs and processes of the running stack, mode 0600
        postgres/        the cluster; a link where root's Postgres account cannot come here
        redis/           append-only file
        logs/            one file a process

The kernel frees a lock when the last process that holds it ends, however it ends. So a process
id is never guessed at: `owner.lock` tells whether a stack runs, and whoever holds `servers.lock`
knows that no server of an earlier stack is left.
"""

from producer.local.folder import remove
from producer.local.joined import joined, joined_with_workers, own_workers
from producer.local.stack import Stack, find, running, servers

__all__ = [
    "Stack",
    "find",
    "joined",
    "joined_with_workers",
    "own_workers",
    "remove",
    "running",
    "servers",
]
