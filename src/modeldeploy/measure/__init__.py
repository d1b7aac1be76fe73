"""Measuring bundles and models on this machine, and drawing what came of it.

`client` is the load generator, a program of its own; `load` starts it and counts; `messages` makes what is
sent. `forms_child` and `timing_child` run in an environment with ONNX's tools, make other forms of a model
and time them; `search` decides, and `noise` says which differences are real. `svg` and `page` draw.
"""
