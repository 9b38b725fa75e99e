"""The face network of `mini`: MobileNetV1 on one grey channel, and the transformers folder that is made of it.

The modules have the names that transformers gives them. With one grey channel instead of three, grey stills and colour
video give the same kind of input. `save` folds the conversion to grey into the first convolution, so the saved network
takes RGB pictures and computes the same function.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import MobileNetV1Config

from affcli.schema import CLASSES

LUMINANCE: Final = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
_EPSILON: Final = 1e-3  # of every batch norm
_LEAST_VARIANCE: Final = 1e-4  # of a channel that calibration finds constant
# Channels in and out and stride of the depthwise separable convolutions (Howard et al. 2017, table 1).
_BLOCKS: Final = (
    [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    + [(512, 512, 1)] * 5
    + [(512, 1024, 2), (1024, 1024, 1)]
)


class ConvLayer(nn.Module):
    """Convolution with TensorFlow's padding, batch norm, ReLU6; computed in the type of its input."""

    def __init__(self, inputs: int, outputs: int, edge: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, edge, stride, 0, groups=groups, bias=False)
        self.normalization = nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=0.05)
        self._edge, self._stride, self._groups = edge, stride, groups

    def forward(self, values: Tensor) -> Tensor:
        return F.hardtanh(self.normalization(self._convolved(values)), 0.0, 6.0)

    def _convolved(self, values: Tensor) -> Tensor:
        weight = self.convolution.weight.to(values.dtype)
        if self._stride == 1:
            return F.conv2d(values, weight, None, 1, self._edge // 2, 1, self._groups)
        odd = values.shape[-1] % 2  # TensorFlow pads an even edge at its end only
        if self._groups > 1:
            # The gradient of a strided depthwise convolution is slow on a CPU: compute all, keep every second.
            kept = F.conv2d(values, weight, None, 1, 1, 1, self._groups)[:, :, 1 - odd :: 2, 1 - odd :: 2]
            return kept.contiguous(memory_format=torch.channels_last)
        return F.conv2d(F.pad(values, (odd, 1, odd, 1)), weight, None, 2)


class GreyMobileNet(nn.Module):
    """float [n, 1, S, S], grey values from 0 to 255 → logits float32 [n, 8]."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv_stem = ConvLayer(1, 32, 3, 2)
        self.layer = nn.ModuleList(
            layer
            for inputs, outputs, stride in _BLOCKS
            for layer in (ConvLayer(inputs, inputs, 3, stride, inputs), ConvLayer(inputs, outputs, 1))
        )
        self.classifier = nn.Linear(_BLOCKS[-1][1], len(CLASSES))
        self._dropout = dropout
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, values: Tensor) -> Tensor:
        values = values.contiguous(memory_format=torch.channels_last)
        for layer in (self.conv_stem, *self.layer):
            values = layer(values)
        pooled = values.float().mean((2, 3))
        return self.classifier(F.dropout(pooled, self._dropout, self.training))

    def begin_with(self, backbone: Mapping[str, Tensor]) -> None:
        """Takes the weights of a colour network of the same shape, without batch statistics and without this head."""
        weights = {name: tensor.float() for name, tensor in backbone.items() if "num_batches" not in name}
        stem = "conv_stem.convolution.weight"
        weights[stem] = weights[stem].sum(1, keepdim=True)  # of grey pictures, three channels see the same
        lacking, unexpected = self.load_state_dict(weights, strict=False)
        unknown = [name for name in lacking if not name.startswith("classifier") and "num_batches" not in name]
        if unknown or unexpected:
            raise ValueError(f"not the expected backbone: lacks {unknown}, has {unexpected}")

    @torch.no_grad()
    def calibrate(self, values: Tensor) -> None:
        """Puts batch norms back that were folded into the convolutions.

        Their statistics become those of the pictures `values`, and scale and shift such that no output changes.
        """
        self.eval()
        values = values.contiguous(memory_format=torch.channels_last)
        for layer in (self.conv_stem, *self.layer):
            _calibrate(layer.normalization, layer._convolved(values))
            values = layer(values)


def _calibrate(norm: nn.BatchNorm2d, values: Tensor) -> None:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    mean = values.mean((0, 2, 3))
    variance = values.var((0, 2, 3), unbiased=False).clamp_min(_LEAST_VARIANCE)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean * scale)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def save(weights: Mapping[str, Tensor], folder: Path, *, size: int) -> None:
    """Writes a MobileNetV1ForImageClassification in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(weights)
    stem = "conv_stem.convolution.weight"
    tensors[stem] = tensors[stem] * torch.tensor(LUMINANCE).view(1, 3, 1, 1)
    stored = {_stored_name(name): _halved(tensor).contiguous() for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    names = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: at for at, name in enumerate(CLASSES)}}
    config = MobileNetV1Config(image_size=size, layer_norm_eps=_EPSILON, classifier_dropout_prob=0.2, **names)
    config.architectures = ["MobileNetV1ForImageClassification"]
    config.save_pretrained(folder)
    facts = {"image_processor_type": "MobileNetV1ImageProcessor", "do_resize": True, "resample": 2}
    facts |= {"size": {"height": size, "width": size}, "do_center_crop": False}
    facts |= {"do_rescale": False, "do_normalize": False}  # the network takes values from 0 to 255
    (folder / "preprocessor_config.json").write_text(json.dumps(facts, indent=2) + "\n")


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _stored_name(name: str) -> str:
    return name if name.startswith("classifier") else f"mobilenet_v1.{name}"


def faceres(graph: Path, numbers: Path) -> dict[str, Tensor]:
    """FaceRes's convolutions by transformers' names, from a TensorFlow.js model (`faceres-deep.json` and `.bin`)."""
    values = _tfjs_weights(graph, numbers)
    made = _layer("conv_stem", values["conv1/convolution/merged_input"], values["conv1_bn/batchnorm_1/sub"])
    for block in range(1, len(_BLOCKS) + 1):
        depthwise, pointwise = f"conv_dw_{block}", f"conv_pw_{block}"
        kernel = values[f"{depthwise}/depthwise_kernel"].permute(0, 1, 3, 2)  # rows, columns, 1, channels
        kernel = kernel * values[f"{depthwise}_bn/batchnorm_1/mul"]
        made |= _layer(f"layer.{2 * block - 2}", kernel, values[f"{depthwise}_bn/batchnorm_1/sub"])
        kernel = values[f"{pointwise}/convolution/merged_input"]
        made |= _layer(f"layer.{2 * block - 1}", kernel, values[f"{pointwise}_bn/batchnorm_1/sub"])
    return made


def _tfjs_weights(graph: Path, numbers: Path) -> dict[str, Tensor]:
    data, at, values = numbers.read_bytes(), 0, {}
    for group in json.loads(graph.read_text())["weightsManifest"]:
        for facts in group["weights"]:
            count = math.prod(facts["shape"])
            flat = np.frombuffer(data, facts["dtype"], count, at)
            values[facts["name"]] = torch.from_numpy(flat.reshape(facts["shape"]).copy())
            at += 4 * count
    return values


def _layer(name: str, kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A convolution with its kernel [rows, columns, in, out] and a batch norm that only adds the bias."""
    norm = f"{name}.normalization"
    ones = torch.ones_like(bias)
    return {
        f"{name}.convolution.weight": kernel.permute(3, 2, 0, 1).contiguous(),
        f"{norm}.weight": ones,
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": ones - _EPSILON,
    }
