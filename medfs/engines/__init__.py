"""Training and evaluation loops on `monai.engines`."""

from medfs.engines.episodic import EpisodicTrainer as EpisodicTrainer
from medfs.engines.runs import load_weights as load_weights
from medfs.engines.runs import require_deployable as require_deployable
from medfs.engines.runs import write_run as write_run
from medfs.engines.semisup import SemiSupervisedTrainer as SemiSupervisedTrainer
from medfs.engines.semisup import deployed_network as deployed_network
