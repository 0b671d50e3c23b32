"""What errors of the device mean."""

import pytest
import torch

from schema.outcomes import ErrorCode
from worker.device_errors import document_error, is_lost
from worker.pipeline.out_of_memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_lack_of_memory_is_told_from_a_lost_device(error: Exception) -> None:
    """Without it, every micro-batch that is too large ends its process."""
    assert is_out_of_memory(error)
    assert not is_lost(error)
    assert document_error(error).code is ErrorCode.TOO_LARGE_FOR_DEVICE


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_lost_device_is_known(error: Exception) -> None:
    """Without it, a process with a dead GPU fails every document that it is given."""
    assert is_lost(error)
    assert not is_out_of_memory(error)


def test_fault_of_a_document_is_neither() -> None:
    """Without it, a faulty document ends its process, or makes micro-batches smaller."""
    error = RuntimeError("index out of range in self")

    assert not is_lost(error)
    assert not is_out_of_memory(error)
    assert document_error(error).code is ErrorCode.STAGE_ERROR
