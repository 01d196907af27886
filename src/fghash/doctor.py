"""``fghash doctor``: what a machine has and lacks, each thing with what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fghash.errors import InputError

GOOD, NOTE, BAD = "ok", "note", "bad"
_LIBRARIES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm", "numba", "numpy", "pandas",
)  # fmt: skip
_EXTRAS = {
    "faiss-cpu": "fghash ann", "scikit-learn": "fghash ann, fghash tune --importance",
    "optuna": "fghash tune",
    "ray": "fghash bench --cluster", "submitit": "fghash bench --cluster slurm",
}  # fmt: skip
_KNOWN_BAD = {
    ("torch", "2.13.0"): "its CPU wheel breaks torchvision's operators: install another version",
    ("pytorch-lightning", "2.6.2"): "a compromised release: install another version, change your keys",
    ("pytorch-lightning", "2.6.3"): "a compromised release: install another version, change your keys",
}
_LITTLE = 5e9  # bytes of free space below which a note is due
_REDUCE_SECONDS = 120


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``state`` is ok, note or bad; ``advice`` says what to do where it is not ok."""

    topic: str
    state: str
    said: str
    advice: str = ""


def examine(
    runs: Path, data: Sequence[tuple[str, Path]] = (), caches: Sequence[Path] = ()
) -> Iterator[Finding]:
    """Everything, in the order of a report.

    Args:
        runs: the store.
        data: names of data sets with their folders.
        caches: folders of decoded images or features.
    """
    yield Finding("python", GOOD, f"{platform.python_version()} on {platform.platform()}")
    yield from _versions()
    yield from _guarded("torchvision", _operators)
    yield from _guarded("devices", _devices)
    yield from _guarded("kernels", _kernels)
    yield from _guarded("processes", _all_reduce)
    yield from _guarded("compiler", _compiler)
    yield from _disk("runs", runs)
    for cache in caches:
        yield from _disk("cache", cache)
    for name, root in data:
        yield from _guarded(f"data {name}", partial(_data, name, root))
    yield from _guarded("plug-ins", _plugins)
    yield from _guarded("wandb", _wandb)


