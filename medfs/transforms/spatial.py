"""From class scores on the working grid to labels on the grid of the file."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

_SLAB_VALUES = 2**24  # float32 values of one slab: 64 MB
_COORDINATE_VALUES = 24  # what the coordinates of a voxel take, in the same unit


def argmax_on_grid(
    logits: torch.Tensor, affine: np.ndarray, target_shape: Sequence[int], target_affine: np.ndarray
) -> torch.Tensor:
    """Interpolate class scores trilinearly onto another grid and keep the highest class.

    The scores of all classes exist on the target grid for one slab of voxels at a time only, so the extra memory is
    bounded whatever the size of the target. Voxels more than one working voxel outside the scored box are background.

    Args:
        logits: (N, X, Y, Z) scores on the working grid.
        affine: 4 x 4, working voxel to world in mm.
        target_shape: three sizes of the target grid.
        target_affine: 4 x 4, target voxel to world in mm.

    Returns:
        (*target_shape,) labels; uint8 up to 256 classes, int16 above; on the device of ``logits``.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision cannot place voxels
    size = torch.tensor(logits.shape[1:], dtype=torch.float64)
    to_working = torch.from_numpy(np.linalg.inv(affine) @ target_affine)
    nx, ny, nz = (int(n) for n in target_shape)
    j, k = torch.meshgrid(torch.arange(ny), torch.arange(nz), indexing="ij")
    plane = torch.stack([j, k], dim=-1).double() @ to_working[:3, 1:3].T + to_working[:3, 3]
    labels = torch.zeros((nx, ny, nz), dtype=torch.uint8 if len(logits) <= 256 else torch.int16, device=logits.device)
    rows = max(1, _SLAB_VALUES // max(1, (len(logits) + _COORDINATE_VALUES) * ny * nz))
    for start in range(0, nx, rows):
        i = torch.arange(start, min(start + rows, nx)).double()
        voxel = i[:, None, None, None] * to_working[:3, 0] + plane
        inside = ((voxel > -1) & (voxel < size)).all(dim=-1)
        # grid_sample counts from -1 (first voxel centre) to 1 (last); an axis of one voxel has no extent
        grid = torch.where(size > 1, 2 * voxel / (size - 1).clamp(min=1) - 1, torch.zeros_like(voxel)).flip(-1)
        scores = F.grid_sample(
            logits[None], grid[None].to(logits), mode="bilinear", padding_mode="border", align_corners=True
        )[0]
        labels[start : start + rows] = scores.argmax(dim=0) * inside.to(logits.device)
    return labels


class ArgmaxOnSourceGridd(MapTransform):
    """Turn scores into labels on the grid of the file that the image was read from.

    The scores (N, *S) under each key become labels (1, *native); the working grid is the ``affine`` of the image
    under ``reference``, the native one its ``original_affine`` and ``spatial_shape`` as noted at reading.

    Args:
        keys: keys of the scores.
        reference: key of the preprocessed image.
    """

    def __init__(self, keys: KeysCollection, reference: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference = reference

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the scores of one case."""
        result = dict(data)
        meta = result[self.reference].meta
        native = np.asarray(meta["original_affine"], dtype=np.float64)
        for key in self.key_iterator(result):
            labels = argmax_on_grid(
                torch.as_tensor(result[key]), np.asarray(meta["affine"], np.float64), meta["spatial_shape"], native
            )
            result[key] = MetaTensor(labels[None], affine=torch.from_numpy(native), meta={**meta, "affine": native})
        return result
