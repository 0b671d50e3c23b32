"""The base of every value that crosses a process border."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable, and nothing unknown is let in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
