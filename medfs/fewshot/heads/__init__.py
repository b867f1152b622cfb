"""Few-shot methods: one head a file; adding one is that file and a line here."""

from medfs.fewshot.heads.adnet import ADNetHead as ADNetHead
from medfs.fewshot.heads.alp import ALPHead as ALPHead
from medfs.fewshot.heads.base import EpisodeHead as EpisodeHead
from medfs.fewshot.heads.dmap import DMAPHead as DMAPHead
from medfs.fewshot.heads.dmtnet import DMTNetHead as DMTNetHead
from medfs.fewshot.heads.hcpmnet import HCPMHead as HCPMHead
from medfs.fewshot.heads.ifa import IFAHead as IFAHead
from medfs.fewshot.heads.patnet import PATNetHead as PATNetHead
from medfs.fewshot.heads.pmm import PMMHead as PMMHead
from medfs.fewshot.heads.qnet import QNetHead as QNetHead
