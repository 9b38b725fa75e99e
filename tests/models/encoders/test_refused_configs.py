"""What a checkpoint's configuration may not do: fetch and run a kernel, take memory, name files elsewhere."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

import affcli.models
from affcli.errors import AffcliError
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.find_checkpoint import find
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.runtime import devices

MINI = Path(affcli.models.__file__).parent / "mini"


def changed(folder: Path, stream: str, **config: object) -> str:
    """A copy of a network that ships, with another configuration."""
    copy = folder / stream
    shutil.copytree(MINI / stream, copy)
    facts = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**facts, **config}))
    return str(copy)


def test_a_kernel_that_a_config_names_is_not_taken(tmp_path: Path) -> None:
    run = devices.choose("cpu", "fp32")
    encoder = AudioEncoder(changed(tmp_path, "audio", attn_implementation="someone/kernel"), run)
    assert encoder._front.model.config._attn_implementation in ("sdpa", "eager")


@pytest.mark.parametrize(
    ("stream", "config", "said"),
    [
        ("audio", {"encoder_layers": 3_000_000}, "no encoder has over 1,000"),
        ("audio", {"d_model": 38_400, "encoder_attention_heads": 6}, "its files hold 4,378,888 at most"),
        ("audio", {"d_model": 10**30}, "no encoder has over"),
        ("visual", {"depth_multiplier": 100.0}, "its files hold 3,246,128 at most"),
        ("visual", {"image_size": 10**9}, "no encoder has over 1,000,000"),
    ],
)
def test_sizes_that_the_weights_do_not_have_are_refused_at_once(
    tmp_path: Path, stream: str, config: dict[str, object], said: str
) -> None:
    folder = changed(tmp_path, stream, **config)
    run = devices.choose("cpu", "fp32")
    began = time.process_time()
    with pytest.raises(AffcliError, match=said):
        VisualEncoder(folder, run) if stream == "visual" else AudioEncoder(folder, run)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("shard", ["../../etc/passwd", "/etc/passwd", "sub/model.safetensors", 3])
def test_an_index_may_name_its_neighbours_only(tmp_path: Path, shard: object) -> None:
    folder = Path(changed(tmp_path, "audio"))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(AffcliError, match=r"no file of this folder|no weight_map"):
        find(str(folder), mini="audio").weight_files()


@pytest.mark.parametrize(
    "card", [b"[", b'{"kind": "audio encoder", "layers": "two"}', b'{"kind": "audio encoder", "layers": -1}']
)
def test_a_damaged_card_of_a_speech_encoder_is_named_not_ignored(tmp_path: Path, card: bytes) -> None:
    folder = Path(changed(tmp_path, "audio"))
    (folder / "affcli.json").write_bytes(card)
    with pytest.raises(AffcliError, match=r"affcli.json"):
        AudioEncoder(str(folder), devices.choose("cpu", "fp32"))
