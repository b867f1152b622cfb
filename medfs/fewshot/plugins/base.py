"""Two places between encoder and head where a method can step in."""

from torch import Tensor, nn

from medfs.types import Features, Prototypes


class EpisodePlugin(nn.Module):
    """The identity; a plug-in overrides one of the two methods or both.

    ``text`` is (B, T, D), the texts of the episode's class, or None where there is none.
    """

    def on_features(
        self, query: Features, support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Features, Features]:
        """Query (B, C, *S) and support features (B, K, C, *S) of each level, before prototypes are extracted."""
        return query, support

    def on_prototypes(
        self, prototypes: tuple[Prototypes, ...], support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Prototypes, ...]:
        """Prototypes, before the query is matched."""
        return prototypes
