"""Fits a temperature to labelled frames by likelihood, and judges the probabilities by cross-validation over videos.

Probabilities are softmax(logits / T). T > 1 makes a model less sure, T < 1 surer; the likeliest class stays the same.
(Guo et al. 2017, "On Calibration of Modern Neural Networks".)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.errors import AffcliError, SpaceError
from affcli.predictions.calibration import LARGEST_TEMPERATURE, scaled
from affcli.predictions.space import LOGITS, SHARES, SMALLEST
from affcli.scoring.fit_calibration import Judged, folds_of

BINS: Final = 15  # of confidence, for the expected calibration error: Guo et al.'s number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sureness:
    """How well probabilities fit labels: mean negative log-likelihood in nats, and expected calibration error."""

    log_loss: float
    ece: float


def at_temperature(judged: Judged, space: str, temperature: float) -> Judged:
    """The frames with their numbers as a calibration of this temperature leaves them."""
    numbers = np.where(np.isfinite(judged.logits), judged.logits, np.nan).T
    found = scaled(numbers, space, temperature).T
    return replace(judged, logits=np.where(np.isnan(found), -np.inf, found))


def fit_temperature(judged: Judged, space: str) -> float:
    """The temperature with the largest likelihood of the labels, from 1/100 to 100.

    Frames of a class that the model does not know take no part. Raises SpaceError for shares of votes, which are no
    probabilities, AffcliError where no frame is left.
    """
    if space == SHARES:
        raise SpaceError("shares of votes have no temperature: give calibrate logits or probabilities.")
    raised = _log_scores(judged, space)
    known = np.isfinite(raised[judged.truth, np.arange(judged.truth.size)])
    if not known.any():
        raise AffcliError("no labelled frame is of a class that the model knows: there is no temperature to fit.")
    raised, truth = raised[:, known], judged.truth[known]
    bound = float(np.log(LARGEST_TEMPERATURE))
    from scipy.optimize import minimize_scalar  # slow to import, and the rest of this module serves score too

    found = minimize_scalar(
        lambda x: _log_loss(raised / np.exp(x), truth),
        bounds=(-bound, bound),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(round(np.exp(found.x), 6))


def sureness(judged: Judged, space: str, temperature: float | Floats) -> Sureness:
    """Log-loss and calibration error at a temperature, or at one for each frame [n]."""
    raised = _log_scores(judged, space) / temperature
    known = np.isfinite(raised[judged.truth, np.arange(judged.truth.size)])
    log_loss = _log_loss(raised[:, known], judged.truth[known]) if known.any() else float("nan")
    probabilities = np.exp(raised - _log_sum(raised))
    best = probabilities.argmax(0)
    return Sureness(log_loss, calibration_error(probabilities.max(0), best == judged.truth))


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Σ_b n_b / n · |share right in b − mean confidence in b| over BINS bins of equal width (open below)."""
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sums = np.bincount(place, weights=right - confidence, minlength=BINS)
    return float(np.abs(sums).sum() / max(len(confidence), 1))


def judged_temperature(judged: Judged, space: str, *, folds: int, seed: int) -> tuple[Sureness, Sureness]:
    """As the numbers are, and with each video's temperature fitted to the other folds' videos."""
    fold = folds_of(judged, folds=folds, seed=seed)
    temperature = np.ones(judged.truth.size)
    for one in np.unique(fold).tolist():
        temperature[fold == one] = fit_temperature(judged.only(fold != one), space)
    return sureness(judged, space, 1.0), sureness(judged, space, temperature)


def facts_of(temperature: float, found: tuple[Sureness, Sureness]) -> dict[str, Any]:
    """What a calibration file says of its temperature."""
    before, after = found
    return {
        "temperature": temperature,
        "ece": before.ece,
        "ece_cross_validated": after.ece,
        "log_loss": before.log_loss,
        "log_loss_cross_validated": after.log_loss,
    }


def _log_scores(judged: Judged, space: str) -> Floats:
    """Logits [C, n], the logarithms of probabilities; -inf where missing."""
    if space == LOGITS:
        return judged.logits
    missing = ~np.isfinite(judged.logits)
    return np.where(missing, -np.inf, np.log(np.clip(judged.logits, SMALLEST, None)))


def _log_sum(raised: Floats) -> Floats:
    best = raised.max(0)
    return np.asarray(best + np.log(np.exp(raised - best).sum(0)))


def _log_loss(raised: Floats, truth: NDArray[np.integer[Any]]) -> float:
    return float((_log_sum(raised) - raised[truth, np.arange(truth.size)]).mean())
