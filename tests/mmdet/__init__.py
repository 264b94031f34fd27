"""Tests of d2lite.mmdet."""
