"""The classes of datasets: their names, order and counts."""
