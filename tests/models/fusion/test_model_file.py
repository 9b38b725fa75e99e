"""model.safetensors: what is read back, and that nothing in a damaged card is believed before it is checked."""

from __future__ import annotations

import json
import resource
from functools import reduce
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from affcli.errors import AffcliError
from affcli.models.fusion.model_file import ModelCard, load_model, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork

CONFIG = FusionConfig(visual_size=6, audio_size=5, window=8, dim=8, layers=1, heads=2)
CARD = ModelCard(CONFIG, stride=4, encoders={"visual": {"size": 6}, "audio": {"size": 5}})


def model(folder: Path) -> Path:
    torch.manual_seed(0)
    save_model(str(folder / "m.safetensors"), FusionNetwork(CONFIG).state_dict(), CARD)
    return folder / "m.safetensors"


def rewritten(file: Path, change: dict[str, object]) -> str:
    """The same weights under another card."""
    with safe_open(file, framework="pt") as stored:
        card = json.loads(stored.metadata()["affcli"])
        weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no mapping
    for key, value in change.items():
        *places, name = key.split(".")
        reduce(dict.__getitem__, places, card)[name] = value
    save_file(weights, file, metadata={"affcli": json.dumps(card)})
    return str(file)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    network, card = load_model(str(model(tmp_path)))
    assert card == CARD
    torch.manual_seed(0)
    for name, tensor in FusionNetwork(CONFIG).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config.window": 10**8}, r"window is 100000000, not a number from 1 to 16,384"),
        ({"config.dim": 4096}, r"asks for .* the file holds"),
        ({"config.dim": 10**6}, r"dim is 1000000"),
        ({"config.layers": 10**6}, r"layers is 1000000"),
        ({"config.layers": 2}, r"lacks the weights"),
        ({"config.layers": True}, r"layers is True"),
        ({"config.layers": "3"}, r"layers is '3'"),
        ({"config.heads": 3}, r"no multiple of its 3 heads"),
        ({"config.dropout": "much"}, r"dropout is 'much'"),
        ({"config.gates": 1}, r"gates is 1, not true or false"),
        ({"config.colour": 1}, r"colour"),
        ({"config": 3}, r"says nothing of the network"),
        ({"classes": ["a", "b"]}, r"does not name 8 classes"),
        ({"classes": None}, r"does not name 8 classes"),
        ({"stride": 0}, r"stride is 0"),
        ({"stride": 10**9}, r"stride is 1000000000"),
        ({"encoders": [1]}, r"does not describe both encoders"),
        ({"encoders": {"visual": {"size": 6}, "audio": 1}}, r"does not describe both encoders"),
        ({"encoders.visual": {"size": {"a": 1}}}, r"visual encoder gives {'a': 1} numbers, and its network takes \d+"),
        ({"encoders.audio": {"name": "mini"}}, r"audio encoder gives None numbers"),
        ({"encoders.audio.name": [1]}, r"audio encoder has the name \[1\], which is no text"),
        ({"encoders.visual.tables": {"a": 1}}, r"visual encoders are not a list of cards"),
        ({"encoders.visual.tables": [{"size": 1}]}, r"visual encoders do not give \d+ numbers"),
        ({"min_confidence": "much"}, r"min_confidence is 'much', not a number from 0 to 1"),
        ({"training": [1]}, r"'training' is no object"),
        ({"kind": "cake"}, r"not that of a fusion model"),
        ({"more": 1}, r"unknown field 'more'"),
    ],
)
def test_a_damaged_card_is_one_line_and_takes_no_memory(tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = rewritten(model(tmp_path), change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AffcliError, match=f"m.safetensors: is not a fusion model .*{said}"):
        load_model(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes; window 1e8 took 16 GB
