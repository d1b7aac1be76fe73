"""Drivers: the places where revisions run."""
