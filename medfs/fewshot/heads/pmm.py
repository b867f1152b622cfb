"""PMMs and RPMMs: a mixture of prototypes for each class, in one round or in several residual ones."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfs.errors import UsageError
from medfs.fewshot.heads.base import EpisodeHead
from medfs.fewshot.heads.class_banks import shots_that_count
from medfs.losses import logit_nll
from medfs.networks.functional import resize
from medfs.networks.match_decoder import PlaneConv
from medfs.networks.mixture_decoder import MixtureDecoder, PlaceNorm
from medfs.networks.prototype_mixture import mixture_directions, mixture_probability
from medfs.types import Features, Prediction, Prototypes


class PMMHead(EpisodeHead):
    """Each class is a mixture of directions, found on the supports; they are both matched and shown to a decoder.

    All stages of the encoder are brought to the finest grid, concatenated and reduced. Expectation and maximisation
    find the directions of each class, from saved random ones on. The query's features are concatenated with each
    foreground direction, and the sum of what a convolution makes of these goes to a decoder, together with the
    probability of both classes under the mixture. With several mixtures, as in RPMMs, there is a round for each: its
    decoder reads the probability of the round before. Loss: likelihood, of every round.

    An empty support mask gives zero directions of the foreground. Shots without the class do not count, unless none has
    it. Side outputs, (B, 2, *s): ``mixture_probability`` of the last round, and logits of the rounds before the last,
    ``round_0``, ``round_1``, ...

    Args:
        in_channels: of the encoder's stages.
        channels: after the reduction and in the decoder.
        mixtures: directions of a class in each round: ``(3,)`` are PMMs, ``(1, 3, 6)`` RPMMs.
        steps: of expectation and maximisation.
        concentration: of the mixtures.
        class_weights: of background and foreground in the loss. Published weights are even; a network from random
            weights then calls everything background for long, which (0.1, 1) prevents.

    Raises:
        UsageError: no mixture, or one without a direction.

    **Differs from the paper**: the random directions that the mixtures start from are saved; RPMMs draw them anew each
    time. All supports of an episode form one mixture, as published; those without the class are left out of it. The
    layers of the decoder follow the paper; only the mixture was compared with what the release computes. The release
    has an encoder that gives its second and third stages, ``ResNetStagesEncoder(50)``.

    References:
        Yang et al., Prototype mixture models for few-shot semantic segmentation, ECCV 2020.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 1024),
        channels: int = 256,
        *,
        mixtures: Sequence[int] = (3,),
        steps: int = 10,
        concentration: float = 20.0,
        class_weights: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        if not mixtures or min(mixtures) < 1:
            raise UsageError(f"PMM: mixtures of {tuple(mixtures)} directions; expected at least one above 0")
        self.in_channels, self.channels, self.mixtures = tuple(in_channels), channels, tuple(mixtures)
        self.steps, self.concentration = steps, concentration
        background, foreground = class_weights
        self.class_weights = (background, foreground)
        reduction = PlaneConv(sum(in_channels), channels, dilation=2, bias=True)
        self.reduce = nn.Sequential(reduction, PlaceNorm(channels), nn.ReLU())
        for place, count in enumerate(mixtures):
            self.register_buffer(f"initial_{place}", F.normalize(torch.randn(count, channels), dim=1))
        residual = len(mixtures) > 1
        self.compare = PlaneConv(2 * channels, channels, bias=True)
        self.steady = nn.Dropout1d(0.5) if residual else nn.BatchNorm1d(channels)
        self.sum_up = PlaneConv(channels + 2 * residual, channels, bias=True)
        self.decoder = MixtureDecoder(channels)

    @property
    def prototype_channels(self) -> tuple[int, ...]:
        """Those after the reduction, for each round."""
        return (self.channels,) * len(self.mixtures)

    def prototype_features(self, support: Features) -> Features:
        """The reduced stages, the same for each round."""
        reduced = self._reduced(tuple(stage.flatten(0, 1) for stage in support))
        return (reduced.unflatten(0, support[0].shape[:2]),) * len(self.mixtures)

    def extract(self, support: Features, mask: Tensor) -> tuple[Prototypes, ...]:
        """The directions of both classes (B, P, C), for each round; no gradient reaches the supports.

        Args:
            support: (B, K, C, *S) at each level.
            mask: (B, K, *S), bool.
        """
        shots = mask.shape[:2]
        features = self._reduced(tuple(stage.flatten(0, 1) for stage in support))
        share = resize(mask.flatten(0, 1)[:, None].float(), features.shape[2:])
        counts = shots_that_count(mask).flatten().view(-1, *[1] * (features.ndim - 1))
        foreground, background = (
            (features * weight * counts).unflatten(0, shots).flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
            for weight in (share, 1 - share)
        )
        rounds = range(len(self.mixtures))
        found = ((self._directions(foreground, n), self._directions(background, n)) for n in rounds)
        return tuple(Prototypes(*pair, directions=True) for pair in found)

    def match(self, query: Features, support: Features, mask: Tensor, prototypes: tuple[Prototypes, ...]) -> Prediction:
        """The query decoded, round by round; the last one counts.

        Args:
            query: (B, C, *S) at each level.
            support: not looked at.
            mask: (B, K, *S), gives the size of the result.
            prototypes: as extracted.
        """
        features = self._reduced(query)
        rounds: list[Tensor] = []
        probability = features.new_zeros(len(features), 2, *features.shape[2:])
        for mixture in prototypes:
            assert mixture.background is not None
            before = rounds[-1].softmax(dim=1) if rounds else torch.zeros_like(probability)
            probability = mixture_probability(features, mixture.background, mixture.foreground)
            compared = self._compared(features, mixture.foreground)
            if len(self.mixtures) == 1:
                rounds.append(self.decoder(self.sum_up(compared), probability).float())
            else:
                shown = torch.cat([compared, probability.to(compared.dtype)], dim=1)
                rounds.append(self.decoder(self.sum_up(shown), before).float())
        side = {f"round_{place}": logits for place, logits in enumerate(rounds[:-1])}
        return Prediction(resize(rounds[-1], mask.shape[2:]), side | {"mixture_probability": probability})

    def loss(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The likelihood of the last round, classes weighted."""
        return logit_nll(prediction.logits, target, self.class_weights)

    def auxiliary(
        self, prediction: Prediction, query: Features, support: Features, mask: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        """The likelihood of each round before the last, ``round_0``, ``round_1``, ..."""
        rounds = {name: logits for name, logits in prediction.side.items() if name.startswith("round_")}
        sizes = mask.shape[2:]
        return {name: logit_nll(resize(v, sizes), target, self.class_weights) for name, v in rounds.items()}

    def _directions(self, values: Tensor, place: int) -> Tensor:
        initial = self.get_buffer(f"initial_{place}")
        return mixture_directions(values, initial, steps=self.steps, concentration=self.concentration)

    def _reduced(self, features: Features) -> Tensor:
        size = features[0].shape[2:]
        return self.reduce(torch.cat([resize(stage, size) for stage in features], dim=1)).float()

    def _compared(self, features: Tensor, foreground: Tensor) -> Tensor:
        """What a convolution makes of features and each direction (B, P, C), summed over the directions."""
        axes = [1] * (features.ndim - 2)
        total = torch.zeros_like(features)
        for direction in foreground.unbind(dim=1):
            tiled = direction.view(*direction.shape, *axes).expand_as(features)
            compared = self.compare(torch.cat([features, tiled.to(features.dtype)], dim=1))
            # dropout and normalisation by channels want a single spatial axis
            total = total + self.steady(compared.flatten(2)).relu().unflatten(2, features.shape[2:])
        return total
