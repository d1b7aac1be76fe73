"""Whether the trees in a file are trees: frameworks follow their indexes into memory without looking.

Only asked when a model is described (`mdeploy build`): what is in a bundle was found to be in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..tensors.rules import Array

_HEADER = re.compile(rb"\btree_sizes=([0-9 ]*)\r?\n")
_END = b"end of trees"
_FIELD = re.compile(rb"^(\w+)=(.*?)\r?$", re.MULTILINE)


class NotTrees(ValueError):
    """A node refers to one that is not there, or to one that leads back to it."""


def insist(number: int, children: Sequence[Array], features: Array, feature_count: int, nodes: int) -> None:
    """One tree: its nodes' ``children``, from 0 to ``nodes`` (excluded) and never the root, each once.

    ``features``: what its inner nodes split on. Raises `NotTrees`.
    """
    every = np.concatenate(children)
    if every.size and (every.min() < 1 or every.max() >= nodes or len(np.unique(every)) < len(every)):
        raise NotTrees(f"tree {number} is no tree: a node in it refers to a node that is not below it")
    if features.size and (features.min() < 0 or features.max() >= feature_count):
        raise NotTrees(f"tree {number} splits on a feature that the model does not have")


def insist_xgboost(learner: Mapping[str, Any], feature_count: int) -> None:
    """All trees of a model that is saved as JSON. Raises `NotTrees`."""
    booster = learner["gradient_booster"]
    booster = booster.get("gbtree", booster)  # a dart is a forest with weights
    for number, tree in enumerate(booster.get("model", {}).get("trees", ())):
        left, right, split = (
            np.asarray(tree[name], np.int64) for name in ("left_children", "right_children", "split_indices")
        )
        if not len(left) == len(right) == len(split) or ((left < 0) != (right < 0)).any():
            raise NotTrees(f"tree {number} is no tree: a node in it has one child")
        inner = left >= 0
        insist(number, (left[inner], right[inner]), split[inner], feature_count, len(left))


def insist_lightgbm(content: bytes) -> None:
    """All trees of a model in LightGBM's text, and that all of it is there. Raises ValueError."""
    header = dict(_FIELD.findall(content[: content.find(b"\nTree=0")]))
    feature_count = int(header.get(b"max_feature_idx", b"-1")) + 1
    for number, text in enumerate(list(_blocks(content))):  # all are there
        tree = dict(_FIELD.findall(text))
        leaves = int(tree.get(b"num_leaves", b"0"))
        left, right, split = (
            _numbers(tree, name) for name in (b"left_child", b"right_child", b"split_feature")
        )
        if leaves < 1 or not len(left) == len(right) == len(split) == leaves - 1:
            raise NotTrees(f"tree {number} is no tree: it does not have the nodes that it says")
        # Leaves are numbered below zero there: put behind the inner nodes, they are nodes like others.
        children = [np.where(side < 0, leaves - 2 - side, side) for side in (left, right)]
        insist(number, children, split, feature_count, 2 * leaves - 1)


def _blocks(content: bytes) -> Iterator[bytes]:
    """The text of each tree, found by the sizes that the header tells, as LightGBM itself finds it."""
    sizes = _HEADER.search(content)
    at = content.find(b"Tree=0")
    if sizes is None or at < 0:
        raise ValueError("it has no trees, or it does not say where they are")
    for size in map(int, sizes[1].split()):
        if content[at : at + 5] != b"Tree=" or size < 1:
            raise ValueError("it is cut off, or was changed: a tree is not where it says")
        yield content[at : at + size]
        at += size
    if not content[at:].lstrip().startswith(_END):
        raise ValueError(f"it is cut off, or was changed: it does not say {_END.decode()!r} after its trees")


def _numbers(tree: Mapping[bytes, bytes], name: bytes) -> Array:
    return np.array([int(each) for each in tree.get(name, b"").split()], np.int64)
