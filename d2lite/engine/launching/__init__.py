"""Processes: how they are started, joined, stopped, and how their failures are reported."""
