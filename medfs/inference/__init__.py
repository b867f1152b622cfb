"""Segmenting files and folders with a trained bundle, and what else runs over folders."""

from typing import TYPE_CHECKING, Any

from medfs.inference.folder import FolderRun as FolderRun
from medfs.inference.records import CaseRecord as CaseRecord

if TYPE_CHECKING:
    from medfs.inference.segmenter import Segmenter as Segmenter


def __getattr__(name: str) -> Any:
    """Import the segmenter, and torch with it, only for those who use it: supervoxels need neither."""
    if name == "Segmenter":
        from medfs.inference.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
