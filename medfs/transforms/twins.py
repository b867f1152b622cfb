"""What the array transforms and their dictionary twins share."""

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaObj, MetaTensor, get_track_meta
from monai.transforms import InvertibleTransform, LazyTransform, MapTransform
from monai.utils import convert_to_tensor


class Twin(MapTransform):
    """Dictionary twin: one array transform on the values of some keys.

    Args:
        keys: keys of the volumes (C, *S).
        transform: the array transform.
        allow_missing_keys: pass over keys that a dictionary lacks.
    """

    def __init__(self, keys: KeysCollection, transform: Any, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A dictionary with the transformed volumes; the given one stays as it is."""
        return self._mapped(data, self.transform)

    def _mapped(self, data: Mapping[Hashable, Any], function: Callable) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = function(result[key])
        return result


class GridTwin(Twin, InvertibleTransform):
    """Twin of an array transform that changes the grid and can go back."""

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A dictionary with the volumes back on the grid they came from."""
        return self._mapped(data, self.transform.inverse)


class LazyGridTwin(GridTwin, LazyTransform):
    """Twin of an array transform that changes the grid and knows MONAI's lazy execution."""

    def __init__(self, keys: KeysCollection, transform: Any, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, transform, allow_missing_keys)
        self._lazy = transform.lazy

    @LazyTransform.lazy.setter  # type: ignore[attr-defined]
    def lazy(self, value: bool | None) -> None:
        """Whether the transform waits for others; the array transform follows."""
        self._lazy = value
        self.transform.lazy = value

    @property
    def requires_current_data(self) -> bool:
        """Whether what is pending must be done before this transform."""
        return bool(self.transform.requires_current_data)

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """A dictionary with the transformed volumes; the given one stays as it is."""
        return self._mapped(data, partial(self.transform, lazy=lazy))


def as_volume(img: NdarrayOrTensor) -> torch.Tensor:
    """The volume as MONAI tracks it: an array or a plain tensor gets an identity affine, as in MONAI's transforms."""
    volume: torch.Tensor = convert_to_tensor(img, track_meta=get_track_meta())
    return volume


def plain(volume: torch.Tensor) -> torch.Tensor:
    """The voxels without their metadata, not copied."""
    return volume.as_tensor() if isinstance(volume, MetaTensor) else volume


def with_metadata(voxels: torch.Tensor, like: torch.Tensor, changed: MetaObj | None = None) -> torch.Tensor:
    """The voxels with the metadata of another volume, if it has any, and what changed of them."""
    if not isinstance(like, MetaTensor):
        return voxels
    result = MetaTensor(voxels)
    result.copy_meta_from(like)
    if changed is not None:
        result.copy_meta_from(changed)
    return result


def float_type(dtype: torch.dtype) -> torch.dtype:
    """What intensities become: float64 stays, everything else is float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def name_of(volume: torch.Tensor) -> str:
    """The file a volume came from, for messages; ``volume`` where nobody noted it."""
    source = volume.meta.get("filename_or_obj") if isinstance(volume, MetaTensor) else None
    return Path(str(source)).name if source else "volume"