def _guarded(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What cannot even be looked at is a finding, too."""
    try:
        yield from look()
    except Exception as error:  # whatever a broken installation raises
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        yield Finding(topic, BAD, reason, "install fghash anew: pip install --force-reinstall fghash")


def _versions() -> Iterator[Finding]:
    for name in _LIBRARIES:
        version = _version(name)
        if version is None:
            yield Finding(name, BAD, "not installed", f"pip install {name}")
        elif (name, version.partition("+")[0]) in _KNOWN_BAD:
            yield Finding(name, BAD, version, _KNOWN_BAD[name, version.partition("+")[0]])
        else:
            yield Finding(name, GOOD, version)
    for name, use in _EXTRAS.items():
        version = _version(name)
        missing = Finding(name, NOTE, f"not installed; needed by {use}", f"pip install {name}")
        yield missing if version is None else Finding(name, GOOD, version)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _operators() -> Iterator[Finding]:
    """torch and torchvision of versions that do not belong together miss operators."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    yield Finding("torchvision", GOOD, "its operators work with this torch")


def _devices() -> Iterator[Finding]:
    import torch

    from fghash.data.datamodule import n_cores

    yield Finding("cpu", GOOD, f"{n_cores()} cores, torch uses {torch.get_num_threads()}")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        said = f"none; torch is built for {'CUDA ' + built if built else 'the CPU'}"
        yield Finding("gpu", NOTE, said, "with a GPU: check its driver (nvidia-smi) and torch's CUDA build")
        return
    for place in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(place)
        product = torch.ones(8, 8, device=f"cuda:{place}") @ torch.ones(8, 8, device=f"cuda:{place}")
        assert float(product.sum()) == 512
        name = torch.cuda.get_device_name(place)
        yield Finding(f"gpu {place}", GOOD, f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    nccl: Any = torch.cuda.nccl
    yield Finding("nccl", GOOD, ".".join(map(str, nccl.version())))


def _kernels() -> Iterator[Finding]:
    """The evaluator compiles its kernels on first use."""
    from fghash.codes import BinaryCodes
    from fghash.evaluation import evaluate

    began = time.perf_counter()
    codes = BinaryCodes.from_signs([[1, -1, 1], [1, 1, -1]])
    scores = evaluate(codes, codes, [0, 1], [0, 1]).scores
    right = scores["map"] == 1.0
    said = f"the evaluator works ({time.perf_counter() - began:.1f} s with compiling)"
    yield Finding("kernels", GOOD if right else BAD, said, "" if right else "report this as a bug")


def _reduce(rank: int, port: int) -> None:
    """One of two processes: a sum over both, by gloo on this machine."""
    import torch
    import torch.distributed as dist

    os.environ.update(GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    value = torch.ones(1) * (rank + 1)
    dist.all_reduce(value)
    dist.destroy_process_group()
    os._exit(0 if float(value) == 3 else 1)


def _all_reduce() -> Iterator[Finding]:
    """Two processes of this machine add a number, as training on several does."""
    import torch.multiprocessing as mp

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    context, began = mp.get_context("spawn"), time.perf_counter()
    processes = [context.Process(target=_reduce, args=(rank, port)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(1.0, _REDUCE_SECONDS - (time.perf_counter() - began)))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    seconds = f"{time.perf_counter() - began:.0f} s"
    if codes == [0, 0]:
        yield Finding("gloo", GOOD, f"two processes of this machine added a number ({seconds})")
    else:
        advice = "processes of this machine cannot reach each other: check loopback and firewall"
        yield Finding("gloo", BAD, f"two processes did not add a number ({seconds}, exit {codes})", advice)


def _compiler() -> Iterator[Finding]:
    from fghash.backbone.model import cxx_compiler

    found = cxx_compiler()
    missing = Finding("compiler", NOTE, "none; needed by --backbone.compile", "install g++ or clang++")
    yield Finding("compiler", GOOD, f"{found}") if found else missing


def _disk(topic: str, folder: Path) -> Iterator[Finding]:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.absolute().parent
    if not os.access(place, os.W_OK):
        yield Finding(
            topic, BAD, f"'{folder}' cannot be written", "choose another folder, or change its rights"
        )
        return
    free = shutil.disk_usage(place).free
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    said = f"'{folder}': {used / 1e9:.2f} GB in it, {free / 1e9:.1f} GB free"
    advice = "free some space (fghash runs prune, fghash runs gc)"
    yield Finding(topic, NOTE, said, advice) if free < _LITTLE else Finding(topic, GOOD, said)


def _data(name: str, root: Path) -> Iterator[Finding]:
    """Whether the lists of a data set can be read; its images are opened by ``fghash data check``."""
    from fghash.registry import DATASETS, look_up

    topic = f"data {name}"
    data: Any = look_up(DATASETS, name, "--data").load()(root=str(root), batch_size=2, training_seed=0)
    try:
        data.setup()
    except InputError as error:
        yield Finding(topic, BAD, str(error), f"fghash data check {name} --root {root}")
        return
    yield Finding(topic, GOOD, data.description)


def _plugins() -> Iterator[Finding]:
    import warnings

    from fghash.registry import DATASETS, METHODS, PluginWarning, Registry

    for registry in (METHODS, DATASETS):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            fresh: Registry[Any] = Registry(registry.package, registry.kind)
            names = list(fresh)
        kind = registry.package.rpartition(".")[2]
        yield Finding(kind, GOOD, f"{len(names)}: {', '.join(sorted(names))}")
        for each in said:
            if issubclass(each.category, PluginWarning):
                advice = "update or remove that package"
                yield Finding(kind, BAD, " ".join(str(each.message).split()), advice)


def _wandb() -> Iterator[Finding]:
    from fghash.training.tracking import knows_key

    known = knows_key()
    advice = "wandb login, or --tracking.offline true and later fghash sync"
    yield Finding("wandb", GOOD, "logged in") if known else Finding("wandb", NOTE, "not logged in", advice)
