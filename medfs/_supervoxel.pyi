import numpy as np
from numpy.typing import NDArray

def felzenszwalb_3d(
    image: NDArray[np.float64],
    weights: NDArray[np.float64],
    k: float,
    min_size: int,
    labels: NDArray[np.int32],
) -> int: ...
