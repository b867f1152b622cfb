"""Semi-supervised training: data streams, the teacher and the objectives."""

from medfs.semisup.batches import CropStream as CropStream
from medfs.semisup.batches import TwoStreamBatches as TwoStreamBatches
from medfs.semisup.teacher import MeanTeacher as MeanTeacher
from medfs.semisup.teacher import sigmoid_ramp as sigmoid_ramp
