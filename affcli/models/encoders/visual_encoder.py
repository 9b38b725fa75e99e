"""Encoders of pictures (BEiT and its kind) and of speech (WavLM and its kind), one code path for every checkpoint.

An encoder's output never depends on what else it is given: pictures go through in batches of one fixed shape, the last
one padded, and sounds go through one by one.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from affcli.errors import AffcliError, listed
from affcli.models import checkpoints, runtime, transfers
from affcli.models.checkpoints import CONFIG, Checkpoint
from affcli.models.classifiers import ClassHead
from affcli.models.preprocessing import PicturePreprocessing, SoundPreprocessing
from affcli.schema import CLASSES

DEFAULT_VISUAL = "microsoft/beit-base-patch16-224-pt22k-ft22k"
DEFAULT_AUDIO = "microsoft/wavlm-base-plus"
_FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65504
_POOLED, _CLASS_TOKEN, _PATCH_MEAN = "pooled", "class token", "mean of patch tokens"
_CLASS_TOKEN_NAMES = {"cls_token", "class_embedding", "class_token"}  # of the parameter, whatever the architecture
_SAMPLE_STEPS = 50  # of noise, to see what an encoder of speech makes of it
_NOT_OF_THE_FAMILY = "is no speech encoder of the wav2vec2 family"


@dataclass(frozen=True)
class EncoderCard:
    """What a feature table and a model's card know of an encoder."""

    name: str
    fingerprint: str  # of configuration, preprocessing and weights: the same encoder under another name has the same
    size: int  # numbers in a feature
    feature: str  # which vector it is, such as "pooled" or "mean of last 4 hidden layers"

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


class Encoded(NamedTuple):
    """One face: `feature` [size], and `logits` [8] of the encoder's own head, [0] where they were not asked for."""

    feature: NDArray[np.float16]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class EncodedFaces:
    """A batch that is encoded or still being encoded, which is waited for when it is read."""

    count: int
    _features: transfers.Pending
    _logits: transfers.Pending

    @property
    def features(self) -> NDArray[np.float16]:
        """[count, size]; the rows that filled the batch up are left out."""
        return self._features.result()[: self.count]

    def faces(self) -> list[Encoded]:
        return [Encoded(*face) for face in zip(self.features, self._logits.result()[: self.count], strict=True)]


