"""Few-shot segmentation: episodes of a support and a query, drawn from supervoxels or labels."""

from medfs.fewshot.cases import EpisodeCase as EpisodeCase
from medfs.fewshot.cases import find_objects as find_objects
from medfs.fewshot.cases import prepare_case as prepare_case
from medfs.fewshot.episodes import EpisodeDataset as EpisodeDataset
from medfs.fewshot.index import CaseIndex as CaseIndex
from medfs.fewshot.index import index_case as index_case
from medfs.fewshot.index import write_class_slices as write_class_slices
from medfs.fewshot.sampling import EpisodeSampler as EpisodeSampler
from medfs.fewshot.sampling import Exclusion as Exclusion
