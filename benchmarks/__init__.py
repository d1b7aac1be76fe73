"""Measurements, side by side in one run: ``python -m benchmarks``, or ``make bench``.

Whatever is compared takes turns, round after round, on the same machine with the same model; what counts is
the ratio. Each module below is one question; its docstring says what is measured, and how.
"""
