"""Attention from the features of an image to one text."""

from torch import Tensor, nn


class TextFeatureAttention(nn.Module):
    """Each place of an image attends to a text, and what it hears is added to it and normalised.

    There is one text, so that whatever a place asks, it hears the same: attention is a bias of the channels that
    depends on the text alone. It is computed as such, in time and memory linear in the places.

    Args:
        channels: of the features.
        text_channels: of the text's embedding.

    **Differs from the paper**: nothing in what is computed. Heads, queries and keys are left out, because they have no
    influence and no gradient; the release repeats the text for every place and attends to all copies.

    References:
        CD-TG, Leveraging language to generalize natural images to few-shot medical image segmentation.
    """

    def __init__(self, channels: int, text_channels: int) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.Linear(text_channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def bias(self, text: Tensor) -> Tensor:
        """What every place hears of a text (B, D), (B, C)."""
        return self.out(self.value(self.text(text)))

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Features (B, C, *S) that have heard a text (B, D), (B, C, *S)."""
        heard = features + self.bias(text).view(*features.shape[:2], *[1] * (features.ndim - 2))
        return self.norm(heard.movedim(1, -1)).movedim(-1, 1)
