"""From what the user calls an encoder (`mini`, a folder, a hub name) to a local folder in the Hugging Face layout.

Everything after this module reads a folder, so a hub name and a local folder take the same path, and nothing but an
uncached hub name ever touches the network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affcli.errors import AffcliError
from affcli.files.json_objects import read_json_object

MINI = "mini"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_PROCESSOR = "processor_config.json"  # where transformers 5 writes what PREPROCESSOR holds, if saved with a tokenizer
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?(@[\w./-]+)?")
_WAYS_ON = "Give a local folder, or --model mini, which needs no download."


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and preprocessor_config.json; without `weights` it is a recipe."""

    name: str  # what tables and cards call it: the hub name, or the folder's own name, never a path
    folder: Path
    weights: bool = True

    def read(self, file: str) -> dict[str, Any]:
        """A JSON file of the folder. Raises JsonError where it cannot be read or holds no object."""
        return read_json_object(self.folder / file)

    def weight_files(self) -> list[Path]:
        """The files that hold its weights. Raises AffcliError for an index that names others than its neighbours."""
        named = next((self.folder / file for file in _WEIGHTS if (self.folder / file).is_file()), None)
        if named is None:
            return []
        return [self.folder / shard for shard in sorted(shards_of(named))] if named.suffix == ".json" else [named]

    def preprocessing(self) -> dict[str, Any]:
        """What the checkpoint says of its input, from where transformers takes it too."""
        if (self.folder / _PROCESSOR).is_file():
            both = self.read(_PROCESSOR)
            for part in ("image_processor", "feature_extractor"):
                if isinstance(both.get(part), dict):
                    return dict(both[part])
        return self.read(PREPROCESSOR)


def find(model: str, *, mini: str, bare: bool = False) -> Checkpoint:
    """The checkpoint that `--model` names; `mini` says which of the package's small encoders that word stands for.

    `bare` also takes a folder without weights, for a network that is to be trained from the beginning.
    """
    if model == MINI:
        own = Path(__file__).parents[1] / "mini" / mini
        return Checkpoint(MINI, own)
    folder = Path(model)
    if folder.is_dir():
        return _local(model, folder, bare=bare)
    if folder.exists():
        raise AffcliError(f"--model {model}: is a file; name the checkpoint's folder (config.json and weights in it).")
    if not _HUB_NAME.fullmatch(model):
        raise AffcliError(f"--model {model}: no such folder.")
    name, _, revision = model.partition("@")
    return Checkpoint(name, _cached(name, revision or "main") or _downloaded(name, revision or "main"))


def _local(model: str, folder: Path, *, bare: bool) -> Checkpoint:
    if missing := _missing(lambda file: (folder / file).is_file() or (bare and file in _WEIGHTS)):
        raise AffcliError(f"--model {model}: the folder has no {missing}; a Hugging Face checkpoint folder is needed.")
    return Checkpoint(folder.resolve().name, folder, _has_weights(folder))


def _has_weights(folder: Path) -> bool:
    return any((folder / file).is_file() for file in _WEIGHTS)


def _missing(has: Callable[[str], bool]) -> str | None:
    if not has(CONFIG):
        return CONFIG
    if not has(PREPROCESSOR) and not has(_PROCESSOR):
        return PREPROCESSOR
    return None if any(map(has, _WEIGHTS)) else "weights (model.safetensors or pytorch_model.bin)"


def _cached(name: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def path(file: str) -> str | None:
        try:
            found = try_to_load_from_cache(name, file, revision=revision)
        except HFValidationError:
            raise AffcliError(f"--model {name}: no such folder, and no name that the hub gives.") from None
        return found if isinstance(found, str) else None

    config = path(CONFIG)
    if config is None or _missing(lambda file: path(file) is not None):
        return None
    folder = Path(config).parent
    shards = {shard for index in folder.glob("*.index.json") for shard in shards_of(index)}
    return folder if all((folder / shard).exists() for shard in shards) else None


def shards_of(index: Path) -> set[str]:
    """The files beside an index of weights that it names. Raises AffcliError for one that leads out of its folder."""
    names = read_json_object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise AffcliError(f"{index}: has no weight_map of file names.")
    if outside := [name for name in names.values() if Path(name).name != name]:
        raise AffcliError(f"{index}: names {outside[0]!r}, which is no file of this folder.")
    return set(names.values())


def _downloaded(name: str, revision: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        about = HfApi().model_info(name, revision=revision, timeout=20)
        files = [sibling.rfilename for sibling in about.siblings or []]
        return Path(snapshot_download(name, revision=revision, allow_patterns=_wanted(name, files)))
    except GatedRepoError:
        raise AffcliError(f"--model {name}: is gated; accept its terms on the hub and set HF_TOKEN.") from None
    except RevisionNotFoundError:
        raise AffcliError(f"--model {name}@{revision}: the hub has no such revision.") from None
    except RepositoryNotFoundError:
        raise AffcliError(f"--model {name}: neither a folder here nor a model on the hub. {_WAYS_ON}") from None
    except AffcliError:
        raise
    except Exception as error:  # the hub's client raises its own, its HTTP library's and the system's exceptions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(
            f"--model {name}: is not in the local cache, and the hub cannot be reached ({reason}). {_WAYS_ON}"
        ) from error


def _wanted(name: str, files: list[str]) -> list[str]:
    """The files to download: safetensors where the checkpoint has them, else its `.bin`."""
    if missing := _missing(lambda file: file in files):
        raise AffcliError(f"--model {name}: has no {missing}, so it is not an encoder that can be used here.")
    suffix = (
        ".safetensors" if any(file.startswith("model") and file.endswith(".safetensors") for file in files) else ".bin"
    )
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    weights = [file for file in files if re.fullmatch(rf"{stem}(-\d+-of-\d+)?{suffix}(\.index\.json)?", file)]
    return [CONFIG, PREPROCESSOR, _PROCESSOR, *weights]
