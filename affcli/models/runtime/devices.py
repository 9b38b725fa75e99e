"""Where and how precisely torch computes; and one line, never a traceback, where the installation is broken."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch

from affcli.errors import InstallationError, UsageError, not_installed
from affcli.models.runtime.cast_weights import cast_once
from affcli.models.runtime.pack_weights import pack_once

log = logging.getLogger(__name__)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """A device and a precision; below fp32, matrix products run in half precision (autocast)."""

    device: torch.device
    precision: str  # fp32, bf16 or fp16

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients, and autocast where the precision asks for it."""
        with torch.inference_mode(), self.autocast():
            yield

    def prepare(self, network: torch.nn.Module, outcome: Callable[[], torch.Tensor]) -> None:
        """Makes a network that is only to run here quicker below fp32, to the same bits; `outcome` shows that."""

        def under_autocast() -> torch.Tensor:
            with self.inference():
                return outcome()

        if self.precision == "fp32":
            return
        if not cast_once(network, _DTYPES[self.precision], under_autocast):
            log.info("%s: is cast in every pass.", type(network).__name__)
        elif self.device.type == "cpu":
            with torch.inference_mode():
                pack_once(network, under_autocast)

    def autocast(self) -> torch.autocast:
        """torch's autocast to this precision; it does nothing in fp32."""
        half = self.precision != "fp32"
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision] if half else None, enabled=half)


def choose_for_training(device: str = "auto", precision: str = "auto", *, small: bool = True) -> Runtime:
    """The runtime to train a network on; never fp16, in which gradients would underflow. `small` as in `choose`."""
    if precision == "fp16":
        raise UsageError("--precision fp16 is for prediction; train in bf16 or fp32.")
    run = choose(device, precision, small=small)
    return Runtime(run.device, "fp32") if run.precision == "fp16" else run


def choose(device: str = "auto", precision: str = "auto", *, small: bool = False) -> Runtime:
    """The runtime for `--device` and `--precision`; raises UsageError for a device that is not there.

    `small` networks compute in fp32 on a processor: for products this small, casting to bf16 costs more than it saves.
    """
    chosen = _device(device)
    if precision == "auto":
        precision = "fp32" if small and chosen.type == "cpu" else _best_precision(chosen)
    if precision == "fp16" and chosen.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU; on a processor use bf16 or fp32.")
    return Runtime(chosen, precision)


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            # torchrun numbers a machine's processes: each takes a GPU of its own.
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: no such kind of device (auto, cpu, cuda, cuda:N, mps).") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here. Use --device cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: not available here. Use --device cpu.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device {name}: not supported (auto, cpu, cuda, cuda:N, mps).")
    return device


def _best_precision(device: torch.device) -> str:
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu":
        return "bf16" if _processor_has_bf16() else "fp32"
    return "fp32"


def _processor_has_bf16() -> bool:
    """True where bf16 products are an instruction (AVX512-BF16, AMX); emulated, they are slower than fp32."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def transformers() -> ModuleType:
    """The transformers library, quiet, and without its background threads that talk to the hub."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        module = importlib.import_module("transformers")
        # Now, not lazily somewhere inside a loader: this is where a broken torchaudio shows.
        importlib.import_module("transformers.audio_utils")
    except Exception as error:
        raise InstallationError(_why_transformers_fails(error)) from error
    module.utils.logging.disable_progress_bar()
    if os.environ["TRANSFORMERS_VERBOSITY"] == "error":  # read at import only, which may have been before
        module.utils.logging.set_verbosity_error()
    return module


def _why_transformers_fails(error: Exception) -> str:
    """transformers imports torchaudio whenever it is installed, so a torchaudio of another build breaks it."""
    if importlib.util.find_spec("torchaudio") is not None:
        try:
            importlib.import_module("torchaudio")
        except Exception as reason:
            try:
                version = importlib.metadata.version("torchaudio")
            except importlib.metadata.PackageNotFoundError:
                version = "of unknown version"
            return (
                f"the installed torchaudio {version} cannot be imported beside torch {torch.__version__} "
                f"({_first_line(reason)}). affcli does not need it: pip uninstall torchaudio"
            )
    if isinstance(error, ModuleNotFoundError) and error.name not in (None, "transformers"):
        return str(not_installed(error))
    return f"the transformers library cannot be imported ({_first_line(error)}). Try: pip install --upgrade affcli"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
