"""Segmentations for people and for other programs: 3D Slicer, spreadsheets, pictures."""

from medfs.export.batch import ExportJob as ExportJob
from medfs.export.batch import plan_export as plan_export
from medfs.export.labels import label_counts as label_counts
from medfs.export.page import PagePicture as PagePicture
from medfs.export.page import PageTable as PageTable
from medfs.export.page import write_page as write_page
from medfs.export.preview import write_preview as write_preview
from medfs.export.report import statistics_rows as statistics_rows
from medfs.export.report import write_table as write_table
from medfs.export.slicer import write_color_table as write_color_table
from medfs.export.slicer import write_seg_nrrd as write_seg_nrrd
from medfs.export.supervoxels import write_supervoxel_preview as write_supervoxel_preview
