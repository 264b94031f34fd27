"""Cut polygons with a rectangle: pure numpy, no geometry library.

P points of one polygon, (P, 2) float64, (x, y) in pixels.
"""

import numpy as np


def clip_polygon(
    polygon: np.ndarray, x0: float, y0: float, x1: float, y1: float
) -> list[np.ndarray]:
    """Keep the part of a polygon that is inside a rectangle.

    The rectangle is taken as four half planes, one after the other. A concave polygon can fall
    apart; each part is returned by itself.

    Args:
        polygon: (P, 2) float, (x, y) in pixels; first and last point need not be equal.
        x0: left side of the rectangle.
        y0: top side of the rectangle.
        x1: right side of the rectangle.
        y1: bottom side of the rectangle.

    Returns:
        The parts, each (Q, 2) float64 with Q >= 3 and an area above zero; the list is empty if
        nothing is inside. All parts turn the same way (negative shoelace sum), starting from
        the point that follows the polygon's first one, as GEOS has them.
    """
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    if _twice_area(points) > 0:
        points = np.roll(points[::-1], 1, axis=0)
    parts = [np.roll(points, -1, axis=0)]
    for axis, side, limit in ((0, 1, x0), (0, -1, x1), (1, 1, y0), (1, -1, y1)):
        parts = [kept for part in parts for kept in _cut(part, axis, side, limit)]
    return [part for part in parts if len(part) >= 3 and _twice_area(part) != 0]


def _twice_area(points: np.ndarray) -> float:
    """Twice the signed area of a polygon (shoelace sum)."""
    # Relative to one of its points, so that far away small polygons keep their digits.
    x, y = (points - points[:1]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _cut(points: np.ndarray, axis: int, side: int, limit: float) -> list[np.ndarray]:
    """Cut with the half plane side * coordinate >= side * limit."""
    height = side * (points[:, axis] - limit)
    is_inside = height >= 0
    if is_inside.all():
        return [points]
    if not is_inside.any():
        return []
    following, next_inside = np.roll(points, -1, axis=0), np.roll(is_inside, -1)
    crosses = np.flatnonzero(is_inside != next_inside)
    share = height[crosses] / (height[crosses] - np.roll(height, -1)[crosses])
    cuts = points[crosses] + share[:, None] * (following[crosses] - points[crosses])
    cuts[:, axis] = limit

    # Inside chains run from an entry cut to the next exit cut.
    entries = [i for i, edge in enumerate(crosses) if next_inside[edge]]
    chains = []
    for entry in entries:
        leave = (entry + 1) % len(crosses)
        first, count = crosses[entry] + 1, (crosses[leave] - crosses[entry]) % len(points)
        inner = points[(first + np.arange(count)) % len(points)]
        chains.append(np.concatenate([cuts[entry : entry + 1], inner, cuts[leave : leave + 1]]))
    if len(chains) == 1:
        return [_start_inside(chains[0], crosses[entries[0]] + 1, len(points))]
    return _join_chains(chains, 1 - axis)


def _start_inside(chain: np.ndarray, first: int, num_points: int) -> np.ndarray:
    """Turn a closed chain so that the original order of the polygon's points is kept."""
    num_wrapped = first + len(chain) - 2 - num_points
    if num_wrapped <= 0:
        return chain
    # The last of the inner points are the first of the ring: begin with them.
    return np.roll(chain, num_wrapped + 1, axis=0)


def _join_chains(chains: list[np.ndarray], along: int) -> list[np.ndarray]:
    """Close the chains along the cutting line: neighbouring cuts have the polygon between them."""
    ends = np.array([[chain[0, along], chain[-1, along]] for chain in chains]).ravel()
    order = np.argsort(ends, kind="stable")
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    leaves_to = partner[1::2]
    if (leaves_to % 2).any():
        # Only a polygon that crosses itself pairs two exits; it stays in one piece, whose edges
        # along the line enclose nothing.
        return [np.concatenate(chains)]
    parts, open_chains = [], set(range(len(chains)))
    while open_chains:
        part, current = [], min(open_chains)
        while current in open_chains:
            open_chains.remove(current)
            part.append(chains[current])
            current = int(leaves_to[current]) // 2
        parts.append(np.concatenate(part))
    return parts
