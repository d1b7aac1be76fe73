"""Fixtures for bundles."""

from bundle_place import workshop

__all__ = ["workshop"]
