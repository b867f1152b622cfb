"""Ways to the same result that take ever less memory, tried in order."""

import gc
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch

from medfs.errors import InputError

T = TypeVar("T")
_SAID = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "unable to allocate")


class Ladder(Generic[T]):
    """Calls its rungs from the first on until one finds enough memory; each call starts from the first.

    Args:
        rungs: a name for the report and a function each, all for the same result; the first name is empty, as it is
            the usual way.

    Attributes:
        rung: name of the rung that the last call took.
    """

    def __init__(self, rungs: Sequence[tuple[str, Callable[..., T]]]) -> None:
        self.rungs, self.rung = list(rungs), ""

    def __call__(self, *arguments: object) -> T:
        """The result of the first rung that finds enough memory.

        Raises:
            InputError: none does.
        """
        for name, attempt in self.rungs:
            try:
                result = attempt(*arguments)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self.rung = name
                return result
            _free()  # outside the handler, whose traceback keeps the tensors of the attempt alive
        tried = ", ".join(name for name, _ in self.rungs if name) or "no other way"
        raise InputError(f"not enough memory for this scan (tried: {tried}); use a machine with more, or crop the scan")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a want of memory, of the processor or of the GPU.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    True
    """
    while error is not None:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID):
            return True
        error = error.__cause__
    return False


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
