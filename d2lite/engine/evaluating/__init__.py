"""Evaluation of one or many datasets."""
