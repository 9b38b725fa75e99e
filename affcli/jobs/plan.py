"""What is to be done, told from what there is: without touching anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from affcli.errors import OtherInputsError, OtherSettingsError
from affcli.files.inputs import MediaInput
from affcli.jobs.fingerprints import Fingerprints, is_gone


@dataclass(frozen=True)
class Failure:
    """An input that gave nothing: the fingerprint of its content, None where that could not be read, and why."""

    fingerprint: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Existing:
    """What stands under the output's name. `made` are inputs whose rows are there, by video id, with fingerprints.

    `complete`: it tells of all its inputs; else it is a folder whose summary was not written. `misplaced`: some of it
    lies where an earlier version put it, and is to be moved.
    """

    made: Mapping[str, str] = field(default_factory=dict)
    recorded: Mapping[str, str] = field(default_factory=dict)  # the same, as it was when it was completed
    failed: Mapping[str, Failure] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)  # inputs whose rows may be missing in part, and why
    complete: bool = True
    same_settings: bool = True
    misplaced: bool = False

    @property
    def known(self) -> dict[str, str | None]:
        """All inputs that it tells of, and their fingerprints."""
        return {**{video: failure.fingerprint for video, failure in self.failed.items()}, **self.recorded}


@dataclass(frozen=True)
class Plan:
    """What one job does. `todo` are inputs without rows; `kept` those whose rows stay, `failed` those not tried again.

    `forced`: what stood there before is not used.
    """

    todo: Sequence[MediaInput]
    kept: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, Failure] = field(default_factory=dict)
    gone: Sequence[MediaInput] = ()  # inputs of which that stays which was made before
    forced: bool = False
    continues: bool = False  # some of it was made by work that was interrupted
    nothing: bool = False
    shard: Mapping[str, Any] = field(default_factory=dict)  # metadata of an output that is one shard of several


def plan_of(
    existing: Existing,
    inputs: Sequence[MediaInput],
    fingerprints: Fingerprints,
    *,
    name: str,
    force: bool,
    update: bool,
) -> Plan:
    """Raises OutputExistsError where what is there may neither stay nor be replaced. `name` is the output's."""
    if force and (existing.complete or not existing.same_settings):
        return Plan(inputs, forced=True)
    if not existing.same_settings:
        raise OtherSettingsError(f"{name}: exists already, made with other settings. Replace it with --force.")
    gone = [item for item in inputs if item.video in existing.made and is_gone(item)]
    now: dict[str, str | None] = {item.video: existing.made[item.video] for item in gone}
    wanted = inputs if existing.complete else [item for item in inputs if item.video in existing.made]
    now |= {item.video: fingerprints.or_none(item) for item in wanted if item.video not in now}
    if existing.complete and not update and existing.known != now:
        raise OtherInputsError(
            f"{name}: exists already, made from other inputs. Add new or changed ones with --update, or replace it "
            "with --force."
        )
    again = not existing.complete or update  # what failed is tried again
    done = {video for video, made in existing.made.items() if now.get(video) == made}
    done |= set() if again else set(existing.failed)
    todo = [item for item in inputs if item.video not in done]
    named = {item.video for item in inputs}
    kept = {video: made for video, made in existing.made.items() if video in done or (update and video not in named)}
    failed = {video: why for video, why in existing.failed.items() if not again or video not in named}
    unfinished = not existing.complete and bool(kept)
    nothing = existing.complete and not todo and not existing.misplaced
    return Plan(todo, kept, failed, gone, continues=unfinished, nothing=nothing)


def digest_of(inputs: Sequence[MediaInput], *, update: bool) -> str:
    """By which processes know that they do the same."""
    text = "\0".join([str(update), *(item.video for item in inputs)])
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
