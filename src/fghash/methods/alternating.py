"""Methods that learn free codes of the training items beside the network: ADSH, ExchNet."""

from __future__ import annotations

import numpy as np
from torch.utils.data import Sampler

from fghash.codes import BinaryCodes
from fghash.layers.asymmetric import Alternation
from fghash.methods.base import HashingMethod


class AlternatingMethod(HashingMethod):
    """Network and codes in turns; one epoch is one inner epoch of ``alternation``, which the method makes.

    Its loss adds ``alternation.terms`` over the gathered batch. What else it does at the end of an outer
    iteration goes into :meth:`end_iteration`.
    """

    alternation: Alternation

    def learned_codes(self) -> BinaryCodes | None:
        """V, the codes of the training items; none before the first code step."""
        return BinaryCodes.from_signs(self.alternation.codes) if self.alternation.steps else None

    def train_sampler(self, labels: np.ndarray) -> Sampler[int]:
        """The subset of each outer iteration."""
        return self.alternation.start(labels)

    def on_train_start(self) -> None:
        """Fit the calendar of the alternation to the number of epochs."""
        self.alternation.plan(self.planned_epochs())

    def on_train_epoch_start(self) -> None:
        """Begin an outer iteration where one begins."""
        self.alternation.begin(self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """End an outer iteration where one ends."""
        if self.alternation.ends(self.current_epoch):
            self.end_iteration()

    def end_iteration(self) -> None:
        """The code step."""
        self.alternation.step()
