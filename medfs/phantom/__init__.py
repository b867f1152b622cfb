"""Labelled synthetic torsos, from a seed: for tests, tutorials and benchmarks that need no patient's data."""

from medfs.phantom.case import PhantomCase as PhantomCase
from medfs.phantom.case import phantom_case as phantom_case
from medfs.phantom.cohort import write_cohort as write_cohort
from medfs.phantom.tissues import Modality as Modality
