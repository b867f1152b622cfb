"""CD-TG: a sentence about the class, and one about the background, join the prototypes of any head."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.fewshot.plugins.base import EpisodePlugin
from medfs.fewshot.plugins.style_jitter import FeatureStyleJitter
from medfs.networks.functional import mask_on_grid, mean_of_shots, resize
from medfs.networks.text_attention import TextFeatureAttention, TextGuidedMean, TextTokenAttention
from medfs.types import Features, Prototypes

Mode = Literal["published", "tokens", "reverse"]
Fuse = Literal["none", "l2"]

_ATTENTION: dict[str, Callable[[int, int], nn.Module]] = {
    "published": TextFeatureAttention,
    "tokens": TextTokenAttention,
    "reverse": TextGuidedMean,
}
_BACKGROUND, _FOREGROUND = 0, 1


class CDTGPlugin(EpisodePlugin):
    """Prototypes of the supports, blended with prototypes of features that have heard a text.

    Each class has a text; that of the background is the row ``background`` of the text prior. The features of the
    supports hear it, and their mean under the mask of the class is averaged over the shots. Every prototype of the
    class that the head extracted is blended with this one; where a head has no background, that text is not used. In
    training the features of the supports are given another style first, see
    :class:`~medfs.fewshot.plugins.style_jitter.FeatureStyleJitter`.

    With ``text_weight`` 0 prototypes and features stay as they are, bit for bit; style is changed all the same, unless
    ``jitter`` is 0. In evaluation nothing is random. An empty support mask gives a zero prototype of the text, too.
    Shots without the class do not count, unless none has it.

    Args:
        channels: widths of what is guided: ``head.prototype_channels``, with ``pass_text_features`` those of the
            encoder's stages as well. Equal widths share their parameters, as published.
        text_channels: width of the text prior.
        mode: ``"published"``, where attention is a bias of the channels and a normalisation; ``"tokens"``, in which
            each place attends to all kinds of text of the prior; ``"reverse"``, in which the texts choose among the
            places of the class.
        text_weight: share of the text in a prototype, from 0 to 1.
        fuse: ``"none"`` blends vectors as they are; ``"l2"`` blends their directions and keeps the length of the
            head's. Prototypes that are directions are always blended so.
        jitter: strength of the change of style in training; 0 for none.
        pass_text_features: give the head features of query and supports that have heard the text of the class.
        seed: of the changes of style.

    Raises:
        UsageError: an unknown mode or fuse, a weight outside of 0 to 1, a negative strength, no channels, or text
            features in reverse mode; in use, an episode without text, or features of another width.

    **Differs from the paper**: attention is computed as what it is, without the copies of the text, see
    :class:`~medfs.networks.text_attention.TextFeatureAttention`. Prototypes of the text are averaged over the shots of
    an episode; the release averages over the episodes of the batch as well, whose classes differ. It reads another
    sentence, or none, where it misses that of a class, here this is an error. Of several kinds of text ``"published"``
    takes the mean. A class so small that its mask has no place on the grid of the features gets the places that hold
    most of it. With ``pass_text_features``, as in the paper's figure but not in its release, the head's own prototypes
    are extracted from those features. ``"tokens"``, ``"reverse"`` and ``fuse="l2"`` are ours. The alignment loss of
    heads that have one, and decisions that a head makes for its loss alone, hear no text.

    References:
        CD-TG, Leveraging language to generalize natural images to few-shot medical image segmentation.
    """

    def __init__(
        self,
        channels: Sequence[int],
        text_channels: int,
        *,
        mode: Mode = "published",
        text_weight: float = 0.3,
        fuse: Fuse = "none",
        jitter: float = 0.3,
        pass_text_features: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if mode not in _ATTENTION or fuse not in ("none", "l2"):
            raise UsageError(f"CD-TG: mode {mode!r}, fuse {fuse!r}; expected {', '.join(_ATTENTION)}, and none or l2")
        if not 0 <= text_weight <= 1 or jitter < 0 or not channels:
            raise UsageError(
                f"CD-TG: text_weight {text_weight}, jitter {jitter}, channels {list(channels)}; expected a weight from "
                "0 to 1, a jitter of 0 or more, and at least one width"
            )
        if pass_text_features and mode == "reverse":
            raise UsageError("CD-TG: no features hear the text in reverse mode; expected pass_text_features=False")
        self.channels, self.text_channels, self.mode, self.text_weight = (
            tuple(channels),
            text_channels,
            mode,
            text_weight,
        )
        self.fuse, self.jitter, self.pass_text_features, self.seed = fuse, jitter, pass_text_features, seed
        widths = sorted(set(channels))
        self.attention = nn.ModuleDict({str(width): _ATTENTION[mode](width, text_channels) for width in widths})
        self.style = FeatureStyleJitter(jitter, seed)

    def on_features(
        self, query: Features, support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Features, Features]:
        """As :meth:`EpisodePlugin.on_features`: supports in another style, and both with the text if wanted."""
        if self.training and self.jitter:
            support = tuple(self.style(stage.flatten(0, 1)).unflatten(0, stage.shape[:2]) for stage in support)
        if not (self.pass_text_features and self.text_weight):
            return query, support
        of_class = _given(text)[:, _FOREGROUND]
        heard = tuple(self._heard(stage[:, None], of_class)[:, 0] for stage in query)
        return heard, tuple(self._heard(stage, of_class) for stage in support)

    def on_prototypes(
        self, prototypes: tuple[Prototypes, ...], support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Prototypes, ...]:
        """As :meth:`EpisodePlugin.on_prototypes`: blended with those of the text."""
        if not self.text_weight:
            return prototypes
        texts = _given(text)
        return tuple(self._blended(*each, mask, texts) for each in zip(prototypes, support, strict=True))

    def _blended(self, given: Prototypes, features: Tensor, mask: Tensor, text: Tensor) -> Prototypes:
        share, counts = _share(mask, features.shape[3:]), shots_that_count(mask)[..., None]
        told = self._told(features, share * counts, text[:, _FOREGROUND])
        foreground, background = self._fused(given.foreground, told, given.directions), given.background
        if background is not None:
            told = self._told(features, (1 - share) * counts, text[:, _BACKGROUND])
            background = self._fused(background, told, given.directions)
        return replace(given, foreground=foreground, background=background)

    def _told(self, features: Tensor, weight: Tensor, text: Tensor) -> Tensor:
        """The prototype (B, C) that a text gives, of features (B, K, C, *s) with weights (B, K, n)."""
        if self.mode == "reverse":
            return self._attention(features.shape[2])(features.flatten(3).float(), weight, text)
        return mean_of_shots(self._heard(features, text).flatten(3).float(), weight)

    def _heard(self, features: Tensor, text: Tensor) -> Tensor:
        """Features (B, K, C, *s) that have heard texts (B, T, D)."""
        text = text.repeat_interleave(features.shape[1], dim=0)
        text = text.mean(dim=1) if self.mode == "published" else text
        heard: Tensor = self._attention(features.shape[2])(features.flatten(0, 1), text)
        return heard.unflatten(0, features.shape[:2])

    def _attention(self, channels: int) -> nn.Module:
        if str(channels) not in self.attention:
            raise UsageError(f"CD-TG: features of {channels} channels; expected {', '.join(self.attention)}")
        return self.attention[str(channels)]

    def _fused(self, given: Tensor, told: Tensor, directions: bool) -> Tensor:
        """Prototypes (B, P, C) blended with that of a text (B, C)."""
        told, share = told[:, None].to(given.dtype), self.text_weight
        if self.fuse == "none" and not directions:
            return (1 - share) * given + share * told
        mixed = (1 - share) * F.normalize(given, dim=2) + share * F.normalize(told, dim=2)
        return given.norm(dim=2, keepdim=True) * F.normalize(mixed, dim=2)


def _given(text: Tensor | None) -> Tensor:
    if text is None:
        raise UsageError("CD-TG: an episode without text; expected a text prior in the network, and names of classes")
    return text


def _share(mask: Tensor, size: Sequence[int]) -> Tensor:
    """How much of each place of a grid is the class, (B, K, n)."""
    flat = mask.flatten(0, 1)
    share = resize(flat[:, None].float(), size).flatten(1)
    missed = ~(share > 0).any(dim=1, keepdim=True)
    if missed.any():
        share = share.where(~missed, mask_on_grid(flat, size).flatten(1).float())
    return share.unflatten(0, mask.shape[:2])
