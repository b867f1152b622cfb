"""The text-conditioned V-Net: backbone, image context, generated head, and projections for text-vision alignment."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal, cast

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.networks.initialisation import initialise_from_text
from medfs.networks.text_head import ClassVectors, GlobalContext, TextConditionedHead, TextFusion
from medfs.networks.vnet import PlainVNet, Stages, VNet

SCALES = 3


class TextAlignment(nn.Module):
    """Projections of the deepest stages and of the class texts into one space per scale; used in training only.

    The text projection of the deepest scale is the first layer of the fusion wherever the widths agree, so that head
    and alignment learn it together.

    Args:
        in_channels: channels of the stages, fine to coarse; each is the width of its scale.
        fusion: the text path of the head.
        spatial_dims: 2 or 3.
    """

    def __init__(self, in_channels: Sequence[int], fusion: TextFusion, *, spatial_dims: int = 3) -> None:
        super().__init__()
        convolution, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.INSTANCE, spatial_dims]
        self.features = nn.ModuleList(
            nn.Sequential(convolution(width, width, 1), norm(width), nn.ReLU(), convolution(width, width, 1))
            for width in in_channels
        )
        own = in_channels if fusion.project[0].out_features != in_channels[-1] else in_channels[:-1]
        self.texts = nn.ModuleList(nn.Sequential(nn.Linear(fusion.text_channels, width), nn.ReLU()) for width in own)

    def forward(self, stages: Sequence[Tensor], fusion: TextFusion) -> tuple[Stages, Stages]:
        """Visual embeddings (B, C_i, *S_i) and text embeddings (N, T, C_i), per scale."""
        embedding = fusion.embedding()
        texts = [project(embedding) for project in self.texts]
        if len(texts) < len(self.features):
            texts.append(fusion.project(embedding))
        visuals = [project(stage) for project, stage in zip(self.features, stages, strict=True)]
        return tuple(visuals), tuple(texts)


class TextVNet(nn.Module):
    """V-Net whose output layer is generated from anatomical texts.

    Args:
        classes: where the class vectors come from: ``TextFusion`` for training, a number of classes (or
            ``ClassVectors``) for a deployed network without any text, into which the weights of ``deploy()`` fit.
        in_channels: channels of the image.
        spatial_dims: 2 or 3.
        filters: channels of the first stage.
        levels: stages of the backbone, at least 3; the three deepest feed context and alignment.
        context_channels: width of the image's context vector.
        head_channels: channels inside the generated head.
        init: ``"text"`` starts the head with ``initialise_from_text``, ``"published"`` with default weights.
        gradient_checkpointing: in training compute each stage of the backbone again in the backward pass, as `VNet`.

    Raises:
        UsageError: with fewer than 3 levels or another ``init``.

    **Differs from the paper** in its start (``init``), and in the classifier of cube locations, which belongs to the
    training objective.

    Example:
        >>> network = TextVNet(4, spatial_dims=2, filters=8, levels=3)
        >>> network(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 4, 16, 16])

    References:
        Gu et al. 2025, *Leveraging Textual Anatomical Knowledge for Class-Imbalanced Semi-Supervised Multi-Organ
        Segmentation*.
    """

    def __init__(
        self,
        classes: nn.Module | int,
        in_channels: int = 1,
        *,
        spatial_dims: int = 3,
        filters: int = 16,
        levels: int = 5,
        context_channels: int = 256,
        head_channels: int = 8,
        init: Literal["text", "published"] = "text",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if levels < SCALES or init not in ("text", "published"):
            raise UsageError(
                f"text-conditioned V-Net: {levels=}, {init=}; expected at least {SCALES} levels, 'text' or 'published'"
            )
        classes = ClassVectors(classes) if isinstance(classes, int) else classes
        self.backbone = VNet(
            in_channels,
            spatial_dims=spatial_dims,
            filters=filters,
            levels=levels,
            gradient_checkpointing=gradient_checkpointing,
        )
        deepest = self.backbone.channels[-SCALES:]
        self.context = GlobalContext(deepest, context_channels, spatial_dims=spatial_dims)
        self.head = TextConditionedHead(
            classes, filters, context_channels, head_channels=head_channels, spatial_dims=spatial_dims
        )
        self.alignment = None
        if isinstance(classes, TextFusion):
            self.alignment = TextAlignment(deepest, classes, spatial_dims=spatial_dims)
        if init == "text":
            initialise_from_text(self.head)

    @property
    def num_classes(self) -> int:
        """Channels of the output, background included."""
        classes = self.head.classes
        return len(classes.names if isinstance(classes, TextFusion) else cast(Tensor, classes.vectors))

    def encode(self, image: Tensor) -> Stages:
        """Features of every stage, fine to coarse, of an image (B, C, *S)."""
        return self.backbone.encode(image)

    def decode(self, stages: Sequence[Tensor]) -> Tensor:
        """Features at full resolution, (B, filters, *S)."""
        return self.backbone.decode(stages)

    def predict(self, stages: Sequence[Tensor], decoded: Tensor) -> Tensor:
        """Logits (B, N, *S) from stages and decoded features, which may have been cut and recovered in between."""
        return self.head(decoded, self.context(stages[-SCALES:]))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, N, *S) of an image (B, C, *S)."""
        stages = self.encode(image)
        return self.predict(stages, self.decode(stages))

    def embed(self, stages: Sequence[Tensor]) -> tuple[Stages, Stages]:
        """Embeddings for the contrast of voxels and texts, at the three deepest stages.

        Args:
            stages: what ``encode`` returned.

        Returns:
            Visual embeddings (B, C_i, *S_i) and text embeddings (N, T, C_i), fine to coarse.

        Raises:
            UsageError: for a deployed network, which knows no texts.
        """
        if self.alignment is None:
            raise UsageError("a deployed network has no text embeddings; expected one built with a TextFusion")
        return self.alignment(stages[-SCALES:], cast(TextFusion, self.head.classes))

    @torch.no_grad()
    def deploy(self) -> "TextVNet":
        """A copy for inference: the same logits, class vectors as a buffer, neither texts nor alignment.

        Its weights fit a network built with the number of classes alone, and it can be traced.

        Example:
            >>> network = TextVNet(4, spatial_dims=2, filters=8, levels=3)
            >>> list(network.deploy().state_dict()) == list(network.state_dict())
            True
        """
        vectors = self.head.classes().detach().clone()
        stored = ClassVectors(*vectors.shape).to(vectors)
        stored.vectors.copy_(vectors)
        deployed = deepcopy(self)
        deployed.alignment = None
        deployed.head.classes = stored
        return deployed.eval()


def deployed_vnet(output_layer: str, classes: int, in_channels: int = 1, **sizes: Any) -> TextVNet | PlainVNet:
    """The network of a finished run, into which the weights of its ``deploy()`` fit.

    Args:
        output_layer: ``text`` for a :class:`TextVNet`, ``plain`` for a :class:`medfs.networks.PlainVNet`.
        classes: channels of the output, background included.
        in_channels: channels of the image.
        sizes: ``spatial_dims``, ``filters`` and ``levels``.

    Raises:
        UsageError: another ``output_layer``.

    >>> type(deployed_vnet("plain", 3, filters=4, levels=3)).__name__
    'PlainVNet'
    """
    if output_layer not in ("text", "plain"):
        raise UsageError(f"output layer {output_layer!r}; expected 'text' or 'plain'")
    return (TextVNet if output_layer == "text" else PlainVNet)(classes, in_channels, **sizes)
