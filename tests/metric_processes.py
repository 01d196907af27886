"""Run by test_metric: RetrievalScores over 2 and 3 gloo processes, each with its share of the items.

python metric_processes.py FOLDER      # reads data.npz there, writes <processes>.<rank>.json
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from fghash.errors import InputError
from fghash.evaluation.metric import RetrievalScores


def work(folder: Path, rank: int, world: int) -> None:
    """One process: every world-th item, an unequal number of them."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store{world}", rank=rank, world_size=world)
    data = np.load(folder / "data.npz")
    outputs, labels = torch.from_numpy(data["outputs"]), torch.from_numpy(data["labels"])
    results = []
    for kind in ("binary", "real"):
        metric = RetrievalScores(codes=kind, cutoffs=(1, 5))
        metric.update(outputs[7 + rank :: world], labels[7 + rank :: world], "gallery")
        metric.update(outputs[rank:7:world], labels[rank:7:world], "query")
        results.append(metric.compute())
    metric.reset()
    metric.update(outputs, labels, "gallery")
    if rank == 0:
        metric.update(outputs, labels, "query")
    try:
        metric.compute()
    except InputError as error:
        results.append(str(error))
    (folder / f"{world}.{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def main(folder: Path) -> int:
    """Fork, so that torch is imported once; nothing has used a thread yet."""
    context = multiprocessing.get_context("fork")
    for world in (2, 3):
        processes = [context.Process(target=work, args=(folder, rank, world)) for rank in range(world)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
