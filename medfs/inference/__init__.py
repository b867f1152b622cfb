"""Segmenting files and folders with a trained bundle."""

from medfs.inference.folder import CaseRecord as CaseRecord
from medfs.inference.folder import FolderRun as FolderRun
from medfs.inference.inputs import find_images as find_images
from medfs.inference.inputs import image_items as image_items
from medfs.inference.segmenter import Segmenter as Segmenter
