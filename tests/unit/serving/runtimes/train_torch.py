"""Exports small PyTorch models in each form, and keeps what PyTorch answers."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
rows = torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7]])


class Named(torch.nn.Module):  # type: ignore[misc]  # no types here
    """Gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Values and the place of the largest."""
        values = self.layer(x)
        return {"logits": values, "best": values.argmax(1)}


class Plain(Named):
    """Gives one tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Values."""
        return self.layer(x)


model, plain = Named().eval(), Plain().eval()
batch = torch.export.Dim("batch")
for name, each in (("named.pt2", model), ("plain.pt2", plain)):
    torch.export.save(torch.export.export(each, (rows,), dynamic_shapes=({0: batch},)), folder / name)
(folder / "renamed.bin").write_bytes((folder / "plain.pt2").read_bytes())
torch.jit.script(plain).save(folder / "script.pt")
torch.save(plain.state_dict(), folder / "weights.pt")
with torch.inference_mode():
    told = {"rows": rows.tolist(), "named": model(rows)["logits"].tolist(), "plain": plain(rows).tolist()}
(folder / "expected.json").write_text(json.dumps(told))
