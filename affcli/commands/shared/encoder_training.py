"""Options that the commands share which train an encoder: train-visual and train-audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from affcli.commands.shared.epoch_lines import log_option
from affcli.console import options

RATE: Final = click.FloatRange(0, 1)
BELOW_1: Final = click.FloatRange(0, 1, max_open=True)
POSITIVE: Final = click.FloatRange(0, min_open=True)
AT_LEAST_0: Final = click.FloatRange(0)

Option = Callable[..., Any]


def epochs(default: int) -> Option:
    """--epochs."""
    return click.option(
        "--epochs", type=click.IntRange(1), default=default, show_default=True, help="Passes over the training data."
    )


def rates(*, lr: float, warmup: float, weight_decay: float, layer_decay: float) -> Option:
    """--lr, --warmup, --weight-decay, --layer-decay, with these defaults."""
    return _together(
        click.option(
            "--lr", type=POSITIVE, default=lr, show_default=True, help="Peak learning rate, that of the head."
        ),
        click.option(
            "--warmup",
            type=RATE,
            default=warmup,
            show_default=True,
            help="Share of the steps over which the learning rate rises.",
        ),
        click.option(
            "--weight-decay", type=AT_LEAST_0, default=weight_decay, show_default=True, help="Weight decay of AdamW."
        ),
        click.option(
            "--layer-decay",
            type=RATE,
            default=layer_decay,
            show_default=True,
            help="Each block's learning rate as a fraction of the next block's.",
        ),
    )


def losses(*, label_smoothing: float) -> Option:
    """--gamma, --label-smoothing."""
    return _together(
        click.option(
            "--gamma",
            type=AT_LEAST_0,
            default=0.0,
            show_default=True,
            help="Gamma of the focal loss; 0 is cross-entropy.",
        ),
        click.option(
            "--label-smoothing",
            type=RATE,
            default=label_smoothing,
            show_default=True,
            help="Share of a label spread over all classes.",
        ),
    )


def ending(*, ema: float, batch_size: int, noun: str) -> Option:
    """--ema, --patience, --batch-size, --seed, --log, --device, --precision, --force and the common ones."""
    return _together(
        click.option(
            "--ema",
            type=BELOW_1,
            default=ema,
            show_default=True,
            help="Decay of the moving average of the weights; 0 for none.",
        ),
        click.option(
            "--patience",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Stop after this many epochs without a better validation score; 0 for never.",
        ),
        options.batch_size(batch_size, noun),
        options.seed,
        log_option,
        options.device,
        options.precision,
        options.force,
        options.common,
    )


def _together(*decorators: Option) -> Option:
    def decorate(command: Any) -> Any:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate
