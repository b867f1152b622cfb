"""Segmenting files and folders with a trained bundle."""

from medfs.inference.folder import CaseRecord as CaseRecord
from medfs.inference.folder import FolderRun as FolderRun
from medfs.inference.segmenter import Segmenter as Segmenter
