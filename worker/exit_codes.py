"""What the exit codes of worker processes mean."""

EXIT_DEVICE_LOST = 70
"""The device failed for good in this process; another one can use it."""

EXIT_STUCK = 71
"""A chunk was in work for longer than TEXTMILL_CHUNK_TIMEOUT: the process ended itself."""

EXIT_NO_HEARTBEAT = 72
"""The heartbeat met an error that is not an outage, such as a database of another migration."""

EXIT_NOT_LOADED = 73
"""An intact model could not be loaded for lack of memory, device or file system; this may pass."""

EXIT_ORPHANED = 74
"""The supervisor is gone, and chunks in work did not finish within TEXTMILL_DRAIN."""

EXIT_CANNOT_START = 78
"""Neither this process nor another one could start: a broken artifact, a database of another
migration, a wrong setting."""
