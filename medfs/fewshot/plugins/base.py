"""Two places between encoder and head where a method can step in."""

from torch import Tensor, nn

from medfs.types import Features, Prototypes


class EpisodePlugin(nn.Module):
    """The identity; a plug-in overrides one of the two methods or both.

    ``text`` is (B, 2, T, D), the texts of the background and of the episode's class, or None where there are none.
    Every constructor argument is kept as an attribute of its name and is a plain value, so that a plug-in can be
    written to a file and built again.
    """

    def on_features(
        self, query: Features, support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Features, Features]:
        """Query (B, C, *S) and support features (B, K, C, *S) of each level, before prototypes are extracted."""
        return query, support

    def on_prototypes(
        self, prototypes: tuple[Prototypes, ...], support: Features, mask: Tensor, text: Tensor | None
    ) -> tuple[Prototypes, ...]:
        """Prototypes, before the query is matched.

        Args:
            prototypes: as the head extracted them.
            support: (B, K, C, *S), the features that each entry of the prototypes was made of, see
                :meth:`~medfs.fewshot.heads.EpisodeHead.prototype_features`.
            mask: (B, K, *S), bool.
            text: see above.
        """
        return prototypes
