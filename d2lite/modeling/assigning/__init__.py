"""Which predictions of a dense detector learn which object, from what the model predicts itself."""

from .dynamic import Assignment, best_per_object
from .sim_ota import assign_by_sim_ota
from .soft_label import assign_by_soft_labels

__all__ = ["Assignment", "assign_by_sim_ota", "assign_by_soft_labels", "best_per_object"]
