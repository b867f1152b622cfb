"""Whole volumes: supports encoded once with all their labels, the query by sliding window, memory bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from medfs.errors import InputError, UsageError
from medfs.fewshot.segmentor import FewShotSegmentor
from medfs.fewshot.volume_windows import grown, surroundings, window_size
from medfs.networks.encoders import relative_positions
from medfs.networks.functional import resize
from medfs.types import Features, Prediction, Prototypes

MOST_VOXELS = 2**22
"""A volume of 64 x 256 x 256; see the table of memory in docs/results/volumes_few_shot.md."""


@dataclass(frozen=True, eq=False, slots=True)
class SupportedOrgan:
    """What queries need of the supports of one organ.

    Attributes:
        stages: (1, K, C, *S) at each level.
        mask: (1, K, *S), bool.
        prototypes: as the head extracts them; None where they depend on the query.
        text: (1, 2, T, D), what plug-ins read.
    """

    stages: Features
    mask: Tensor
    prototypes: tuple[Prototypes, ...] | None
    text: Tensor | None = None


class VolumeMatcher:
    """Finds organs in whole volumes: prototypes once from the whole supports, the query at once or by sliding window.

    A volume of up to ``most_voxels`` goes through the network in one piece. A larger query is cut into overlapping
    windows of at most as many, whose probabilities are blended with Gaussian weights; heads whose threshold comes from
    the query then take it from each window. Supports that are larger, or would be once padded to one size, are cut to
    what surrounds their labels. So the memory of the network depends on ``most_voxels`` alone, whatever the size of the
    scan.

    Args:
        segmentor: a network for volumes; moved to the device, in evaluation mode from here on.
        most_voxels: that the network sees at once.
        overlap: share of a window that the next one covers again.
        device: where to compute.

    Raises:
        UsageError: the network is one for slices, or a number cannot be used.
    """

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        *,
        most_voxels: int = MOST_VOXELS,
        overlap: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        if segmentor.encoder.spatial_dims != 3:
            raise UsageError("the encoder takes slices; expected one for volumes, with spatial_dims 3")
        if most_voxels < 1 or not 0 <= overlap < 1:
            raise UsageError(f"{most_voxels} voxels at once, overlap {overlap}; expected at least 1, and 0 to below 1")
        self.segmentor, self.device = segmentor.to(device).eval(), device
        self.most_voxels, self.overlap = most_voxels, overlap

    def supports(
        self,
        images: Sequence[Tensor],
        masks: Mapping[int, Sequence[Tensor]],
        *,
        names: Sequence[str] = (),
        organ_names: Mapping[int, str] | None = None,
    ) -> dict[int, SupportedOrgan]:
        """Encode K supports, each once for all organs.

        All are padded at the end to one size, the largest along each axis, with their lowest intensity. If that is too
        large, they are first cut to what surrounds all their labels, by the widest margin that fits.

        Args:
            images: (C, *S) of each support; S may differ.
            masks: (*S), bool, of each support, by organ; empty where a support lacks the organ.
            names: of the supports, for messages.
            organ_names: names of the organs, for plug-ins that read texts.

        Returns:
            One entry for each organ, in the order of ``masks``.

        Raises:
            UsageError: nothing is labelled in a support, or labels reach over more voxels than fit at once.
        """
        labelled = [torch.stack(each).any(dim=0).cpu().numpy() for each in zip(*masks.values(), strict=True)]
        crops = surroundings(labelled, self.most_voxels, names)
        cut = [self.placed(image)[(slice(None), *crop)] for image, crop in zip(images, crops, strict=True)]
        size = [max(lengths) for lengths in zip(*(image.shape[1:] for image in cut), strict=True)]
        stages = self.encode([grown(image, size, float(image[0].min())) for image in cut])
        organs = {}
        for value, of_organ in masks.items():
            shapes = [grown(mask[crop], size, 0) for mask, crop in zip(of_organ, crops, strict=True)]
            organs[value] = self.organ(stages, torch.stack(shapes), (organ_names or {}).get(value))
        return organs

    @torch.no_grad()
    def encode(self, images: Sequence[Tensor]) -> Features:
        """Features (1, K, C, *S) of K volumes (C, *S) of one size, each whole and by itself.

        Raises:
            InputError: the volumes are so small that the encoder leaves one place of them, and cannot normalise it.
        """
        try:
            each = [self.segmentor.encoder(image[None].to(self.device)) for image in images]
        except ValueError as error:  # of instance normalisation
            size = " x ".join(map(str, images[0].shape[1:]))
            raise InputError(f"a volume of {size} voxels is too small for the network; expected more") from error
        return tuple(torch.stack(level, dim=1) for level in zip(*each, strict=True))

    @torch.no_grad()
    def organ(self, stages: Features, mask: Tensor, name: str | None = None) -> SupportedOrgan:
        """One organ of encoded supports.

        Args:
            stages: of :meth:`encode`.
            mask: (K, *S), bool.
            name: of the organ, for plug-ins that read texts.
        """
        segmentor, masks = self.segmentor, mask[None].to(self.device)
        text = segmentor.texts(() if name is None else (name,))
        prototypes = None if segmentor.depends_on_query else segmentor.head.extract(stages, masks)
        return SupportedOrgan(stages, masks, prototypes, text)

    @torch.no_grad()  # not inference mode: heads that adapt to an episode need gradients of these features
    def foreground(self, image: Tensor, organs: Sequence[SupportedOrgan], encoded: Features | None = None) -> Tensor:
        """Probability of each organ (N, *S) in a volume, each by itself; on the device of the volume.

        The truth of the query is not among the arguments: nothing can leak.

        Args:
            image: (C, *S).
            organs: of :meth:`supports`.
            encoded: of :meth:`encode`, where the volume fits at once and was encoded before.
        """
        size = tuple(image.shape[1:])
        window = self.window(size)
        if window == size:
            stages = self.encode([self.placed(image)]) if encoded is None else encoded
            return self._probabilities(tuple(stage[:, 0] for stage in stages), size, organs)[0].to(image.device)
        found = sliding_window_inference(
            self.placed(image)[None],
            window,
            1,
            lambda part: self._probabilities(self.segmentor.encoder(part), part.shape[2:], organs),
            overlap=self.overlap,
            mode="gaussian",
            sw_device=self.device,
            device=image.device,
        )
        return cast(Tensor, found)[0]

    def window(self, size: Sequence[int]) -> tuple[int, ...]:
        """What of a volume of this size is seen at once, see :func:`window_size`."""
        return window_size(size, self.most_voxels)

    def placed(self, image: Tensor) -> Tensor:
        """A volume with the positions that its crops and windows will need, if the encoder wants any."""
        if not getattr(self.segmentor.encoder, "positions", False):
            return image
        return torch.cat([image, relative_positions(image.shape[1:]).to(image)])

    def _probabilities(self, query: Features, size: Sequence[int], organs: Sequence[SupportedOrgan]) -> Tensor:
        """(1, N, *size) of one window."""
        found = [resize(self._matched(query, organ).probability[:, 1:], size) for organ in organs]
        return torch.cat(found, dim=1)

    def _matched(self, query: Features, organ: SupportedOrgan) -> Prediction:
        if organ.prototypes is not None:
            return self.segmentor.head.match(query, organ.stages, organ.mask, organ.prototypes)
        return self.segmentor.match_tuned(query, organ.stages, organ.mask, organ.text)
