"""What the exit codes of worker processes say."""

EXIT_DEVICE_LOST = 70
"""The device failed for good in this process; another one can use it."""

EXIT_STUCK = 71
"""A chunk was in work for longer than TEXTMILL_CHUNK_TIMEOUT: the process ended itself."""

EXIT_NO_HEARTBEAT = 72
"""The heartbeat met an error that is no outage, such as another migration."""

EXIT_NOT_LOADED = 73
"""A model that is whole could not be loaded: no memory, device or file system; it may pass."""

EXIT_ORPHANED = 74
"""The supervisor is gone, and chunks in work did not end within TEXTMILL_DRAIN."""

EXIT_CANNOT_START = 78
"""The process cannot start, nor could another one: a broken artifact, another migration, a wrong
setting."""
