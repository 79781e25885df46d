"""Gradients written by hand, graded one step at a time."""

__version__ = "0.1.0"
