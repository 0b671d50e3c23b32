"""The embedded stack: a real Postgres and a real Redis from wheels, and what runs on them.

It provides each server whose URL is not set. Everything is in one data directory::

    <data dir>/
        owner.lock       held by the process that runs the stack
        users.lock       shared lock of the processes that joined it; it ends after them
        servers.lock     held by the process that runs it, and inherited by all that it started
        passwords.json   generated once, mode 0600
        passfile         passwords of the database logins for psql, mode 0600
        stack.json       URLs and processes of the running stack, mode 0600
        postgres/        the cluster; a link if root's Postgres account cannot enter here
        postgres.port    port of the last start
        redis/           append-only file
        logs/            one file per process

The kernel frees a lock when the last process that holds it ends, however it ends. So no process
id has to be trusted: `owner.lock` tells whether a stack runs, and the process that gets
`servers.lock` knows that no server of an earlier stack is left.
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
