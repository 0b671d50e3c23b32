"""Which parts of Textmill are installed; nothing heavy is imported to find out."""

from importlib.util import find_spec

NO_WORKER = (
    "this installation has no worker; from a clone, install it with:"
    " pip install -c requirements.lock '.[worker]'"
)
"""What to say if `has_worker` returns false."""


def has_worker() -> bool:
    """Whether the extra `worker`, which workers need, is installed."""
    return find_spec("torch") is not None
