"""The structures medfs knows, in one table: names, label values, codes, colours and texts.

``organs.csv`` beside this file is the table. Its first columns are those of 3D Slicer's CSV colour table; a title,
synonyms, label values per label set, a shape text and a location text follow. ``LabelValue`` in the file is the
row's own number; the label value of a structure in a dataset is in ``LabelSets``. Every text is our own and short
enough for the 77 tokens of a CLIP text encoder. Reading it needs the standard library alone.

Label sets
    ``amos`` (15 structures), ``synapse`` (the 13 of BTCV), ``chaos`` (4), ``cmr`` (MS-CMRSeg as the few-shot papers
    number it: 1 LV myocardium, stored as 200; 2 LV blood pool, 500; 3 RV, 600), ``hippocampus`` (2) and ``head_neck``
    (the 7 organs at risk of OpenKBP).

Codes
    Abdominal organs, ventricles and sides as in 3D Slicer's general anatomy terminology
    (``SegmentationCategoryTypeModifier-SlicerGeneralAnatomy.json``); inferior vena cava, portal and splenic vein,
    myocardium and spinal cord as in TotalSegmentator's ``totalsegmentator_snomed_mapping.csv``; hippocampus from DICOM
    PS3.16 CID 7153; parotid gland, larynx and mandible from CID 4031; pelvis from CID 7160; brain stem (15926001) and
    genital structure from the TG-263 concept map of HL7 mCODE. CID 7153 lists 119238007 for the brain stem, which
    SNOMED CT calls a *part* of it, so the whole structure is used here. Right, left, anterior and posterior are type
    modifiers.

    - ``prostate_uterus`` is one class for two organs. Neither organ's code would be true of every patient, so it is
      coded as *Genital structure* in the region *Pelvis*, which holds for both.
    - ``left_ventricle_myocardium`` is *Myocardium* in the region *Left ventricle of heart*. The blood pools have the
      codes of their ventricles, as Slicer and TotalSegmentator do it.
    - ``background`` is no anatomy: DICOM's own *Background* (125040, DCM), CID 7165.

Colours
    Slicer's ``GenericAnatomyColors`` wherever they can be told apart within a label set. Slicer gives both sides of a
    pair one colour, and liver and stomach, bladder and prostate nearly one: the left kidney, the left adrenal gland,
    the left parotid gland and the prostate/uterus have three quarters of Slicer's brightness, the stomach is pink.
    The inferior vena cava has Slicer's colour of veins, the myocardium that of the heart, the brainstem that of the
    midbrain, the parotid that of salivary glands, the anterior hippocampus that of the limbic lobe and the posterior
    one a darker shade of it; the portal and splenic veins are blue as in TotalSegmentator.
"""

from medfs.anatomy.color_table import COLOR_TABLE_COLUMNS as COLOR_TABLE_COLUMNS
from medfs.anatomy.color_table import color_table_rows as color_table_rows
from medfs.anatomy.label_sets import custom_label_set as custom_label_set
from medfs.anatomy.label_sets import label_set as label_set
from medfs.anatomy.label_sets import label_set_names as label_set_names
from medfs.anatomy.label_sets import nameless_label_set as nameless_label_set
from medfs.anatomy.label_sets import resolve_label_set as resolve_label_set
from medfs.anatomy.names import find_organ as find_organ
from medfs.anatomy.structures import Code as Code
from medfs.anatomy.structures import LabelSet as LabelSet
from medfs.anatomy.structures import Organ as Organ
from medfs.anatomy.table import known_organs as known_organs
