"""What an error of the device or the model means for the callers."""

import torch

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Stage
from worker.pipeline.out_of_memory import is_out_of_memory


def is_lost(error: Exception) -> bool:
    """Whether a device error leaves the process unable to use its device.

    After a failed kernel every later call fails too, with the same or another error; running out of
    memory has no such effect.
    """
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError)
        and str(error).startswith(("CUDA error", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))
    )


def document_error(error: Exception) -> DocumentError:
    """The error for a document on which the model failed even alone."""
    if isinstance(error, DocumentError):
        return error
    if is_out_of_memory(error):
        message = "the document does not fit the device's memory, even alone"
        return DocumentError(ErrorCode.TOO_LARGE_FOR_DEVICE, Stage.PREDICT, message)
    message = f"the model failed on this document alone: {type(error).__name__}"
    return DocumentError(ErrorCode.STAGE_ERROR, Stage.PREDICT, message)
