"""The network that holds a labelled volume, and how MONAI's evaluator brings a scan to a network."""

from collections.abc import Sequence

import torch
from monai.inferers import Inferer, SimpleInferer, SliceInferer
from torch import Tensor, nn

from medfs.fewshot.batches import shrink_images, shrink_masks
from medfs.fewshot.segmentor import FewShotSegmentor, merged_logits
from medfs.fewshot.volumes import SupportedOrgan, VolumeMatcher
from medfs.networks.functional import resize

_SLICES_AT_ONCE = 8


class SupportedVolumes(nn.Module):
    """A network for volumes with a labelled scan as its support: a whole scan in, all organs out.

    The support is encoded with the first scan, on its device. Memory is that of :class:`VolumeMatcher`.

    Args:
        segmentor: a network for volumes; shared, not copied.
        image: (*S), the support.
        masks: (N, *S), bool, of its N organs.
        names: of the organs, for plug-ins that read texts.
        size: slices are shrunk as in training, see :class:`~medfs.fewshot.EpisodeBatches`; what is found is not.
    """

    image: Tensor
    masks: Tensor

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        image: Tensor,
        masks: Tensor,
        names: Sequence[str] = (),
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.segmentor, self.names, self.size = segmentor, tuple(names), size
        self.register_buffer("image", image[None] if size is None else shrink_images(image[None], size))
        self.register_buffer("masks", masks if size is None else shrink_masks(masks, size))
        self._encoded: tuple[VolumeMatcher, list[SupportedOrgan]] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 1 + N, *S) of scans (B, 1, *S), background first, see :func:`merged_logits`.

        Raises:
            UsageError: at the first scan, the network is one for slices, or the labels of the support reach over more
                voxels than fit at once.
        """
        if self._encoded is None or self._encoded[0].device != image.device:
            matcher, organs = VolumeMatcher(self.segmentor, device=image.device), range(len(self.masks))
            named = dict(zip(organs, self.names, strict=False))
            supported = matcher.supports([self.image], {n: [self.masks[n]] for n in organs}, organ_names=named)
            self._encoded = matcher, list(supported.values())
        matcher, asked = self._encoded
        seen = image if self.size is None else shrink_images(image, self.size)
        return merged_logits(resize(torch.stack([matcher.foreground(scan, asked) for scan in seen]), image.shape[2:]))


def scan_inferer(spatial_dims: int) -> Inferer:
    """What brings a scan (1, 1, slices, rows, columns) to a network: slice by slice, or whole to one for volumes.

    Args:
        spatial_dims: of the network.
    """
    return SimpleInferer() if spatial_dims == 3 else SliceInferer(0, [-1, -1], _SLICES_AT_ONCE)
