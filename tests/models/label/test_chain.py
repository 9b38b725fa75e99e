"""What `label` reads from a model's card."""

from __future__ import annotations

import pytest

from affcli.models.fusion.model_file import ModelCard
from affcli.models.fusion.network import FusionConfig
from affcli.models.label.chain import _layers_and_context


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ({"size": 5}, (None, 0.5)),  # as many layers as the encoder itself asks for: mini has two
        ({"size": 5, "feature": "mean of last 3 hidden layers, mean of ±0.25 s"}, (3, 0.25)),
    ],
)
def test_layers_are_the_cards_or_else_the_encoders_own(audio: dict[str, object], expected: object) -> None:
    card = ModelCard(FusionConfig(6, 5), 8, {"visual": {"size": 6}, "audio": audio})
    assert _layers_and_context(card) == expected
