"""Few-shot segmentation: episodes of a support and a query, and the methods that learn from them."""

from medfs.fewshot.batches import EpisodeBatches as EpisodeBatches
from medfs.fewshot.cases import EpisodeCase as EpisodeCase
from medfs.fewshot.cases import find_objects as find_objects
from medfs.fewshot.cases import prepare_case as prepare_case
from medfs.fewshot.episodes import EpisodeDataset as EpisodeDataset
from medfs.fewshot.index import CaseIndex as CaseIndex
from medfs.fewshot.index import index_case as index_case
from medfs.fewshot.index import write_class_slices as write_class_slices
from medfs.fewshot.picture_episodes import PictureEpisodes as PictureEpisodes
from medfs.fewshot.picture_scores import PictureScore as PictureScore
from medfs.fewshot.picture_scores import score_pictures as score_pictures
from medfs.fewshot.pictures import PictureSet as PictureSet
from medfs.fewshot.protocol import FewShotProtocol as FewShotProtocol
from medfs.fewshot.protocol import FewShotScore as FewShotScore
from medfs.fewshot.sampling import EpisodeSampler as EpisodeSampler
from medfs.fewshot.sampling import Exclusion as Exclusion
from medfs.fewshot.segmenters import CopySegmenter as CopySegmenter
from medfs.fewshot.segmenters import NetworkSegmenter as NetworkSegmenter
from medfs.fewshot.segmentor import FewShotSegmentor as FewShotSegmentor
from medfs.fewshot.segmentor import SupportedSegmentor as SupportedSegmentor
from medfs.fewshot.storage import head_classes as head_classes
from medfs.fewshot.storage import load_segmentor as load_segmentor
from medfs.fewshot.storage import save_segmentor as save_segmentor
from medfs.fewshot.volume_segmenter import VolumeSegmenter as VolumeSegmenter
from medfs.fewshot.volumes import VolumeMatcher as VolumeMatcher
