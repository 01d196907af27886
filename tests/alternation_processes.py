"""One process of an alternating training on one or two, run by its test and never collected.

Writes the state after four outer iterations, the last two with exchange: learned codes, outputs of the last
subset, anchors and weights. In float64, with batch statistics of evaluation.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from fghash_baselines.adsh import ADSH
from pytorch_lightning.strategies import DDPStrategy

from fghash.methods.exchnet import ExchNet
from tiny_training import TinyData, tiny_method, train
from two_processes import FrozenStatistics

CASES = {
    "adsh": (ADSH, {}),
    "exchnet": (ExchNet, {"quantisation_weight": 1.0, "align_weight": 1.0, "threshold": 1.0}),
}


def main(folder: Path, rank: int, n_processes: int) -> None:
    """Join the others, train, and write what the first process holds."""
    several: dict[str, object] = {}
    if n_processes > 1:
        os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", GLOO_SOCKET_IFNAME="lo")
        store = f"file://{folder.resolve()}/meeting"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=n_processes)
    for name, (method_class, settings) in CASES.items():
        method = tiny_method(method_class, lr=0.002, inner=0.25, subset=9, **settings)
        if n_processes > 1:
            several = {"strategy": DDPStrategy(find_unused_parameters=True), "devices": n_processes}
        train(method, TinyData(), 4, callbacks=[FrozenStatistics()], precision="64-true", **several)
        np.savez(folder / f"{name}{rank}.npz", **{k: v.numpy() for k, v in method.state_dict().items()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
