"""Transforms that inference or training needs and MONAI lacks."""

from medfs.transforms.intensity import scale_modality as scale_modality
from medfs.transforms.saving import SaveLabelsd as SaveLabelsd
from medfs.transforms.spatial import ArgmaxOnSourceGridd as ArgmaxOnSourceGridd
from medfs.transforms.spatial import argmax_on_grid as argmax_on_grid
