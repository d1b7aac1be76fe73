"""The smallest good project file."""

GOOD = """\
[project]
name = "digits"
version = "1.0.0"

[model]
path = "model.onnx"

[targets.local]
driver = "process"
port = 8080
"""
