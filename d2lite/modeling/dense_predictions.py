"""The order of the predictions of all cells.

N images, A anchors a cell, Hi x Wi cells of level i.
"""

from torch import Tensor


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:  # noqa: N803 - public names
    """Bring predictions into the order of anchors.

    Args:
        tensor: (N, A * K, Hi, Wi).
        K: numbers predicted for an anchor.

    Returns:
        (N, Hi * Wi * A, K).
    """
    n, _, h, w = tensor.shape
    cells_last = tensor.reshape(n, -1, K, h, w)
    return cells_last.permute(0, 3, 4, 1, 2).reshape(n, -1, K)
