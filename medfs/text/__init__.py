"""What is known about organs in words, as vectors a network can be conditioned on."""

from medfs.text.prior import TextPrior as TextPrior
from medfs.text.provenance import Provenance as Provenance
