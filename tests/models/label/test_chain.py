"""What `label` reads from a model's card."""

from __future__ import annotations

import pytest

from affcli.models.encoders.layer_choice import layers_of_card
from affcli.models.extract.audio_features import context_of_card


@pytest.mark.parametrize(
    ("audio", "layers", "context_s"),
    [
        ({"size": 5}, None, None),  # as many layers as the encoder itself asks for: mini has two
        ({"size": 5, "feature": "mean of last 3 hidden layers, mean of ±0.25 s"}, 3, 0.25),
        ({"size": 65, "feature": "all 13 hidden layers, mean of ±0.5 s", "layers": 13}, "all", 0.5),
        ({"size": 65, "feature": "class token, all 13 hidden layers", "layers": 13}, "all", None),
        ({"size": 5, "feature": "pooled"}, None, None),
    ],
)
def test_layers_and_context_are_the_cards_or_else_the_encoders_own(
    audio: dict[str, object], layers: object, context_s: object
) -> None:
    assert layers_of_card(audio) == layers
    assert context_of_card(audio) == context_s
