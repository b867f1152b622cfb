"""What is minimised: one objective a file; adding one is that file and a line here."""

from medfs.semisup.objectives.base import SemiSupervisedObjective as SemiSupervisedObjective
from medfs.semisup.objectives.mean_teacher import MeanTeacherObjective as MeanTeacherObjective
from medfs.semisup.objectives.supervised import SupervisedObjective as SupervisedObjective
