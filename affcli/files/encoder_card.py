"""The card of an encoder's folder: a JSON file beside its weights that says what `affcli train-visual`, or
`train-audio`, made there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from affcli.errors import AffcliError

ENCODER_CARD: Final = "affcli.json"  # the file's name
VISUAL_ENCODER: Final = "visual encoder"  # its kind
AUDIO_ENCODER: Final = "audio encoder"  # as above, for speech


_MAKERS: Final = {VISUAL_ENCODER: "train-visual", AUDIO_ENCODER: "train-audio"}  # the commands


def read_encoder_card(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """What an encoder's folder says of itself, one of a `kind` or any; raises AffcliError for any other folder."""
    try:
        card = json.loads((folder / ENCODER_CARD).read_text())
        if card["kind"] not in ([kind] if kind else _MAKERS):
            raise KeyError("kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        makers = [_MAKERS[kind]] if kind else list(_MAKERS.values())
        raise AffcliError(f"{folder}: is no encoder that affcli {' or '.join(makers)} made.") from error
    return dict(card)


def layers_of(folder: Path) -> int | None:
    """How many last hidden layers the card of a speech encoder asks for; None without a card, or where it is silent."""
    try:
        card = json.loads((folder / ENCODER_CARD).read_text())
        return int(card["layers"]) if card["kind"] == AUDIO_ENCODER else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
