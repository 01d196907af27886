"""``fghash replay``: look into the step at which a training stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fghash.cli.options import Options, at_least
from fghash.display import harmless

if TYPE_CHECKING:
    from fghash.replay import Replayed

DESCRIPTION = """\
A training whose loss was no number stopped at that step and kept it. Run the step once more, from the same
weights, batch and draws, and tell where the first value came up that is no number. Nothing is changed.
Exit status 0 if it happened again, 2 if not.

  fghash replay runs/synthetic/hashnet/32/ID"""

_SHOWN = 20


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash replay ARGV``; the exit status."""
    options = Options("replay", DESCRIPTION)
    options.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    options.add_argument(
        "--gpus", type=at_least(0), metavar="N", help="0 for the CPU (default: a visible GPU)"
    )
    options.add_argument("--json", action="store_true", help="print one JSON object")
    given = options.read(argv)
    from fghash import replay

    gpus = given.gpus if given.gpus is None else min(given.gpus, 1)
    found = replay.replay(given.run, gpus)
    print(replay.write(found) if given.json else harmless_lines(found))
    return 0 if found.again else 2


def harmless_lines(found: Replayed) -> str:
    """A page about the step."""
    failure = found.failure
    lines = [
        f"step {failure['step']}, epoch {failure['epoch']}, batch {failure['batch']}: "
        + (f"the loss is {found.terms['loss']} again" if found.again else "the loss is a number this time"),
        "terms      " + "  ".join(f"{name} {value:.6g}" for name, value in found.terms.items()),
        "weights    " + (_some(found.weights) if found.weights else "all finite before the step"),
        "modules    " + (f"first not finite: {found.module}" if found.module else "all gave finite values"),
        "gradients  " + (_some(found.gradients) if found.gradients else "all finite"),
        *(f"largest    {value:<12.6g}{name}" for name, value in found.largest.items()),
        *(f"item       {each}" for each in _items(failure["items"], failure["names"])),
    ]
    return "\n".join(harmless(line) for line in lines)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"not finite: {', '.join(names[:5])}{more}"


def _items(positions: Sequence[int], names: Sequence[str]) -> list[str]:
    shown = [f"{position}  {name}" for position, name in zip(positions, names, strict=False)][:_SHOWN]
    more = len(positions) - len(shown)
    return [*shown, f"... and {more} more (--json)"] if more else shown
