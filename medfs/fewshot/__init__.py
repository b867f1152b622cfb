"""Few-shot segmentation: episodes of a support and a query, drawn from supervoxels or labels."""

from medfs.fewshot.index import CaseIndex as CaseIndex
from medfs.fewshot.index import index_case as index_case
from medfs.fewshot.index import write_class_slices as write_class_slices
