"""Fixtures for attacks on bundles."""

from bundle_place import workshop

__all__ = ["workshop"]
