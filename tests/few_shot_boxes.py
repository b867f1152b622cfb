"""Two organs that differ in brightness alone, and a network that finds them by it."""

import nibabel as nib
import numpy as np
import torch
from torch import nn

from medfs.anatomy import custom_label_set
from medfs.fewshot import FewShotSegmentor
from medfs.fewshot.heads import EpisodeHead
from medfs.inference.working_grid import LabelledScan
from medfs.io import Volume
from medfs.types import Prediction, Prototypes

LABELS = custom_label_set(["liver", "spleen"])
BRIGHTNESS = {1: 60.0, 2: 100.0}


class RawEncoder(nn.Module):
    """The image itself."""

    out_channels, spacing_mm = (1,), None

    def __init__(self, spatial_dims=2):
        super().__init__()
        self.spatial_dims = spatial_dims

    def forward(self, image):
        return (image,)


class BrightnessHead(EpisodeHead):
    """Foreground is what is as bright as the organ in the support."""

    def extract(self, support, mask):
        weight = mask[:, :, None].float()
        total = (support[0] * weight).flatten(3).sum(dim=(1, 3)) / weight.flatten(3).sum(dim=(1, 3))
        return (Prototypes(total[:, None]),)

    def match(self, query, support, mask, prototypes):
        distance = (query[0][:, 0] - prototypes[0].foreground.view(-1, *[1] * (query[0].ndim - 2))).abs()
        return Prediction.of_foreground(torch.sigmoid(12 - 20 * distance))


def segmentor(spatial_dims=2):
    return FewShotSegmentor(RawEncoder(spatial_dims), BrightnessHead()).eval()


def scan(codes="LAS", spacing_mm=(4.0, 4.0, 8.0), shift_mm=0.0, organs=(1, 2)):
    """Two boxes in a body of 200 x 160 x 240 mm, stored in any axis order and spacing."""
    shape = tuple(round(length / s) for length, s in zip((200, 160, 240), spacing_mm, strict=True))
    affine = np.diag([*spacing_mm, 1.0])
    places = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing_mm, strict=True)], indexing="ij")
    )
    labels = np.zeros(shape, np.uint8)
    boxes = {1: ((30, 100), (40, 120), (80, 180)), 2: ((130, 170), (60, 100), (120, 200))}
    for value in organs:
        inside = [
            (axis > low + shift_mm) & (axis < high + shift_mm)
            for axis, (low, high) in zip(places, boxes[value], strict=True)
        ]
        labels[np.logical_and.reduce(inside)] = value
    image = np.select([labels == value for value in BRIGHTNESS], list(BRIGHTNESS.values()), 0.0).astype(np.float32)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(codes))
    )
    affine = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    turned = [np.ascontiguousarray(nib.orientations.apply_orientation(array, turn)) for array in (image, labels)]
    return LabelledScan(*(Volume.from_array(array, affine) for array in turned))
