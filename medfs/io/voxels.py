"""Stored voxels become float32 intensities or exact integer labels, or an error that names value and count."""

import numpy as np

from medfs.errors import InputError


def intensities(
    stored: np.ndarray, scaling: tuple[float, float], name: str, *, replace_nan: bool = False
) -> np.ndarray:
    """``slope * stored + inter`` as float32.

    Args:
        stored: ``(X, Y, Z)``, real, any byte order.
        scaling: slope and intercept.
        name: what the file is called in messages.
        replace_nan: put the lowest value of the volume where NaN is, instead of refusing.

    Returns:
        ``(X, Y, Z)`` float32, all finite.

    Raises:
        InputError: NaN (unless replaced), infinite voxels, a scaling that is not finite or leaves float32.
    """
    slope, inter = scaling
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise InputError(f"{name}: scl_slope {slope:g} and scl_inter {inter:g}; expected finite numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        if (slope, inter) == (1.0, 0.0):
            values = stored.astype(np.float32, copy=False)
        else:
            values = np.empty(stored.shape, np.float32, order="F")
            for z in range(stored.shape[2]):
                values[..., z] = stored[..., z] * np.float64(slope) + inter
    if np.isfinite(values.min()) and np.isfinite(values.max()):
        return values
    return _repaired(values, stored, name, replace_nan)


def labels(stored: np.ndarray, scaling: tuple[float, float], name: str, warnings: list[str]) -> np.ndarray:
    """The integers that ``stored`` stands for, exactly.

    Integers without scaling keep their type; all others get the smallest of int16, int32 and int64 that holds them.

    Raises:
        InputError: a voxel is no whole number or is beyond int64; the message names the first value and the count.
    """
    slope, inter = scaling
    integral = stored.dtype.kind in "iu"
    if integral and not (np.isfinite(slope) and np.isfinite(inter)):
        warnings.append(f"{name}: scl_slope {slope:g} and scl_inter {inter:g} ignored; the stored integers are used")
        slope, inter = 1.0, 0.0
    if integral and (slope, inter) == (1.0, 0.0):
        return stored.astype(stored.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        values = stored.astype(np.float64) * slope + inter
        wrong = ~((values == np.rint(values)) & (np.abs(values) < 2.0**63))
    if wrong.any():
        first, count = values[wrong][0], int(wrong.sum())
        raise InputError(f"{name}: label value {first:g} among {count} that are no whole numbers; expected integers")
    low, high = values.min(), values.max()
    dtype = next(t for t in (np.int16, np.int32, np.int64) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(dtype)


def require_values(array: np.ndarray, classes: int, name: str) -> None:
    """Return if all labels are among ``0 .. classes - 1``.

    Args:
        array: integers of any shape, not empty.
        classes: how many there are, the background included.
        name: what the file is called in messages.

    Raises:
        InputError: others occur; the first values and their counts are named.
    """
    if array.min() >= 0 and array.max() < classes:
        return
    values, counts = np.unique(array[(array < 0) | (array >= classes)], return_counts=True)
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in zip(values[:5], counts[:5], strict=True))
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    raise InputError(f"{name}: label values {listed}{more}; expected 0 to {classes - 1}, the classes of the network")


def smallest_integer_dtype(values: np.ndarray) -> np.dtype:
    """The smallest of uint8, int16, uint16, int32, uint32, int64, uint64 that holds all ``values``; uint8 for none.

    >>> smallest_integer_dtype(np.array([0, 300])), smallest_integer_dtype(np.array([], int))
    (dtype('int16'), dtype('uint8'))
    """
    if values.size == 0:
        return np.dtype(np.uint8)
    low, high = int(values.min()), int(values.max())
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
    return np.dtype(next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))


def _repaired(values: np.ndarray, stored: np.ndarray, name: str, replace_nan: bool) -> np.ndarray:
    missing = np.isnan(values)
    count, infinite = int(missing.sum()), int(np.isinf(values).sum())
    if infinite:
        if stored.dtype.kind in "iu" or np.isinf(stored).sum() < infinite:
            raise InputError(f"{name}: {infinite} voxels overflow float32 once scaled; check scl_slope and scl_inter")
        raise InputError(f"{name}: {infinite} of {values.size} voxels are infinite; expected finite ones")
    if count == values.size:
        raise InputError(f"{name}: all voxels are NaN")
    if not replace_nan:
        raise InputError(
            f"{name}: {count} of {values.size} voxels are NaN; expected finite ones, or read it with replace_nan "
            "(the lowest value is put there)"
        )
    return np.where(missing, np.nanmin(values), values)
