"""How probable it is that somebody speaks, in steps of 32 ms: Silero VAD 6.2 (MIT), whose weights lie beside this file.

The weights are `silero_vad_16k_sequence.onnx` of the package `silero-vad` 6.2.3 on PyPI, unchanged (SHA-256
9ccdacc4…). That package itself depends on torchaudio, so it is no dependency of affcli. The network takes a whole sound
in one call: a minute of it costs about 0.12 s of one processor core.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affcli.media.onnx import onnxruntime

SAMPLE_RATE_HZ: Final = 16_000
STEP: Final = 512  # samples of a step, 32 ms
_BEFORE: Final = 64  # samples before a step that the network sees too
_STATE: Final = (1, 1, 128)  # of its recurrent layer
_WEIGHTS: Final = Path(__file__).parent / "silero_vad" / "silero_vad_16k_sequence.onnx"

Floats = NDArray[np.float32]


class SpeechDetector:
    """Finds speech in mono sound at one sampling rate."""

    def __init__(self, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        common = gcd(sample_rate_hz, SAMPLE_RATE_HZ)
        self._up, self._down = SAMPLE_RATE_HZ // common, sample_rate_hz // common
        self._session = _session()

    def probabilities(self, samples: Floats) -> Floats:
        """The probability of speech in each step of 32 ms, float32 [⌈n/512⌉] for n samples at 16 kHz.

        `samples` are float32 in [−1, 1]; the last step is filled up with silence.
        """
        sound = self._resampled(samples)
        count = -(-len(sound) // STEP)
        if not count:
            return np.empty(0, np.float32)
        padded = np.zeros(_BEFORE + count * STEP, np.float32)
        padded[_BEFORE : _BEFORE + len(sound)] = sound
        steps = np.lib.stride_tricks.sliding_window_view(padded, _BEFORE + STEP)[::STEP]
        state = np.zeros(_STATE, np.float32)
        (found,) = self._session.run(["speech_probs"], {"input": np.ascontiguousarray(steps), "h": state, "c": state})
        return np.asarray(found, np.float32)

    def _resampled(self, samples: Floats) -> Floats:
        if self._up == self._down:
            return samples
        from scipy.signal import resample_poly

        return np.asarray(resample_poly(samples, self._up, self._down), np.float32)


def centres_s(steps: int) -> NDArray[np.float64]:
    """Seconds from the first sample to the middle of each step."""
    return (np.arange(steps) + 0.5) * STEP / SAMPLE_RATE_HZ


@lru_cache(maxsize=1)
def _session() -> Any:
    library = onnxruntime()
    options = library.SessionOptions()
    options.intra_op_num_threads = 1  # its matrices are too small to share
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return library.InferenceSession(str(_WEIGHTS), options, providers=["CPUExecutionProvider"])
