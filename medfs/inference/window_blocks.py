"""Sliding windows whose scores are finished slice by slice, for scans whose scores do not fit into memory at once."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import SlidingWindowInferer
from monai.utils import fall_back_tuple
from torch import Tensor


def window_blocks(
    image: Tensor, network: Callable[[Tensor], Tensor], inferer: SlidingWindowInferer, device: torch.device
) -> Iterator[tuple[range, Tensor]]:
    """The same as ``inferer(image, network)``, in blocks along the last axis, one window at a time.

    Sums of overlapping windows are added in another order, so that scores differ in the last bits of float32.

    Args:
        image: (1, C, X, Y, Z).
        network: from windows to scores of their size.
        inferer: gives windows, overlap and blending.
        device: of the network; scores are added up on the CPU.

    Yields:
        Slices of Z, ascending, every one once, and their scores (1, N, n, Y, X).
    """
    roi = fall_back_tuple(inferer.roi_size, image.shape[2:])
    before = [max(size - n, 0) // 2 for size, n in zip(roi, image.shape[2:], strict=True)]
    after = [max(size - n, 0) - half for size, n, half in zip(roi, image.shape[2:], before, strict=True)]
    pairs = [amount for axis in (2, 1, 0) for amount in (before[axis], after[axis])]
    padded = F.pad(image, pairs, mode=str(inferer.padding_mode), value=inferer.cval)
    weight = compute_importance_map(roi, mode=inferer.mode, sigma_scale=inferer.sigma_scale).to(padded.dtype)
    windows = dense_patch_slices(padded.shape[2:], roi, _steps(padded.shape[2:], roi, inferer.overlap))
    starts = sorted({window[2].start for window in windows})
    total, weights = torch.empty(0), torch.empty(0)
    for number, start in enumerate(starts):
        layer = [window for window in windows if window[2].start == start]
        for x, y, z in layer:
            scores = network(padded[:, :, x, y, z].to(device))[0].cpu()
            if not total.numel():
                total = torch.zeros(len(scores), *padded.shape[2:4], roi[2], dtype=padded.dtype)
                weights = torch.zeros(padded.shape[2], padded.shape[3], roi[2], dtype=padded.dtype)
            total[:, x, y] += scores * weight
            weights[x, y] += weight
        done = (starts[number + 1] if number + 1 < len(starts) else padded.shape[4]) - start
        first, last = max(start, before[2]), min(start + done, before[2] + image.shape[4])
        kept = slice(before[0], before[0] + image.shape[2]), slice(before[1], before[1] + image.shape[3])
        ready = slice(first - start, last - start)
        if last > first:
            scores = total[:, kept[0], kept[1], ready] / weights[kept[0], kept[1], ready]
            yield range(first - before[2], last - before[2]), scores.permute(0, 3, 2, 1)[None]
        total = F.pad(total[..., done:], (0, done))
        weights = F.pad(weights[..., done:], (0, done))


def _steps(size: Sequence[int], roi: Sequence[int], overlap: Sequence[float] | float) -> list[int]:
    """From window to window, as MONAI's inferer goes."""
    overlaps = [overlap] * len(size) if isinstance(overlap, float | int) else overlap
    return [r if r == n else max(1, int(r * (1 - part))) for n, r, part in zip(size, roi, overlaps, strict=True)]
