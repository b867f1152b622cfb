"""DICOM series that tests write, with pydicom, as scanners do or as they should not."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

UID_ROOT = "1.2.826.0.1.3680043.10.1."


def uid(*numbers) -> str:
    return UID_ROOT + ".".join(str(n) for n in numbers)


def write_slice(path, stored, position, *, axes=((1, 0, 0), (0, 1, 0)), spacing=(1.0, 1.0), modality="CT", **changes):
    """One file; ``stored`` is (rows, columns), ``spacing`` between columns and rows, ``changes`` None deletes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality = modality
    data.SeriesInstanceUID, data.FrameOfReferenceUID = uid(1), uid(2)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated, data.BitsStored = 8 * stored.itemsize, 8 * stored.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(stored.dtype.kind == "i")
    data.ImagePositionPatient = [f"{x:.6f}" for x in position]
    data.ImageOrientationPatient = [f"{x:.9f}" for axis in axes for x in axis]
    data.PixelSpacing = [f"{x:.6f}" for x in spacing[::-1]]
    data.SliceThickness = 99
    if modality == "CT":
        data.RescaleSlope, data.RescaleIntercept = 1, -1000
    data.PixelData = np.ascontiguousarray(stored).tobytes()
    for key, value in changes.items():
        if value is None:
            delattr(data, key)
        else:
            setattr(data, key, value)
    data.save_as(path, enforce_file_format=True)


def write_series(folder, array, affine, *, names=None, changes=None, **common):
    """A file per slice of ``array`` (columns, rows, slices) placed by a RAS+ affine; returns the paths.

    ``names`` are file names by slice, ``changes`` maps a slice to arguments of `write_slice` for it alone.
    """
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :2], axis=0)
    axes = (lps[:3, :2] / spacing).T
    paths = []
    for k in range(array.shape[2]):
        paths.append(folder / (names[k] if names else f"s{k:03d}.dcm"))
        arguments = {"InstanceNumber": k + 1, **common, **(changes or {}).get(k, {})}
        position = arguments.pop("position", lps[:3, 3] + k * lps[:3, 2])
        arguments.setdefault("axes", axes)
        stored = arguments.pop("stored", array[..., k].T)
        write_slice(paths[-1], stored, position, spacing=spacing, **arguments)
    return paths
