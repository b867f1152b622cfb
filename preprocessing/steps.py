"""The transforms of a recipe: stated by name, resolved for a scan, applied to image and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from medfs.io import Volume


@dataclass(frozen=True)
class Step:
    """One dictionary transform of :mod:`medfs.transforms`, by name, so that the manifest can state it.

    Attributes:
        transform: e.g. ``"ClipPercentiled"``.
        keys: ``"image"``, ``"label"`` or both.
        parameters: arguments of the transform. ``spacing_factor`` stands for a ``spacing_mm`` that is a multiple of
            the spacing of the scan; None keeps an axis.
    """

    transform: str
    keys: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resamples(self) -> bool:
        """Whether it is one that knows the sizes of the published files."""
        return "ToSpacing" in self.transform

    def described(self) -> dict[str, Any]:
        """The step as the manifest states it."""
        return {"transform": self.transform, "keys": list(self.keys), **self.parameters}


def resample_steps(
    *, spacing_mm: tuple[float | None, ...] | None = None, spacing_factor: tuple[float | None, ...] | None = None
) -> tuple[Step, ...]:
    """Resample image and labels: to ``spacing_mm``, or to ``spacing_factor`` times the spacing of the scan."""
    grid = {"spacing_mm": spacing_mm} if spacing_factor is None else {"spacing_factor": spacing_factor}
    return (Step("ResampleToSpacingd", ("image",), grid), Step("ResampleLabelsToSpacingd", ("label",), grid))


def crop_steps(size: tuple[int, int]) -> tuple[Step, ...]:
    """Crop or pad image and labels in-plane."""
    return (
        Step("CropOrPadInPlaned", ("image",), {"size": size, "pad": "minimum"}),
        Step("CropOrPadInPlaned", ("label",), {"size": size, "pad": 0}),
    )


def apply_steps(steps: Sequence[Step], image: Volume, labels: np.ndarray | None) -> tuple[Volume, np.ndarray | None]:
    """Image and labels after all steps; without steps neither torch nor MONAI is loaded.

    Args:
        steps: in order.
        image: the scan.
        labels: ``(X, Y, Z)`` uint8 on its grid, if there are any.

    Returns:
        The image, with the header it came with where the grid is still the same, and the labels on its grid.
    """
    if not steps:
        return image, labels
    import torch
    from monai.data import MetaTensor

    from medfs import transforms

    data: dict = {}
    for key, array in (("image", image.array), ("label", labels)):
        if array is not None:
            meta = {"filename_or_obj": str(image.path)}
            data[key] = MetaTensor(
                torch.from_numpy(np.array(array[None])), affine=torch.from_numpy(image.affine), meta=meta
            )
    for step in steps:
        for key in step.keys:
            if key in data:
                transform = getattr(transforms, step.transform)
                data = transform([key], **_resolved(step.parameters, data[key].affine.numpy()))(data)
    array, affine = data["image"][0].numpy(), data["image"].affine.numpy()
    if array.shape == image.array.shape and np.allclose(affine, image.affine, rtol=0, atol=1e-6):
        image = replace(image, array=array)
    else:
        image = replace(Volume.from_array(array, affine, image.path), warnings=image.warnings)
    return image, data["label"][0].numpy() if "label" in data else None


def compact(array: np.ndarray) -> np.ndarray:
    """Whole numbers as integers, which the writer stores in fewer bytes; ``read_image`` gives the same floats again."""
    whole = array.dtype.kind != "f" or bool((array == np.rint(array)).all() and np.abs(array).max(initial=0) < 2**24)
    return array.astype(np.int32) if whole else array


def _resolved(parameters: Mapping[str, Any], affine: np.ndarray) -> dict[str, Any]:
    """Parameters with ``spacing_factor`` turned into ``spacing_mm``."""
    resolved = dict(parameters)
    if "spacing_factor" in resolved:
        spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
        factors = resolved.pop("spacing_factor")
        resolved["spacing_mm"] = [f and float(f * s) for f, s in zip(factors, spacing_mm, strict=True)]
    return resolved
