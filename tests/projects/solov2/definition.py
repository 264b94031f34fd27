"""SOLOv2's targets and losses written down cell by cell: slow, plain, and what ours must equal."""

import cv2
import numpy as np
import torch
from torch import Tensor


def shrink(mask: np.ndarray) -> np.ndarray:
    """A quarter of the size, as OpenCV's linear resize makes it of a uint8 bitmap."""
    height, width = mask.shape
    size = (int(width / 4 + 0.5), int(height / 4 + 0.5))
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_LINEAR)


def center_of_mass(mask: np.ndarray) -> tuple[np.float32, np.float32]:
    """X and y of the mean pixel of a bitmap that is not empty."""
    ys, xs = np.nonzero(mask)
    return np.float32(xs.mean()), np.float32(ys.mean())


def cell_of(position: np.float32, full_size: int, num_grid: int) -> int:
    """The grid cell that holds a position, in float32 as the published code computes it."""
    share = torch.tensor(position) / full_size
    return int(share // (1.0 / num_grid))


def targets(boxes, classes, masks, *, padded_size, num_grids, scale_ranges, sigma, num_classes):
    """For every level: category of each cell, and the list of (cell, instance) pairs."""
    levels = []
    for num_grid, (smallest, largest) in zip(num_grids, scale_ranges, strict=True):
        labels = np.full((num_grid, num_grid), num_classes)
        pairs = []
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            size = np.sqrt(np.float32((x1 - x0) * (y1 - y0)))
            if not (smallest <= size <= largest) or not masks[i].any():
                continue
            x, y = center_of_mass(masks[i])
            half_width = np.float32(0.5 * (x1 - x0) * sigma)
            half_height = np.float32(0.5 * (y1 - y0) * sigma)
            row, col = cell_of(y, padded_size[0], num_grid), cell_of(x, padded_size[1], num_grid)
            top = max(cell_of(y - half_height, padded_size[0], num_grid), 0, row - 1)
            bottom = min(cell_of(y + half_height, padded_size[0], num_grid), num_grid - 1, row + 1)
            left = max(cell_of(x - half_width, padded_size[1], num_grid), 0, col - 1)
            right = min(cell_of(x + half_width, padded_size[1], num_grid), num_grid - 1, col + 1)
            for r in range(top, bottom + 1):
                for c in range(left, right + 1):
                    labels[r, c] = classes[i]
                    pairs.append((r * num_grid + c, i))
        levels.append((labels, pairs))
    return levels


def dice(pred: Tensor, truth: Tensor) -> Tensor:
    """One minus 2 |A B| / (|A|^2 + |B|^2) for one soft and one hard mask."""
    return 1 - 2 * (pred * truth).sum() / ((pred**2).sum() + 0.001 + (truth**2).sum() + 0.001)


def loss_by_loops(pred_categories, pred_kernels, features, instances, settings):
    """Both losses of a batch, a convolution for every positive cell.

    Args:
        pred_categories: (N, C, S, S) logits of each level.
        pred_kernels: (N, D, S, S) of each level.
        features: (N, D, H, W) mask features at a quarter of the padded size.
        instances: of each image: boxes, classes and masks as numpy arrays.
        settings: keyword arguments of `targets` but padded_size.
    """
    height, width = features.shape[-2:]
    num_classes = settings["num_classes"]
    dice_losses, labels, logits = [], [], []
    num_positive_cells = 0
    for n, (boxes, classes, masks) in enumerate(instances):
        found = targets(boxes, classes, masks, padded_size=(height * 4, width * 4), **settings)
        for level, (level_labels, pairs) in enumerate(found):
            labels.append(torch.as_tensor(level_labels.reshape(-1)))
            logits.append(pred_categories[level][n].permute(1, 2, 0).reshape(-1, num_classes))
            num_positive_cells += len({cell for cell, _ in pairs})
            for cell, i in pairs:
                kernel = pred_kernels[level][n].flatten(1)[:, cell]
                soft = torch.einsum("d,dhw->hw", kernel, features[n]).sigmoid()
                small = shrink(masks[i])
                truth = torch.zeros(height, width)
                truth[: small.shape[0], : small.shape[1]] = torch.as_tensor(small)
                dice_losses.append(dice(soft, truth))
    labels, logits = torch.cat(labels), torch.cat(logits)
    one_hot = torch.nn.functional.one_hot(labels, num_classes + 1)[:, :num_classes].float()
    p = logits.sigmoid()
    right = torch.where(one_hot > 0, p, 1 - p)
    weight = torch.where(one_hot > 0, 0.25, 0.75)
    focal = -(weight * (1 - right) ** 2 * right.log()).sum()
    loss_ins = 3.0 * torch.stack(dice_losses).mean() if dice_losses else torch.tensor(0.0)
    return {"loss_ins": loss_ins, "loss_cate": focal / (num_positive_cells + 1)}
