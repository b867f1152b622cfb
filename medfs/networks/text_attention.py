"""Attention between the features of an image and the texts of a class."""

import math

import torch
from torch import Tensor, nn

from medfs.networks.functional import mean_of_shots

_HEADS = 8


def _told(text_channels: int, channels: int) -> nn.Sequential:
    """What brings a text to the channels of the features."""
    return nn.Sequential(nn.Linear(text_channels, channels), nn.ReLU(), nn.Linear(channels, channels))


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
        self.text = _told(text_channels, channels)
        self.value, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def bias(self, text: Tensor) -> Tensor:
        """What every place hears of a text (B, D), (B, C)."""
        return self.out(self.value(self.text(text)))

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Features (B, C, *S) that have heard a text (B, D), (B, C, *S)."""
        heard = features + self.bias(text).view(*features.shape[:2], *[1] * (features.ndim - 2))
        return self.norm(heard.movedim(1, -1)).movedim(-1, 1)


class TextTokenAttention(nn.Module):
    """Each place of an image attends to several texts: what it hears depends on what it shows.

    With a single text this is :class:`TextFeatureAttention`.

    Args:
        channels: of the features.
        text_channels: of the embedding of each text.

    **Differs from the paper**: ours; the paper has one text, so that all places hear the same.
    """

    def __init__(self, channels: int, text_channels: int) -> None:
        super().__init__()
        self.text = _told(text_channels, channels)
        self.attention = nn.MultiheadAttention(channels, math.gcd(channels, _HEADS), batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """Features (B, C, *S) that have heard texts (B, T, D), (B, C, *S)."""
        places, told = features.flatten(2).transpose(1, 2), self.text(text)
        heard, _ = self.attention(places, told, told, need_weights=False)
        return self.norm(places + heard).transpose(1, 2).unflatten(2, features.shape[2:])


class TextGuidedMean(nn.Module):
    """A text chooses among the places of a class: their mean, weighted by how well each answers the text.

    The result stays within what the features of the class span. With several texts it is the mean of what each
    chooses.

    Args:
        channels: of the features.
        text_channels: of the embedding of each text.

    **Differs from the paper**: ours; there the places ask and the text answers.
    """

    def __init__(self, channels: int, text_channels: int) -> None:
        super().__init__()
        self.text = _told(text_channels, channels)
        self.norm, self.key = nn.LayerNorm(channels), nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor, weight: Tensor, text: Tensor) -> Tensor:
        """The chosen mean, (B, C); 0 where nothing has any weight.

        Args:
            features: (B, K, C, n), of K shots; each chooses within itself and counts the same.
            weight: (B, K, n), how much of each place is the class.
            text: (B, T, D).
        """
        keys = self.key(self.norm(features.transpose(2, 3)))
        scores = torch.einsum("bknc,btc->btkn", keys, self.text(text)) / math.sqrt(features.shape[2])
        of_class = weight > 0
        chosen = []
        for score in scores.float().unbind(dim=1):
            best = score.masked_fill(~of_class, -torch.inf).amax(dim=2, keepdim=True)
            relative = torch.where(of_class, score - best.clamp(min=torch.finfo(score.dtype).min), 0.0)
            chosen.append(mean_of_shots(features, weight * relative.exp()))
        return torch.stack(chosen).mean(dim=0)
