"""Segmentation metrics per case and organ, in millimetres, with a stated rule for absent organs."""

from medfs.metrics.class_iou import ClassIoU as ClassIoU
from medfs.metrics.class_iou import over_seeds as over_seeds
from medfs.metrics.conventions import CONVENTIONS as CONVENTIONS
from medfs.metrics.conventions import METRICS as METRICS
from medfs.metrics.conventions import Convention as Convention
from medfs.metrics.conventions import ConventionName as ConventionName
from medfs.metrics.conventions import Status as Status
from medfs.metrics.conventions import find_convention as find_convention
from medfs.metrics.paired import PairedDifference as PairedDifference
from medfs.metrics.paired import holm as holm
from medfs.metrics.paired import paired_difference as paired_difference
from medfs.metrics.score import OrganScore as OrganScore
from medfs.metrics.score import score_case as score_case
from medfs.metrics.summary import OrganSummary as OrganSummary
from medfs.metrics.summary import Statistic as Statistic
from medfs.metrics.summary import Summary as Summary
from medfs.metrics.summary import summarise as summarise
from medfs.metrics.surface import SurfaceDistances as SurfaceDistances
from medfs.metrics.surface import surface_distances as surface_distances
from medfs.metrics.surface import surface_voxels as surface_voxels
from medfs.metrics.table import format_table as format_table
from medfs.metrics.table import score_rows as score_rows
from medfs.metrics.table import summary_rows as summary_rows
