"""Encoder, plug-ins and head as one network; and the network that holds its supports."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.batches import shrink_images, shrink_masks
from medfs.fewshot.heads import EpisodeHead
from medfs.fewshot.plugins import EpisodePlugin
from medfs.losses import IGNORED, alignment_loss
from medfs.networks.functional import resize
from medfs.text import TextPrior
from medfs.text.prompts import BACKGROUND
from medfs.types import Episode, Features, Prediction, Prototypes

_BUILT_IN_SIZE = 64


class Encoder(Protocol):
    """A module that gives the stages of an image."""

    spatial_dims: int
    out_channels: Sequence[int]

    def __call__(self, image: Tensor) -> Features:
        """Stages of images (B, C, *S)."""


class FewShotSegmentor(nn.Module):
    """Encoder, plug-ins, extraction, plug-ins, matching; binary by construction.

    Supports and queries go through the encoder in one batch, as published, so that in training batch normalisation
    sees both.

    Args:
        encoder: a module as :class:`Encoder` describes.
        head: the method.
        plugins: applied in order.
        text_prior: gives plug-ins the texts of an episode's class and of the background, by name; None if no plug-in
            reads any.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: EpisodeHead,
        plugins: Sequence[EpisodePlugin] = (),
        text_prior: TextPrior | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.text_prior = encoder, head, text_prior
        self.plugins = nn.ModuleList(plugins)

    def forward(self, episode: Episode) -> Prediction:
        """Segment the queries; their truth, if the episode has it, is not looked at."""
        query, support = self.encode(episode)
        return self.match(query, support, episode.support_mask, self.texts(episode.class_name))

    def losses(self, episode: Episode) -> dict[str, Tensor]:
        """Weighted terms whose sum training minimises: segmentation, alignment if the head has it, the head's own.

        Padding counts nowhere.

        Raises:
            UsageError: the episode has no query mask.
        """
        if episode.query_mask is None:
            raise UsageError("episode without query mask; training needs the truth of the query")
        query, support = self.encode(episode)
        mask, text = episode.support_mask, self.texts(episode.class_name)
        query, support = self._changed(query, support, mask, text)
        prediction = self._matched(query, support, mask, text)
        target = episode.query_mask.long()
        if episode.query_valid is not None:
            target = target.masked_fill(~episode.query_valid, IGNORED)
        terms = {"segmentation": self.head.loss(prediction, target)}
        if self.head.alignment_weight:
            weights, valid = self.head.alignment_class_weights, episode.support_valid
            again = self.head.swapped(prediction)
            loss = alignment_loss(again, prediction, query, support, mask, weights, valid)
            terms["alignment"] = self.head.alignment_weight * loss
        return terms | self.head.auxiliary(prediction, query, support, mask, target)

    def encode(self, episode: Episode) -> tuple[Features, Features]:
        """Features of the queries (B, C, *S) and of the supports (B, K, C, *S), before any plug-in."""
        batch, shots = episode.support_image.shape[:2]
        stages = self.encoder(torch.cat([episode.support_image.flatten(0, 1), episode.query_image]))
        support = tuple(stage[: batch * shots].unflatten(0, (batch, shots)) for stage in stages)
        return tuple(stage[batch * shots :] for stage in stages), support

    def match(self, query: Features, support: Features, mask: Tensor, text: Tensor | None = None) -> Prediction:
        """Plug-ins and head on given features, for those who encode an image once and match it several times.

        Args:
            query: (B, C, *S) at each level.
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
            text: (B, 2, T, D), of :meth:`texts`.
        """
        query, support = self._changed(query, support, mask, text)
        return self._matched(query, support, mask, text)

    def match_tuned(self, query: Features, support: Features, mask: Tensor, text: Tensor | None = None) -> Prediction:
        """As :meth:`match`, with the head tuned to the episodes as at test time (:meth:`EpisodeHead.adapt`)."""
        query, support = self._changed(query, support, mask, text)
        prototypes = self._extracted(support, mask, text)
        with self.head.adapt(query, support, mask, prototypes):
            return self.head.match(query, support, mask, prototypes)

    def texts(self, names: Sequence[str]) -> Tensor | None:
        """Texts (B, 2, T, D) of the background and of B classes; None without names or prior, or if nobody reads them.

        Raises:
            UsageError: the prior lacks a name, or the background; the message has the nearest.
        """
        if self.text_prior is None or not names or not len(self.plugins):
            return None
        return torch.stack([self.text_prior([BACKGROUND] * len(names)), self.text_prior(names)], dim=1)

    @property
    def depends_on_query(self) -> bool:
        """Whether the prototypes of an organ depend on the query: a plug-in sees it, or the head is tuned to it."""
        return len(self.plugins) > 0 or type(self.head).adapt is not EpisodeHead.adapt

    def for_supports(
        self,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        names: Sequence[str] = (),
        size: int | None = None,
    ) -> "SupportedSegmentor":
        """The network with supports inside: ``forward(image)``. They are encoded in evaluation mode.

        Args:
            images: (N, K, C, *S), K supports for each of N organs.
            masks: (N, K, *S), bool. Without images and masks a bright ball stands in, for one organ: enough to check
                or export the module.
            names: of the N organs, for plug-ins that read texts.
            size: supports and images are shrunk as in training, see :class:`~medfs.fewshot.EpisodeBatches`; what is
                found is not.

        Raises:
            UsageError: the shapes do not fit together, one of the two is missing, or the prior lacks a name.
        """
        if images is None and masks is None:
            images, masks = _ball(self.encoder.spatial_dims)  # type: ignore[arg-type]
            names = self.text_prior.names[-1:] if self.text_prior is not None else ()
        if images is None or masks is None or images.ndim < 5 or masks.shape != (*images.shape[:2], *images.shape[3:]):
            raise UsageError("supports: expected images (N, K, C, *S) together with masks (N, K, *S)")
        if size is not None:
            images, masks = shrink_images(images, size), shrink_masks(masks, size)
        training = self.encoder.training
        with torch.no_grad():
            stages = self.encoder.eval()(images.flatten(0, 1))
        self.encoder.train(training)
        support = tuple(stage.unflatten(0, images.shape[:2]) for stage in stages)
        return SupportedSegmentor(self, support, masks, self.texts(names), size)

    def _changed(
        self, query: Features, support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Features, Features]:
        for plugin in self._plugins():
            query, support = plugin.on_features(query, support, mask, text)
        return query, support

    def _matched(self, query: Features, support: Features, mask: Tensor, text: Tensor | None) -> Prediction:
        return self.head.match(query, support, mask, self._extracted(support, mask, text))

    def _extracted(self, support: Features, mask: Tensor, text: Tensor | None) -> tuple[Prototypes, ...]:
        prototypes = self.head.extract(support, mask)
        if plugins := self._plugins():
            features = self.head.prototype_features(support)
            for plugin in plugins:
                prototypes = plugin.on_prototypes(prototypes, features, mask, text)
        return prototypes

    def _plugins(self) -> list[EpisodePlugin]:
        return [plugin for plugin in self.plugins if isinstance(plugin, EpisodePlugin)]


