"""mdeploy: take a trained model to safe production, and back, with one declarative file."""

__version__ = "0.1.0"
