"""From a list of utterances to what training draws from."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np

from affcli.facesets.listing import Labelled
from affcli.facesets.mixing import drawing_weights
from affcli.models.speech_training.batches import Utterances
from affcli.models.speech_training.trainer import SpeechData
from affcli.speechsets.corpora import Speech
from affcli.speechsets.sounds import VERSION as SOUNDS_VERSION
from affcli.speechsets.sounds import decoded

VERSION: Final = (SOUNDS_VERSION, 1)  # of sounds, and of how they are drawn


def load(
    speech: Speech,
    rate_hz: int,
    *,
    cache: Path,
    class_power: float,
    advance: Callable[[int], None] = lambda utterances: None,
) -> SpeechData:
    """Training and held-out utterances, decoded; a corpus that is left out is apart from the other held-out ones."""
    listing, state = speech.listing, blake2b(digest_size=16)

    def made(name: str, some: Labelled, power: float | None) -> Utterances | None:
        if not len(some):
            return None
        sounds, rows = decoded(name, some, rate_hz, cache=cache, advance=advance)
        kept = some.take(rows)
        weights = np.full(len(kept), 1 / len(kept))
        if power is not None:
            weights = drawing_weights(kept.group, kept.labels, class_power=power)
        state.update(sounds.digest.encode() + kept.targets.tobytes() + weights.tobytes())
        return Utterances(sounds, kept.targets, weights)

    chosen = speech.held_out
    train = made("train", listing.train, class_power)
    assert train is not None
    held_out = made("held-out", listing.held_out.take(np.flatnonzero(chosen)), None)
    left_out = made("left-out", listing.held_out.take(np.flatnonzero(~chosen)), None)
    return SpeechData(train, held_out, left_out, state.hexdigest())
