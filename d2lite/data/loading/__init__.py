"""Loaders: worker processes, batches and their order."""
