"""Which settings mattered in a study, as a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fghash.errors import InputError
from fghash.files import replacing
from fghash.tuning.trials import import_optuna

_LEAST_TRIALS = 4


def importances(study: Any) -> dict[str, float]:
    """The share of each setting in the spread of the scores (fANOVA; Hutter et al., 2014), largest first.

    Raises:
        InputError: too few completed trials, or scikit-learn is missing.
    """
    optuna = import_optuna()
    states = (optuna.trial.TrialState.COMPLETE,)
    completed = len(study.get_trials(deepcopy=False, states=states))
    if completed < _LEAST_TRIALS:
        raise InputError(f"--importance: {completed} completed trials, expected at least {_LEAST_TRIALS}")
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except ImportError:
        raise InputError(
            "--importance: needs the package scikit-learn (pip install 'fghash[tune]')"
        ) from None
    return found


def lines(shares: dict[str, float]) -> list[str]:
    """A table with a bar for each setting."""
    width = max(map(len, shares), default=0)
    return [f"{name:<{width}}  {share:5.3f}  {'#' * round(40 * share)}" for name, share in shares.items()]


def plot(shares: dict[str, float], path: Path, title: str) -> None:
    """The same as bars in a PNG.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 + 0.35 * len(shares)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color="#4477aa")
    axes.set_xlabel("share in the spread of val/map (fANOVA)")
    axes.set_title(title)
    with replacing(path, "--out") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
