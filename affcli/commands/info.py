"""`affcli info`: describes what affcli wrote, and the networks that come with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from affcli.console import options
from affcli.console.printing import harmless
from affcli.errors import AffcliError

_SAFETENSORS_HEADER = 8  # bytes that say how long the JSON header is
_MIXES = re.compile(r"^(visual|audio)\.project\.(tables\.\d+\.)?mix\.scores$")  # scores of layers, before the softmax
_MINI = ("visual", "audio", "fusion")
_LISTS_SHOWN = 4  # entries of what a table lists by video


@click.command("info")
@click.argument("file", metavar="FILE|DIR|mini")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.common
def command(file: str, as_json: bool) -> None:
    """Describe a model, encoder folder, table, folder of tables or calibration file.

    Prints kind, rows, videos, encoder, card, offsets; of a folder that affcli label wrote, how many inputs are done and
    failed, and seconds per class. mini names the networks that come with affcli.

    \b
      affcli info model.safetensors
      affcli info V.parquet --json
      affcli info stage2/
      affcli info out/
      affcli info mini
    """
    facts = _read(file)
    if as_json:
        text = json.dumps(facts, ensure_ascii=False, indent=2)
        click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
    else:
        for line in _lines(facts):
            click.echo(harmless(line, lines=False))


def _read(file: str) -> dict[str, Any]:
    """The facts. A safetensors file begins with the length of its JSON header, and the header."""
    if file == "mini":
        return _mini()
    if Path(file).is_dir():
        return _folder(file)
    head = _beginning(file)
    if head[_SAFETENSORS_HEADER:] == b"{":
        return _model(file)
    return _calibration(file) if head[:1] in (b"{", b"[") else _table(file)


def _mini() -> dict[str, Any]:
    """The three networks, by what they are for."""
    from affcli.models.encoders import find_checkpoint

    places = {part: find_checkpoint.find(find_checkpoint.MINI, mini=part).folder for part in _MINI}
    fusion = _model(str(places["fusion"] / "model.safetensors"))
    found = {"visual": _encoder(places["visual"]), "audio": _encoder(places["audio"]), "fusion": fusion}
    return {"kind": "networks that come with affcli", **{part: _without_place(about) for part, about in found.items()}}


def _without_place(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in ("file", "folder")}


def _folder(folder: str) -> dict[str, Any]:
    """An encoder, ours or another of the Hugging Face layout; else tables."""
    from affcli.files.encoder_card import ENCODER_CARD
    from affcli.views.folder_facts import folder_facts

    if any((Path(folder) / name).is_file() for name in (ENCODER_CARD, "config.json")):
        return _encoder(Path(folder))
    return _in_progress(folder) or folder_facts(folder)


def _in_progress(folder: str) -> dict[str, Any] | None:
    """How far the work on a label folder has come, by whom and since when; None where none is unfinished."""
    from affcli.jobs.status import read_status
    from affcli.schema import STATUS

    status = read_status(Path(folder) / STATUS, Path(folder) / "unfinished.parts")
    if status is None or status["state"] == "complete":
        return None
    counts = {name: status[name] for name in ("state", "inputs", "done", "left")}
    failed = {one["video"]: one["reason"] for one in status["failed"]}
    workers = {
        f"{one['host']}, process {one['pid']}": {
            **{name: one[name] for name in ("since", "done", "failed")},
            "on": [f"{on['video']} since {on['since']}" for on in one["on"]],
        }
        for one in status["workers"]
    }
    return {"folder": folder, "kind": "label folder", **counts, "failed": failed, "workers": workers}


def _beginning(file: str) -> bytes:
    path = Path(file)
    if not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(_SAFETENSORS_HEADER + 1)


def _calibration(file: str) -> dict[str, Any]:
    from affcli.files.json_objects import read_json_object
    from affcli.predictions.calibration import read_calibration

    try:
        read_calibration(file)
    except AffcliError as error:
        raise AffcliError(f"{file}: is JSON, but no calibration; not a model or table of affcli either.") from error
    return {"file": file, **read_json_object(Path(file))}


def _encoder(folder: Path) -> dict[str, Any]:
    """What its card says, of one without a card what its configuration does; parameters where they are in one file."""
    from affcli.files.encoder_card import ENCODER_CARD
    from affcli.files.json_objects import read_json_object

    weights = folder / "model.safetensors"
    parameters = _model(str(weights))["parameters"] if weights.is_file() else None
    config = read_json_object(folder / "config.json")
    about = {"folder": str(folder), "architecture": config.get("model_type"), "parameters": parameters}
    if (folder / ENCODER_CARD).is_file():
        return {**about, **read_json_object(folder / ENCODER_CARD)}
    return {**about, "kind": "encoder without an affcli card"}


def _model(file: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    from affcli.files.json_objects import json_object
    from affcli.schema import METADATA_KEY

    try:
        with safe_open(file, framework="np") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY.decode())
            numbers = sum(_product(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
            mixes = filter(_MIXES.search, opened.keys())
            weights = _layer_weights({name: opened.get_tensor(name) for name in mixes})
    except (SafetensorError, OSError) as error:
        raise AffcliError(f"{file}: is not a safetensors file ({error}).") from error
    card = json_object(text, f"{file}: its card") if text else {"kind": "safetensors file without an affcli card"}
    return {"file": file, "parameters": numbers, **({"layer_weights": weights} if weights else {}), **card}


def _layer_weights(scores: Mapping[str, Any]) -> dict[str, list[list[float]]]:
    """What a fusion model has learnt to make of encoders' hidden layers: by stream, a list for each such table."""
    import numpy as np

    found: dict[str, list[list[float]]] = {}
    for name in sorted(scores):
        powers = np.exp(scores[name] - scores[name].max())
        found.setdefault(name.partition(".")[0], []).append([round(float(one), 6) for one in powers / powers.sum()])
    return found


def _product(shape: list[int]) -> int:
    product = 1
    for edge in shape:
        product *= edge
    return product


def _table(file: str) -> dict[str, Any]:
    from affcli.tables.reader import TableReader

    with TableReader(file) as table:
        facts: dict[str, Any] = {"file": table.name, "kind": "table without affcli metadata", **table.metadata}
        facts["rows"] = table.num_rows
        if "video" in table.columns:
            names = {name for chunk in table.dictionary_chunks("video") for name in chunk.dictionary.to_pylist()}
            facts["videos"] = len(names)
        facts["columns"] = {field.name: str(field.type) for field in table.schema if field.name in table.columns}
    return facts


def _lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """`name: value`, nested objects indented, long lists by video cut short."""
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            items = list(value.items())
            cut = name in ("inputs", "failed", "incomplete") and len(items) > _LISTS_SHOWN
            yield from _lines(dict(items[:_LISTS_SHOWN] if cut else items), indent + "  ")
            if cut:
                yield f"{indent}  … and {len(items) - _LISTS_SHOWN} more"
        elif isinstance(value, list):
            shown = [str(entry) for entry in value]
            yield f"{indent}{name}: {', '.join(shown) if shown else 'none'}"
        else:
            yield f"{indent}{name}: {'none' if value is None or value == {} else value}"
