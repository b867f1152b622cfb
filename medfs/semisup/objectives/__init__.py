"""What is minimised: one objective a file; adding one is that file and a line here."""

from medfs.semisup.objectives.base import SemiSupervisedObjective as SemiSupervisedObjective
from medfs.semisup.objectives.cross_pseudo import CrossPseudoObjective as CrossPseudoObjective
from medfs.semisup.objectives.dhc import DHCObjective as DHCObjective
from medfs.semisup.objectives.gradient_aware import GradientAwareObjective as GradientAwareObjective
from medfs.semisup.objectives.magicnet import MagicNetObjective as MagicNetObjective
from medfs.semisup.objectives.mean_teacher import MeanTeacherObjective as MeanTeacherObjective
from medfs.semisup.objectives.self_training import SelfTrainingObjective as SelfTrainingObjective
from medfs.semisup.objectives.supervised import SupervisedObjective as SupervisedObjective
from medfs.semisup.objectives.tak import TAKObjective as TAKObjective
from medfs.semisup.objectives.uncertainty_mean_teacher import (
    UncertaintyMeanTeacherObjective as UncertaintyMeanTeacherObjective,
)
from medfs.semisup.objectives.uncertainty_rectified import (
    UncertaintyRectifiedObjective as UncertaintyRectifiedObjective,
)
