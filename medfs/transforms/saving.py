"""Writing label maps from a MONAI pipeline through the one writer."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medfs.io import case_name, make_folder, read_image, write_labels


class SaveLabelsd(MapTransform):
    """Write labels (1, *S) as ``<case>_seg.nii.gz``, with the geometry header of the file the image came from.

    Args:
        keys: keys of the labels, on the grid of the file.
        reference: key of the image; its metadata name the file.
        output_dir: folder of the results, made if missing.
        suffix: what follows the name of the case.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(
        self,
        keys: KeysCollection,
        reference: str = "image",
        output_dir: str | Path = ".",
        suffix: str = "_seg",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reference, self.output_dir, self.suffix = reference, Path(output_dir), suffix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the labels of one case and pass the dictionary on."""
        result = dict(data)
        source = read_image(result[self.reference].meta["filename_or_obj"])
        make_folder(self.output_dir)
        for key in self.key_iterator(result):
            path = self.output_dir / f"{case_name(source.path)}{self.suffix}.nii.gz"
            write_labels(path, torch.as_tensor(result[key][0]).numpy(force=True), like=source)
        return result
