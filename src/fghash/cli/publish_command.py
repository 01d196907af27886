"""``fghash publish``: a bundle, or the bundle of a run, where others find it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fghash.cli.options import Options

DESCRIPTION = """\
Copy a bundle to a folder, or upload it to the Hugging Face hub (hf://user/name, with HF_TOKEN set). Of a run
the bundle is made first. fghash encode and load_run take hf://user/name in place of a run.

  fghash publish bundle /srv/models/birds
  fghash publish runs/synthetic/phpq/32/ID hf://me/birds-phpq-32 --private"""


def run(argv: Sequence[str]) -> int:
    """Carry out ``fghash publish ARGV``; the exit status."""
    options = Options("publish", DESCRIPTION)
    options.add_argument("run", metavar="RUN|BUNDLE", help="folder of a run or bundle, or above a run")
    options.add_argument("target", metavar="TARGET", help="a folder, or hf://user/name")
    options.add_argument("--private", action="store_true", help="of a repository that is made on the hub")
    options.add_argument("--force", action="store_true", help="replace a bundle that is in the folder")
    given = options.read(argv)
    from fghash.api import find_run, load_run
    from fghash.export.bundle import write_bundle
    from fghash.export.hub import publish
    from fghash.training.bundle_files import is_bundle

    folder = find_run(given.run)
    with tempfile.TemporaryDirectory(prefix="fghash-") as temporary:
        bundle = folder
        if not is_bundle(folder):
            bundle = Path(temporary) / "bundle"
            write_bundle(load_run(folder), bundle)
        print(f"published: {publish(bundle, given.target, private=given.private, replace=given.force)}")
    return 0