class SupportedSegmentor(nn.Module):
    """A few-shot network and the features of its supports, as buffers: an image in, all organs out.

    Args:
        segmentor: the network; shared, not copied.
        support: (N, K, C, *S) at each level, features of the supports of N organs.
        masks: (N, K, *S), bool.
        text: (N, 2, T, D), of :meth:`FewShotSegmentor.texts`.
        size: that images are shrunk to, see :meth:`FewShotSegmentor.for_supports`.
    """

    masks: Tensor
    text: Tensor | None

    def __init__(
        self,
        segmentor: FewShotSegmentor,
        support: Features,
        masks: Tensor,
        text: Tensor | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.segmentor, self.levels, self.size = segmentor, len(support), size
        for level, stage in enumerate(support):
            self.register_buffer(f"support_{level}", stage)
        self.register_buffer("masks", masks)
        self.register_buffer("text", None if text is None else text.detach())

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, 1 + N, *S) of images (B, C, *S), background first.

        They are those of :func:`merged_logits`.
        """
        seen = image if self.size is None else shrink_images(image, self.size)
        return merged_logits(self.foreground(self.segmentor.encoder(seen), image.shape[2:]))

    def foreground(self, query: Features, size: Sequence[int]) -> Tensor:
        """Probability of each organ (B, N, *size) from features (B, C, *S) of the queries.

        The organs are N episodes that share the features of a query. A head that tunes itself at test time
        (:meth:`EpisodeHead.adapt`) does so for each query.
        """
        support = tuple(self.get_buffer(f"support_{level}") for level in range(self.levels))
        head, masks = self.segmentor.head, self.masks
        prototypes = None if self.segmentor.depends_on_query else head.extract(support, masks)
        found = []
        for index in range(len(query[0])):
            shared = tuple(stage[index].expand(len(masks), *stage.shape[1:]) for stage in query)
            if prototypes is None:
                prediction = self.segmentor.match_tuned(shared, support, masks, self.text)
            else:
                prediction = head.match(shared, support, masks, prototypes)
            found.append(prediction.probability[:, 1])
        return resize(torch.stack(found), size)


def merged_logits(foreground: Tensor) -> Tensor:
    """Logits (B, 1 + N, *S), background first, from the probability (B, N, *S) of each organ by itself.

    The softmax of one organ is its pair of probabilities. With several, each voxel's logits are the logs of the organs'
    probabilities and of what the most probable one leaves to the background, so that the largest wins a conflict and
    the background where none reaches one half.
    """
    merged = torch.cat([1 - foreground.amax(dim=1, keepdim=True), foreground], dim=1)
    return merged.clamp(min=torch.finfo(merged.dtype).eps).log()


def _ball(spatial_dims: int) -> tuple[Tensor, Tensor]:
    axis = torch.linspace(-1, 1, _BUILT_IN_SIZE)
    radius = torch.stack(torch.meshgrid(*[axis] * spatial_dims, indexing="ij")).square().sum(dim=0)
    mask = (radius < 0.25)[None, None]
    return mask[:, :, None].float(), mask
