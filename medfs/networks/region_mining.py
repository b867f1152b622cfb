"""Attention that looks for a target region twice: by all features, and by those of a prior mask."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.networks.prototype_bank import evenly_spaced


class MaskedAttention(nn.Module):
    """One head of attention whose values are fetched by two sets of keys: of all features, and of masked ones.

    ``Q + (0.5 softmax(q k) + mu softmax(q k')) v / (0.5 + mu)``, k' of the features times a mask.

    Args:
        channels: of the features.
        scaled: divide the scores by the root of the channels, as attention usually does.
        max_keys: if there are more places, only that many are looked at: evenly spaced ones of the mask, and what is
            left of the budget outside. Memory and time grow with queries times keys.

    References:
        Vaswani et al., Attention is all you need, NeurIPS 2017.
    """

    def __init__(self, channels: int, *, scaled: bool = False, max_keys: int = 8192) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((1,), 0.5))
        self.to_query, self.to_key, self.to_value = (nn.Linear(channels, channels, bias=False) for _ in range(3))
        self.scale, self.max_keys = (channels**-0.5 if scaled else 1.0), max_keys

    def forward(self, query: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """What the query (B, C, *S) finds in the source (B, C, *S) with a mask (B, 1, *S) in [0, 1], added to it."""
        tokens, values, share = (item.flatten(2).transpose(1, 2) for item in (query, source, mask))
        if values.shape[1] > self.max_keys:
            places = _most_of_mask(share[..., 0] >= 0.5, self.max_keys)[..., None]
            share, values = share.gather(1, places), values.gather(1, places.expand(-1, -1, values.shape[2]))
        asked, found = self.to_query(tokens), self.to_value(values)
        everywhere = self._attend(asked, self._keys(values), found)
        masked = self._attend(asked, self._keys(values * share), found)
        mixed = (0.5 * everywhere + self.mu * masked) / (0.5 + self.mu)
        return query + mixed.transpose(1, 2).unflatten(2, query.shape[2:])

    def _keys(self, values: Tensor) -> Tensor:
        # what all keys share changes no weight; without it, large unscaled scores keep their last digits
        return self.to_key(values - values.mean(dim=1, keepdim=True))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        one_head = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=self.scale)
        return one_head[:, 0]


def _most_of_mask(mask: Tensor, count: int) -> Tensor:
    """``count`` places (B, count) of a mask (B, N): inside it first, the rest outside; evenly spaced on both sides."""
    rows = []
    for row in mask[:, None]:
        inside = evenly_spaced(row, count)[0][0]
        rows.append(torch.cat([inside, evenly_spaced(~row, count - len(inside))[0][0]]))
    return torch.stack(rows)
