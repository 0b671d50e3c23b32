"""Which parts of Textmill an installation has; nothing heavy is imported to find out."""

from importlib.util import find_spec

NO_WORKER = (
    "this installation has no worker; from a clone, install it with:"
    " pip install -c requirements.lock '.[worker]'"
)
"""What to say where `has_worker` is false."""


def has_worker() -> bool:
    """Whether what workers need is installed, the extra `worker`."""
    return find_spec("torch") is not None
