"""Losses: functions of predictions and labels; which are added with which weight is an objective's matter."""

from medfs.losses.alignment import Matches as Matches
from medfs.losses.alignment import alignment_loss as alignment_loss
from medfs.losses.class_weighted import weighted_cross_entropy as weighted_cross_entropy
from medfs.losses.class_weighted import weighted_dice as weighted_dice
from medfs.losses.contrastive import VisualTextualContrast as VisualTextualContrast
from medfs.losses.contrastive import entropy_of as entropy_of
from medfs.losses.contrastive import entropy_threshold as entropy_threshold
from medfs.losses.contrastive import reliable_labels as reliable_labels
from medfs.losses.focal import FocalLoss as FocalLoss
from medfs.losses.gradient_aware import GACrossEntropyLoss as GACrossEntropyLoss
from medfs.losses.gradient_aware import GADiceLoss as GADiceLoss
from medfs.losses.likelihood import IGNORED as IGNORED
from medfs.losses.likelihood import logit_nll as logit_nll
from medfs.losses.likelihood import probability_nll as probability_nll
from medfs.losses.pyramid import rectified_consistency as rectified_consistency
from medfs.losses.soft_dice import SoftDiceLoss as SoftDiceLoss
from medfs.losses.soft_labels import SoftLabelLoss as SoftLabelLoss
