"""What a voxel of the phantom can be, and how bright it is."""

from enum import IntEnum
from typing import Literal, NamedTuple

Modality = Literal["ct", "mr"]


class Tissue(IntEnum):
    """The organs under their label value, then everything that has no label."""

    AIR = 0
    SPLEEN = 1
    RIGHT_KIDNEY = 2
    LEFT_KIDNEY = 3
    GALLBLADDER = 4
    ESOPHAGUS = 5
    LIVER = 6
    STOMACH = 7
    AORTA = 8
    POSTCAVA = 9
    PANCREAS = 10
    RIGHT_ADRENAL = 11
    LEFT_ADRENAL = 12
    DUODENUM = 13
    BLADDER = 14
    PROSTATE_UTERUS = 15
    FAT = 16
    MUSCLE = 17
    BONE = 18
    MARROW = 19
    DISC = 20
    CORD = 21
    LUNG = 22
    HEART = 23
    BOWEL = 24
    STOOL = 25
    GAS = 26
    VESSEL = 27


ORGANS = tuple(Tissue(value) for value in range(1, 16))


class Brightness(NamedTuple):
    """Mean and its standard deviation between patients: CT in HU, MR (T2-weighted) in arbitrary units."""

    ct: float
    ct_sd: float
    mr: float
    mr_sd: float


BRIGHTNESS: dict[Tissue, Brightness] = {
    Tissue.AIR: Brightness(-1000, 0, 0, 0),
    Tissue.SPLEEN: Brightness(122, 8, 400, 40),
    Tissue.RIGHT_KIDNEY: Brightness(172, 12, 450, 40),
    Tissue.LEFT_KIDNEY: Brightness(172, 12, 450, 40),
    Tissue.GALLBLADDER: Brightness(9, 4, 930, 60),
    Tissue.ESOPHAGUS: Brightness(52, 6, 240, 30),
    Tissue.LIVER: Brightness(108, 9, 190, 25),
    Tissue.STOMACH: Brightness(26, 7, 620, 110),
    Tissue.AORTA: Brightness(152, 12, 50, 15),
    Tissue.POSTCAVA: Brightness(140, 10, 70, 20),
    Tissue.PANCREAS: Brightness(90, 8, 290, 30),
    Tissue.RIGHT_ADRENAL: Brightness(72, 6, 220, 25),
    Tissue.LEFT_ADRENAL: Brightness(72, 6, 220, 25),
    Tissue.DUODENUM: Brightness(45, 8, 430, 60),
    Tissue.BLADDER: Brightness(4, 3, 960, 50),
    Tissue.PROSTATE_UTERUS: Brightness(66, 7, 340, 40),
    Tissue.FAT: Brightness(-102, 5, 560, 60),
    Tissue.MUSCLE: Brightness(56, 4, 120, 15),
    Tissue.BONE: Brightness(420, 50, 60, 15),
    Tissue.MARROW: Brightness(190, 25, 330, 40),
    Tissue.DISC: Brightness(85, 8, 380, 80),
    Tissue.CORD: Brightness(25, 5, 780, 60),
    Tissue.LUNG: Brightness(-830, 25, 25, 8),
    Tissue.HEART: Brightness(125, 10, 130, 25),
    Tissue.BOWEL: Brightness(55, 10, 420, 70),
    Tissue.STOOL: Brightness(15, 20, 300, 80),
    Tissue.GAS: Brightness(-900, 20, 10, 5),
    Tissue.VESSEL: Brightness(146, 10, 60, 15),
}
