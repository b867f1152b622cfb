"""Ways to pair a support with a query; a new one is one file here and one line below."""

from medfs.fewshot.modes.across_patients import AcrossPatients as AcrossPatients
from medfs.fewshot.modes.adjacent import AdjacentSlabs as AdjacentSlabs
from medfs.fewshot.modes.adjacent import AdjacentSlices as AdjacentSlices
from medfs.fewshot.modes.base import CaseTable as CaseTable
from medfs.fewshot.modes.base import Draw as Draw
from medfs.fewshot.modes.base import EpisodeMode as EpisodeMode
from medfs.fewshot.modes.base import View as View
from medfs.fewshot.modes.two_crops import TwoCrops as TwoCrops
from medfs.fewshot.modes.two_views import TwoViews as TwoViews
