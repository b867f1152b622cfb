"""Transforms that inference, training or preprocessing needs and MONAI lacks; each array class has a ``d`` twin."""

from medfs.transforms.cropping import CropOrPadInPlane as CropOrPadInPlane
from medfs.transforms.cropping import CropOrPadInPlaned as CropOrPadInPlaned
from medfs.transforms.intensity import ClipPercentile as ClipPercentile
from medfs.transforms.intensity import ClipPercentiled as ClipPercentiled
from medfs.transforms.intensity import StandardizeVolume as StandardizeVolume
from medfs.transforms.intensity import StandardizeVolumed as StandardizeVolumed
from medfs.transforms.intensity import WindowHU as WindowHU
from medfs.transforms.intensity import WindowHUd as WindowHUd
from medfs.transforms.intensity import scale_modality as scale_modality
from medfs.transforms.orientation import CanonicalOrientation as CanonicalOrientation
from medfs.transforms.orientation import CanonicalOrientationd as CanonicalOrientationd
from medfs.transforms.pictures import LoadPicturesd as LoadPicturesd
from medfs.transforms.pictures import SavePictureLabelsd as SavePictureLabelsd
from medfs.transforms.resampling import ResampleLabelsToSpacing as ResampleLabelsToSpacing
from medfs.transforms.resampling import ResampleLabelsToSpacingd as ResampleLabelsToSpacingd
from medfs.transforms.resampling import ResampleToSpacing as ResampleToSpacing
from medfs.transforms.resampling import ResampleToSpacingd as ResampleToSpacingd
from medfs.transforms.saving import SaveLabelsd as SaveLabelsd
from medfs.transforms.spatial import ArgmaxOnSourceGridd as ArgmaxOnSourceGridd
from medfs.transforms.spatial import argmax_on_grid as argmax_on_grid
