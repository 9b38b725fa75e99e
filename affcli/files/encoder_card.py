"""The card of an encoder's folder: a JSON file beside its weights that says what `affcli train-visual`, or
`train-audio`, made there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from affcli.errors import AffcliError, JsonError
from affcli.files.json_objects import read_json_object

ENCODER_CARD: Final = "affcli.json"  # the file's name
VISUAL_ENCODER: Final = "visual encoder"  # its kind
AUDIO_ENCODER: Final = "audio encoder"  # as above, for speech


_MAKERS: Final = {VISUAL_ENCODER: "train-visual", AUDIO_ENCODER: "train-audio"}  # the commands


def read_encoder_card(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """What an encoder's folder says of itself, one of a `kind` or any; raises AffcliError for any other folder."""
    try:
        card = read_json_object(folder / ENCODER_CARD)
    except JsonError:
        card = {}
    if card.get("kind") not in ([kind] if kind else _MAKERS) or not isinstance(card.get("training", {}), dict):
        makers = [_MAKERS[kind]] if kind else list(_MAKERS.values())
        raise AffcliError(f"{folder}: is no encoder that affcli {' or '.join(makers)} made.")
    return card


def layers_of(folder: Path) -> int | None:
    """How many last hidden layers the card of a speech encoder asks for; None without a card, or where it is silent."""
    if not (folder / ENCODER_CARD).exists():
        return None
    card = read_json_object(folder / ENCODER_CARD)
    if card.get("kind") != AUDIO_ENCODER or (layers := card.get("layers")) is None:
        return None
    if not isinstance(layers, int) or isinstance(layers, bool) or layers < 1:
        raise AffcliError(f"{folder / ENCODER_CARD}: its layers are {layers!r}, not a number from 1 on.")
    return layers
