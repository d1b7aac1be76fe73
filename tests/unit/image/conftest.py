"""What the tests of images share."""

from __future__ import annotations

import os
import platform
import sys

import pytest

from image_place import AMD64, Told
from modeldeploy.image.base.compiler import Compiler
from modeldeploy.image.cache import ImageCache
from modeldeploy.image.layers import Wanted


@pytest.fixture
def cache() -> ImageCache:
    return ImageCache()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def wanted() -> Wanted:
    """Layers for this very Python, so that no other has to be there."""
    here = Compiler(platform.python_version(), (os.path.realpath(sys.executable),))
    return Wanted("numpy==1\n", AMD64, platform.python_version(), here, "zlib-ng 1")
