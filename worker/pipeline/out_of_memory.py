"""How a lack of memory is told from other errors of torch."""

import torch

_MESSAGES = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Messages of plain `RuntimeError`s by which torch and NVIDIA's libraries report it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the host lacked memory: a smaller micro-batch may fit."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)
    )
