"""Makes SavedModels, one of which reaches for files, and keeps what TensorFlow answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

folder = Path(sys.argv[1])
rows = tf.constant([[0.0, 1, 2, 3], [4, 5, 6, 7]])


class Text(tf.Module):  # type: ignore[misc]  # no types here
    """From numbers and a text to numbers and texts."""

    @tf.function(  # type: ignore[untyped-decorator]  # no types here
        input_signature=[
            tf.TensorSpec([None, 4], tf.float32, name="x"),
            tf.TensorSpec([None], tf.string, name="word"),
        ]
    )
    def __call__(self, x: Any, word: Any) -> dict[str, Any]:
        """Sums, and the words with a mark."""
        return {"sum": tf.reduce_sum(x, axis=1), "marked": word + "!"}


class Reaching(tf.Module):  # type: ignore[misc]  # no types here
    """Reads a file while it predicts."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]  # no types
    def __call__(self, x: Any) -> dict[str, Any]:
        """Its input, and a file."""
        return {"x": x, "secret": tf.io.read_file("/etc/hostname")}


for name, made in (("text", Text()), ("reaching", Reaching())):
    tf.saved_model.save(made, str(folder / name), signatures=made.__call__)
model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3, activation="softmax")])
model.export(str(folder / "dense"), verbose=False)
told = {"rows": rows.numpy().tolist(), "dense": model(rows).numpy().tolist()}
(folder / "expected.json").write_text(json.dumps(told))
