"""What SSL-ALPNet and HCPMNet share: a bank of prototypes for each class."""

from torch import Tensor

from medfs.networks.prototype_bank import PrototypeBank
from medfs.types import Prototypes


def prototypes_of(background: PrototypeBank, foreground: PrototypeBank) -> Prototypes:
    """Two banks as what a head extracts; ``side`` says which entries are valid."""
    valid = {"foreground_valid": foreground.valid, "background_valid": background.valid}
    return Prototypes(foreground.values, background.values, valid)


def banks_of(prototypes: Prototypes) -> tuple[PrototypeBank, PrototypeBank]:
    """The banks of background and foreground that :func:`prototypes_of` was given."""
    assert prototypes.background is not None
    background = PrototypeBank(prototypes.background, prototypes.side["background_valid"])
    return background, PrototypeBank(prototypes.foreground, prototypes.side["foreground_valid"])


def shots_that_count(mask: Tensor) -> Tensor:
    """Shots (B, K) whose mask (B, K, *S) shows the class; all, if none does."""
    present = mask.flatten(2).any(dim=2)
    return present | ~present.any(dim=1, keepdim=True)
