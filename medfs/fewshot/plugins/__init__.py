"""What changes features or prototypes of any head; adding one is a file and a line here."""

from medfs.fewshot.plugins.base import EpisodePlugin as EpisodePlugin
from medfs.fewshot.plugins.cdtg import CDTGPlugin as CDTGPlugin
