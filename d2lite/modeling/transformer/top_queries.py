"""The best pairs of a query and a class, of all queries and classes together.

N images, Q queries, K classes.
"""

from torch import Tensor

from d2lite.utils.tracing import at_most


def top_queries(logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose by the score of one class against all others; a query may come with several classes.

    Args:
        logits: (N, Q, K) float.
        count: at most so many for an image; all Q * K pairs where there are fewer.

    Returns:
        (N, count) scores in [0, 1], descending; classes; numbers of queries.
    """
    classes = logits.shape[-1]
    scores = logits.float().sigmoid().flatten(1)
    best, pairs = scores.topk(at_most(count, scores.shape[1]), dim=1)
    return best, pairs % classes, pairs.div(classes, rounding_mode="floor")
