"""Reading and writing volumes, guarded; case names; patient-level splits.

Neither torch nor MONAI is imported here; :mod:`medfs.io.monai_reader` is the bridge to MONAI's transforms.
"""

from medfs.io.atomic import atomic_path as atomic_path
from medfs.io.atomic import make_folder as make_folder
from medfs.io.datasets import Case as Case
from medfs.io.datasets import find_cases as find_cases
from medfs.io.dicom import read_dicom_series as read_dicom_series
from medfs.io.hashes import file_sha256 as file_sha256
from medfs.io.inputs import find_images as find_images
from medfs.io.inputs import image_items as image_items
from medfs.io.locks import claim_folder as claim_folder
from medfs.io.locks import release_folder as release_folder
from medfs.io.names import case_name as case_name
from medfs.io.names import unique_case_names as unique_case_names
from medfs.io.nifti import read_frames as read_frames
from medfs.io.nifti import read_image as read_image
from medfs.io.nifti import read_labels as read_labels
from medfs.io.splits import Split as Split
from medfs.io.splits import make_split as make_split
from medfs.io.volume import Volume as Volume
from medfs.io.volume import require_same_grid as require_same_grid
from medfs.io.writer import write_image as write_image
from medfs.io.writer import write_labels as write_labels
