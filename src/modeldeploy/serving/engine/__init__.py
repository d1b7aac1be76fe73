"""Runs models for requests: at once where the model is free, together where it is busy."""