class VisualEncoder:
    """Pictures of faces → features: of the pooled vector, else the class token, else the mean of the patch tokens."""

    def __init__(self, model: str, run: runtime.Runtime, *, batch_size: int = 32, logits: bool = False) -> None:
        """Loads the encoder; with `logits` also its head of the eight classes, which the checkpoint must have."""
        self._run, self.batch_size = run, batch_size
        checkpoint = checkpoints.find(model, mini="visual")
        self.preprocessing = PicturePreprocessing.of(checkpoint)
        self._model, lacking = _load(checkpoint, run.device)
        # A pooler whose weights the checkpoint lacks would be random: another vector is taken instead.
        random_pooler = [name for name in lacking if _of_pooler(name)]
        _refuse_lacking(checkpoint, lacking, but=random_pooler)
        self._vector = _POOLED
        size = self._probe(model, random_pooler=bool(random_pooler))
        self.card = _card(checkpoint, self._model, but=random_pooler, size=size, feature=self._vector)
        self._run.prepare(self._model, lambda: self._model(pixel_values=self._sample()).last_hidden_state)
        self._head = ClassHead(checkpoint, self._model) if logits else None

    def _sample(self) -> torch.Tensor:
        """One picture of noise, float32 [1, 3, S, S]."""
        edge, random = self.preprocessing.input_size, torch.Generator().manual_seed(0)
        return torch.rand(1, 3, edge, edge, generator=random).to(self._run.device)

    def _probe(self, model: str, *, random_pooler: bool) -> int:
        """Chooses the vector to take, and says how long it is."""
        edge, kind = self.preprocessing.input_size, self._model.config.model_type
        pictures = self._sample()
        try:
            # BEiT keeps an index that its first pass makes, for all BEiTs of the process; one that inference mode has
            # made could not be trained with later.
            with torch.no_grad():
                outputs = [self._model(pixel_values=pictures) for _ in range(2)]
                self._vector = _best_vector(self._model, outputs[0], random_pooler=random_pooler)
                one, again = map(self._features, outputs)
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise AffcliError(f"--model {model}: its {kind} model does not encode {edge}×{edge} pictures.") from error
        if not torch.allclose(one, again, rtol=1e-3, atol=1e-3):  # masked autoencoders hide patches at random
            raise AffcliError(f"--model {model}: its {kind} model gives one picture another feature each time.")
        return one.shape[-1]

    def _features(self, output: Any) -> torch.Tensor:
        """float32 [N, size] of a model's output."""
        if self._vector == _POOLED:
            pooled: torch.Tensor = output.pooler_output
            return pooled.float().flatten(1)  # convolutional networks pool to [N, size, 1, 1]
        tokens: torch.Tensor = output.last_hidden_state.float()
        if self._vector == _CLASS_TOKEN:
            return tokens[:, 0]
        return tokens.mean(1) if tokens.ndim == 3 else tokens.mean((2, 3))  # [N, tokens, size] or [N, size, h, w]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the logits; none where they were not asked for."""
        return CLASSES if self._head else ()

    @property
    def overlap(self) -> int:
        """How many batches to let run while the next is made ready. A processor has only itself to run them."""
        return int(self._run.device.type == "cuda")

    def encode(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Features [N, size] of at most `batch_size` faces: uint8 [N, S, S, 3], S the encoder's input size.

        With several views of each face, [N, views, S, S, 3], a feature is the mean over them, taken in float32.
        """
        return self.start(pictures).features

    def start(self, pictures: Sequence[NDArray[np.uint8]]) -> EncodedFaces:
        """Begins to encode faces as `encode` takes them; on a GPU that goes on by itself. Views count in logits too."""
        with self._run.inference():
            # A short batch is filled up: the same kernels run on the same shape whatever the rest of the batch is.
            pixels = transfers.stacked(pictures, self.batch_size, self._run.device)
            views = pixels.shape[1] if pixels.ndim == 5 else 1
            values = self.preprocessing.normalised(pixels.view(-1, *pixels.shape[-3:]))
            if self._head is None:
                output, logits = self._model(pixel_values=values), values.new_empty(len(values), 0)
            else:
                output, logits = self._head(values)
            features, logits = (
                part.view(self.batch_size, views, part.shape[1]).mean(1) for part in (self._features(output), logits)
            )
            features = features.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).half()
            return EncodedFaces(len(pictures), transfers.Pending(features), transfers.Pending(logits.float()))


class AudioEncoder:
    """Mono samples [n] float32 in [−1, 1] → features [steps, size] float32, the mean of the last hidden layers."""

    def __init__(self, model: str, run: runtime.Runtime, *, layers: int = 4) -> None:
        self._run, self._layers = run, layers
        checkpoint = checkpoints.find(model, mini="audio")
        self.preprocessing = SoundPreprocessing.of(checkpoint)
        self._model, lacking = _load(checkpoint, run.device)
        config = self._model.config
        if not hasattr(config, "conv_stride"):
            raise AffcliError(f"--model {model}: a {config.model_type} model {_NOT_OF_THE_FAMILY}.")
        masked = [name for name in lacking if name == "masked_spec_embed"]  # SpecAugment's, used in training only
        _refuse_lacking(checkpoint, lacking, but=masked)
        if not 1 <= layers <= config.num_hidden_layers:
            raise AffcliError(f"--layers {layers}: {checkpoint.name} has {config.num_hidden_layers} hidden layers.")
        self.steps = StepGrid.of(config.conv_kernel, config.conv_stride, self.preprocessing.sample_rate_hz)
        size, what = self._probe(model), f"mean of last {layers} hidden layers"
        self.card = _card(checkpoint, self._model, but=masked, size=size, feature=what)
        _fold_weight_norms(self._model)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, _SAMPLE_STEPS * self.steps.hop).astype(np.float32)
        self._run.prepare(self._model, lambda: self._features(noise))

    def _probe(self, model: str) -> int:
        """How long a feature is; raises where the steps are not where the front end takes them (SEW squeezes them)."""
        kind, steps = self._model.config.model_type, 8
        try:
            found = self._features(np.zeros(self.steps.field + (steps - 1) * self.steps.hop, np.float32))
        except (TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise AffcliError(f"--model {model}: a {kind} model {_NOT_OF_THE_FAMILY}.") from error
        if len(found) != steps:
            raise AffcliError(
                f"--model {model}: this {kind} model's hidden layers have {len(found)} steps for {steps}."
            )
        return found.shape[1]

    def _features(self, samples: NDArray[np.float32]) -> torch.Tensor:
        values = transfers.on_device(self.preprocessing.normalised(samples)[None], self._run.device)
        with self._run.inference():
            hidden = self._model(values, output_hidden_states=True).hidden_states
            return torch.stack([layer.float() for layer in hidden[-self._layers :]]).mean(0)[0]

    def encode(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """One vector for each step; no step, no vectors, for sound shorter than the encoder's receptive field."""
        if self.steps.count(len(samples)) == 0:
            return np.empty((0, self.card.size), np.float32)
        return np.asarray(self._features(samples).cpu().numpy(), np.float32)


def _fold_weight_norms(model: torch.nn.Module) -> None:
    """Computes normed weights (of the convolution that encodes positions) now, once and in one thread.

    Else it is done in every pass, and its sum over a few million numbers depends, in the last bit, on how many threads
    share it: the only thing in these models that does.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class StepGrid:
    """Where a convolutional front end takes its steps: step j sees samples [j·hop, j·hop + field)."""

    hop: int  # samples between steps: the product of the strides (WavLM: 320)
    field: int  # samples one step sees (WavLM: 400)
    sample_rate_hz: int

    @classmethod
    def of(cls, kernels: Sequence[int], strides: Sequence[int], sample_rate_hz: int) -> StepGrid:
        hop, field = 1, 1
        for kernel, stride in zip(kernels, strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return cls(hop, field, sample_rate_hz)

    def count(self, samples: int) -> int:
        """⌊(n − field) / hop⌋ + 1 steps for n samples, none for n < field."""
        return max(0, (samples - self.field) // self.hop + 1)

    def centres_s(self, steps: int) -> NDArray[np.float64]:
        """Seconds from the first sample to the middle of what each step sees: (field/2 + hop·j) / rate."""
        return (self.field / 2 + self.hop * np.arange(steps)) / self.sample_rate_hz


def _load(checkpoint: Checkpoint, device: torch.device) -> tuple[Any, list[str]]:
    """The model in eval mode, and the names of its parameters that the checkpoint lacks.

    Of a fine-tuned checkpoint that is the model below its head, of one for pictures and text its vision tower.
    """
    library = runtime.transformers()
    try:
        config = library.AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
        config = getattr(config, "vision_config", None) or config
        model, lacking = _pretrained(library, checkpoint, config)
    except Exception as error:  # whatever a damaged or foreign checkpoint makes the loaders raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise AffcliError(f"--model {checkpoint.name}: transformers cannot load it: {reason}") from error
    return model.eval().to(device), lacking


def _pretrained(library: Any, checkpoint: Checkpoint, config: Any, **building: bool) -> tuple[Any, list[str]]:
    model, about = library.AutoModel.from_pretrained(
        checkpoint.folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        weights_only=True,
        dtype=torch.float32,
        output_loading_info=True,
        **building,
    )
    # Data2Vec's vision model has a pooler only where it is asked for.
    optional = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    if optional and not building and any(map(_of_pooler, about["unexpected_keys"])):
        return _pretrained(library, checkpoint, config, add_pooling_layer=True)
    return model, sorted(about["missing_keys"])


def _best_vector(model: Any, output: Any, *, random_pooler: bool) -> str:
    if not random_pooler and getattr(output, "pooler_output", None) is not None:
        return _POOLED
    names = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
    has_class_token = output.last_hidden_state.ndim == 3 and names & _CLASS_TOKEN_NAMES
    return _CLASS_TOKEN if has_class_token else _PATCH_MEAN


def _of_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


def _refuse_lacking(checkpoint: Checkpoint, lacking: Sequence[str], *, but: Sequence[str]) -> None:
    if missing := [name for name in lacking if name not in but]:
        raise AffcliError(
            f"--model {checkpoint.name}: the checkpoint lacks weights its config asks for: {listed(missing)}."
        )


def _card(checkpoint: Checkpoint, model: Any, *, but: Sequence[str], size: int, feature: str) -> EncoderCard:
    return EncoderCard(checkpoint.name, _fingerprint(checkpoint, model, but=but), size, feature)


def _fingerprint(checkpoint: Checkpoint, model: Any, *, but: Sequence[str]) -> str:
    """16 hex digits over configuration, preprocessing and every weight, whatever the files are called.

    `but` are parameters that the checkpoint lacks and no feature depends on: random, and others at each start.
    """
    digest = hashlib.blake2b(digest_size=8)
    for facts in (checkpoint.read(CONFIG), checkpoint.preprocessing()):
        lasting = {key: value for key, value in facts.items() if not key.startswith(("_", "transformers"))}
        digest.update(json.dumps(lasting, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name not in but:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
