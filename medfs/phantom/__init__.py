"""Labelled synthetic torsos, from a seed: for tests, tutorials and benchmarks that need no patient's data."""

from medfs.phantom.case import PhantomCase as PhantomCase
from medfs.phantom.case import phantom_case as phantom_case
from medfs.phantom.cohort import write_cohort as write_cohort
from medfs.phantom.scenes import draw_scene as draw_scene
from medfs.phantom.scenes import scene_classes as scene_classes
from medfs.phantom.scenes import scene_sentences as scene_sentences
from medfs.phantom.scenes import write_scenes as write_scenes
from medfs.phantom.tissues import Modality as Modality
