"""`affcli info`: describes a file that affcli wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from affcli.console import options
from affcli.errors import AffcliError

_SAFETENSORS_HEADER = 8  # bytes that say how long the JSON header is
_MIXES = re.compile(r"^(visual|audio)\.project\.(tables\.\d+\.)?mix\.scores$")  # scores of layers, before the softmax
_LISTS_SHOWN = 4  # entries of what a table lists by video


@click.command("info")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.common
def command(file: str, as_json: bool) -> None:
    """Describe a model, encoder folder, table or calibration file: kind, rows, videos, encoder, card, offsets.

    \b
      affcli info model.safetensors
      affcli info V.parquet --json
      affcli info stage2/
    """
    facts = _read(file)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        for line in _lines(facts):
            click.echo(line)


def _read(file: str) -> dict[str, Any]:
    """The facts. A safetensors file begins with the length of its JSON header, and the header."""
    if Path(file).is_dir():
        return _encoder(file)
    head = _beginning(file)
    if head[_SAFETENSORS_HEADER:] == b"{":
        return _model(file)
    return _calibration(file) if head[:1] in (b"{", b"[") else _table(file)


def _beginning(file: str) -> bytes:
    path = Path(file)
    if not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(_SAFETENSORS_HEADER + 1)


def _calibration(file: str) -> dict[str, Any]:
    from affcli.predictions.calibration import read_calibration

    try:
        read_calibration(file)
    except AffcliError as error:
        raise AffcliError(f"{file}: is JSON, but no calibration; not a model or table of affcli either.") from error
    return {"file": file, **json.loads(Path(file).read_text(encoding="utf-8"))}


def _encoder(folder: str) -> dict[str, Any]:
    from affcli.files.encoder_card import read_encoder_card

    card = read_encoder_card(Path(folder))
    return {"folder": folder, "parameters": _model(str(Path(folder) / "model.safetensors"))["parameters"], **card}


def _model(file: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    from affcli.schema import METADATA_KEY

    try:
        with safe_open(file, framework="np") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY.decode())
            numbers = sum(_product(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
            mixes = filter(_MIXES.search, opened.keys())
            weights = _layer_weights({name: opened.get_tensor(name) for name in mixes})
    except SafetensorError as error:
        raise AffcliError(f"{file}: is not a safetensors file ({error}).") from error
    card = json.loads(text) if text else {"kind": "safetensors file without an affcli card"}
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
