"""What a model's card asks `affcli label` to see and hear with: one encoder for each table that it was trained on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from affcli.errors import AffcliError, InstallationError, UsageError, counted, listed
from affcli.features.side_by_side import SideBySide, cards_in
from affcli.features.stream import Stream, is_encoder
from affcli.files.inputs import MediaInput
from affcli.jobs.job import Ended
from affcli.jobs.labelling import Features
from affcli.media.showing import Show
from affcli.models.encoders import find_checkpoint
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.encoders.layer_choice import Layers, layers_of_card
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract import audio_features
from affcli.models.fusion.model_file import ModelCard
from affcli.models.runtime.devices import Runtime

Card = Mapping[str, Any]
Encoder = TypeVar("Encoder", VisualEncoder, AudioEncoder)

_CONTEXT_S: Final = 0.5  # the default of extract-audio, for cards that do not tell


@dataclass(frozen=True)
class Eye:
    """An image encoder, and what it is shown."""

    encoder: VisualEncoder
    show: Show

    @property
    def card(self) -> Card:
        """What a feature table made with it says of the encoder."""
        return self.encoder.card.as_json()


@dataclass(frozen=True)
class Ear:
    """A speech encoder, and the seconds either side of a frame's centre that are averaged."""

    encoder: AudioEncoder
    context_s: float

    @property
    def card(self) -> Card:
        """What a feature table made with it says of the encoder and the context."""
        return audio_features.named_with_context(self.encoder.card, self.context_s)


@dataclass(frozen=True)
class Wanted:
    """One stream of a model: the file's name, the cards of its tables, the encoders that the user names instead."""

    model: str
    stream: str  # visual, audio
    cards: Sequence[Card]
    named: Sequence[str]

    @classmethod
    def by(cls, card: ModelCard, model: str, stream: str, named: Sequence[str]) -> Wanted:
        """`named`: none, or one for each encoder of the stream's tables, in their order.

        Raises AffcliError where `label` cannot make a table that the model was trained on, UsageError for another
        number of names.
        """
        cards = cards_in(card.encoders[stream])
        if any("classes" in one for one in cards):
            raise AffcliError(
                f"{model} was trained on a table of somebody's logits beside its features, which label cannot make: "
                "use affcli predict."
            )
        wanted = cls(model, stream, cards, named)
        if named and len(named) != len(wanted._encoders):
            raise UsageError(
                f"--{stream}-model: is given {_times(len(named))}; {model} was trained with "
                f"{counted(len(wanted._encoders), f'{stream} encoder')} ({listed(wanted._encoders)}). Give one for "
                "each, in this order."
            )
        return wanted

    @property
    def _encoders(self) -> list[str]:
        """What the cards call their encoders, each once."""
        return list(dict.fromkeys(card.get("name") or find_checkpoint.MINI for card in self.cards))

    def loaded(self, load: Callable[[str, Card], Encoder]) -> list[Encoder]:
        """The encoder of each card, the user's or the one that the card names, else mini; each loaded once."""
        known: dict[tuple[str, Layers], Encoder] = {}
        for card in self.cards:
            key = self._name(card), layers_of_card(card)
            if key not in known:
                known[key] = self._load(load, key[0], card)
        return [known[self._name(card), layers_of_card(card)] for card in self.cards]

    def _name(self, card: Card) -> str:
        name: str = card.get("name") or find_checkpoint.MINI
        return self.named[self._encoders.index(name)] if self.named else name

    def _load(self, load: Callable[[str, Card], Encoder], name: str, card: Card) -> Encoder:
        try:
            return load(name, card)
        except InstallationError:
            raise
        except AffcliError as error:
            text = str(error).replace("--model", f"--{self.stream}-model")
            if not self.named:
                text = (
                    f"{self.model} was trained with the {self.stream} encoder {name}, which is not found by that name. "
                    f"{text}"
                )
            raise AffcliError(text) from error

    def refuse_others(self, found: Sequence[Card]) -> None:
        """Raises where an encoder is not the one whose features the model was trained with."""
        for card, trained_with in zip(found, self.cards, strict=True):
            wanted = trained_with.get("name")
            if card["size"] != trained_with["size"]:
                raise AffcliError(
                    f"--{self.stream}-model {card['name']}: its features have {card['size']} numbers; {self.model} was "
                    f"trained with {wanted or 'features'} of {trained_with['size']}."
                )
            if wanted and not is_encoder(card, trained_with):
                ours, theirs = (f"{c['name']} ({c['fingerprint']}, {c['feature']})" for c in (card, trained_with))
                raise AffcliError(
                    f"{self.model} was trained with {theirs}, not {ours}. Name that one with --{self.stream}-model."
                )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def eyes(wanted: Wanted, run: Runtime, batch_size: int, shown: Callable[[VisualEncoder, Card], Show]) -> list[Eye]:
    """Those that the model's visual tables ask for; `shown` makes what an encoder is shown, as a card says."""
    made = wanted.loaded(
        lambda name, card: VisualEncoder(name, run, batch_size=batch_size, layers=layers_of_card(card))
    )
    found = [Eye(encoder, shown(encoder, card)) for encoder, card in zip(made, wanted.cards, strict=True)]
    wanted.refuse_others([eye.card for eye in found])
    return found


def ears(wanted: Wanted, run: Runtime) -> list[Ear]:
    """Those that the model's audio tables ask for."""
    made = wanted.loaded(lambda name, card: AudioEncoder(name, run, layers=layers_of_card(card)))
    contexts = [audio_features.context_of_card(card) for card in wanted.cards]
    found = [
        Ear(encoder, _CONTEXT_S if context is None else context)
        for encoder, context in zip(made, contexts, strict=True)
    ]
    wanted.refuse_others([ear.card for ear in found])
    return found


def card_of_all(cards: Sequence[Card]) -> Card:
    """The card of a stream's encoders: of a single one, its own."""
    return cards[0] if len(cards) == 1 else {"size": sum(card["size"] for card in cards), "tables": list(cards)}


def side_by_side(features: Features) -> Stream | None:
    """What several encoders made of one input as one stream; None for nothing."""
    if len(features) < 2:
        return features[0] if features else None
    return SideBySide(features, [one.size for one in features])


def each(items: Iterable[MediaInput], count: int) -> list[Iterator[MediaInput]]:
    """The same items for `count` works, each taken from `items` when the first work gets to it.

    An item that is taken is claimed: taken ahead, it would be kept from other processes.
    """
    lock = threading.Lock()  # works take their items in threads of their own

    def locked(copy: Iterator[MediaInput]) -> Iterator[MediaInput]:
        while True:
            with lock:
                item = next(copy, None)
            if item is None:
                return
            yield item

    return [locked(copy) for copy in itertools.tee(items, count)]


def in_step(works: Sequence[Generator[Ended]]) -> Generator[Ended]:
    """Several works on the same inputs, input by input: tells of each when all have ended it, of a failure first."""
    with ExitStack() as open_works:
        for work in works:
            open_works.enter_context(closing(work))
        for ended in zip(*works, strict=True):
            yield _first_failure(ended)


def _first_failure(ended: Iterable[Ended]) -> Ended:
    every = list(ended)
    return next((one for one in every if one.failure is not None), every[0])
