"""Augmentation against scipy, Pillow and plain numpy; what is drawn, in what order, and by which process."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from affcli.facesets.pictures import Pictures
from affcli.models.face_training import augmentation
from affcli.models.face_training.augmentation import Augmenter, Changes
from affcli.models.face_training.batches import Mixing, TrainingBatches
from affcli.models.runtime.ranks import Ranks
from affcli.models.training.draws import drawn

CPU = torch.device("cpu")
SIZE = 40
HALVES = {"rescale": 1 / 255, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5)}


def pictures(count: int = 6, size: int = SIZE) -> np.ndarray:
    """Smooth ones, so that rounding of coordinates does not show."""
    noise = np.random.default_rng(0).uniform(0, 255, (count, size, size, 3))
    return ndimage.gaussian_filter(noise, (0, 2, 2, 0)).round().astype(np.uint8)


def unchanged(count: int) -> Changes:
    one, no = torch.ones(count), torch.zeros(count, dtype=torch.bool)
    return Changes(
        mirrored=no,
        turn=torch.zeros(count),
        zoom=torch.ones(count, 2),
        shift=torch.zeros(count, 2),
        soft=torch.zeros(count, dtype=torch.int64),
        grey=no,
        saturation=one,
        cast=torch.ones(count, 3),
        brightness=one,
        contrast=one,
        erased=torch.zeros(count, 4),
        filling=torch.zeros(count, 3),
    )


def with_(**changed: torch.Tensor) -> Changes:
    count = len(next(iter(changed.values())))
    return Changes(**{**vars(unchanged(count)), **changed})


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def test_geometry_is_scipys_affine_transform() -> None:
    pixels, random = pictures(), np.random.default_rng(1)
    n = len(pixels)
    mirrored, turn = np.arange(n) % 2 == 1, random.uniform(-0.5, 0.5, n)
    zoom, shift = random.uniform(0.7, 1.4, (n, 2)), random.uniform(-0.1, 0.1, (n, 2))
    given_ = {"turn": turn, "zoom": zoom, "shift": shift}
    changes = with_(mirrored=torch.from_numpy(mirrored), **{k: torch.from_numpy(v).float() for k, v in given_.items()})
    ours = augmentation.warped(planes(pixels), changes).numpy()
    middle = (SIZE - 1) / 2
    for i in range(n):
        rotation = np.array([[np.cos(turn[i]), -np.sin(turn[i])], [np.sin(turn[i]), np.cos(turn[i])]])
        forward = np.diag(zoom[i]) @ rotation @ np.diag([-1 if mirrored[i] else 1, 1])
        back = np.linalg.inv(forward)[::-1, ::-1]  # scipy's axes are row, column
        offset = middle - back @ (middle + shift[i, ::-1] * SIZE)
        for channel in range(3):
            theirs = ndimage.affine_transform(
                pixels[i, :, :, channel].astype(float), back, offset, order=1, mode="reflect"
            )
            np.testing.assert_allclose(ours[i, channel], theirs, atol=0.05)


def test_blurs_are_scipys_and_reductions_are_pillows() -> None:
    picture = pictures(1)[0, :, :, 0].astype(np.float32)
    matrices = augmentation.softenings(SIZE).numpy()
    sigmas, reductions = augmentation._SIGMAS, augmentation._REDUCTIONS
    assert np.array_equal(matrices[0], np.eye(SIZE, dtype=np.float32))
    assert len(matrices) == (len(sigmas) + 1) * (len(reductions) + 1)
    for i, share in enumerate(sigmas, start=1):
        reach = max(1, round(3 * share * SIZE))
        theirs = ndimage.gaussian_filter(picture, share * SIZE, mode="nearest", radius=reach)
        np.testing.assert_allclose(matrices[i] @ picture @ matrices[i].T, theirs, atol=1e-3)
    for j, factor in enumerate(reductions, start=1):
        small = round(SIZE / factor)
        bilinear = Image.Resampling.BILINEAR
        theirs = np.asarray(Image.fromarray(picture).resize((small, small), bilinear).resize((SIZE, SIZE), bilinear))
        matrix = matrices[j * (len(sigmas) + 1)]
        np.testing.assert_allclose(matrix @ picture @ matrix.T, theirs, atol=1e-2)
    both = matrices[2 * (len(sigmas) + 1) + 1]
    np.testing.assert_allclose(both, matrices[2 * (len(sigmas) + 1)] @ matrices[1], atol=1e-6)


def test_only_the_chosen_pictures_are_softened() -> None:
    values, matrices = planes(pictures(3)), augmentation.softenings(SIZE)
    softened = values.clone()
    augmentation.soften(softened, matrices, torch.tensor([0, 7, 0]))
    assert torch.equal(softened[[0, 2]], values[[0, 2]])
    torch.testing.assert_close(softened[1], matrices[7] @ values[1] @ matrices[7].T)


def test_colours_change_as_a_plain_loop_changes_them() -> None:
    pixels, random = pictures(8), np.random.default_rng(2)
    factors = {name: random.uniform(0.6, 1.6, 8) for name in ("saturation", "brightness", "contrast")}
    cast, grey = random.uniform(0.9, 1.1, (8, 3)), np.arange(8) >= 6
    tensors = {name: torch.from_numpy(values).float() for name, values in {**factors, "cast": cast}.items()}
    ours = Augmenter(SIZE, **HALVES)(torch.from_numpy(pixels), with_(grey=torch.from_numpy(grey), **tensors)).numpy()
    weights = np.array([0.299, 0.587, 0.114])
    for i, picture in enumerate(pixels.astype(float)):
        luminance = (picture @ weights)[..., None]
        saturation = 0.0 if grey[i] else factors["saturation"][i]
        changed = luminance + saturation * (picture - luminance)
        changed = changed * (1 if grey[i] else cast[i]) * factors["brightness"][i]
        middle = (changed @ weights).mean()
        changed = np.clip(middle + factors["contrast"][i] * (changed - middle), 0, 255)
        expected = (changed / 255 - np.array(HALVES["mean"])) / np.array(HALVES["std"])
        np.testing.assert_allclose(ours[i], expected.transpose(2, 0, 1), atol=2e-3)


def test_an_erased_rectangle_has_one_colour_and_the_rest_is_as_before() -> None:
    pixels = pictures(2)
    erased = torch.tensor([[0.1, 0.2, 0.5, 0.4], [0.0, 0.0, 0.0, 0.0]])
    filling = torch.tensor([[0.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    augment = Augmenter(SIZE, **HALVES)
    plain = augment(torch.from_numpy(pixels), unchanged(2))
    ours = augment(torch.from_numpy(pixels), with_(erased=erased, filling=filling))
    inside = np.zeros((SIZE, SIZE), bool)
    inside[round(0.2 * SIZE) : round(0.4 * SIZE), round(0.1 * SIZE) : round(0.5 * SIZE)] = True
    assert torch.equal(ours[1], plain[1])
    assert torch.equal(ours[0][:, ~inside], plain[0][:, ~inside])
    for channel, (value, std) in enumerate(zip((0.0, 1.0, 0.5), HALVES["std"], strict=True)):
        np.testing.assert_allclose(ours[0, channel][inside], (value - 0.5) / std, atol=1e-6)


def test_unchanged_pictures_are_normalised_and_nothing_else() -> None:
    pixels = pictures(40)  # more than are made at once
    expected = (planes(pixels) / 255 - 0.5) / torch.tensor(HALVES["std"]).view(1, 3, 1, 1)
    torch.testing.assert_close(Augmenter(SIZE, **HALVES)(torch.from_numpy(pixels), unchanged(40)), expected)


def test_without_strength_pictures_are_only_mirrored() -> None:
    pixels = pictures(64)
    changes = Changes.draw(64, 0.0, np.random.default_rng(0))
    assert 16 < changes.mirrored.sum() < 48
    expected = np.where(changes.mirrored.numpy()[:, None, None, None], pixels[:, :, ::-1], pixels)
    made = Augmenter(SIZE, rescale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)(torch.from_numpy(pixels), changes)
    np.testing.assert_allclose(made.permute(0, 2, 3, 1).numpy(), expected, atol=0.01)


def test_draws_keep_within_their_ranges_and_are_as_frequent_as_said() -> None:
    changes = Changes.draw(20_000, 1.0, np.random.default_rng(0))
    kinds = len(augmentation._SIGMAS) + 1
    frequent = {
        "grey": (changes.grey, augmentation._GREY),
        "erased": (changes.erased[:, 2] > changes.erased[:, 0], augmentation._ERASED),
        "blurred": (changes.soft % kinds > 0, augmentation._BLURRED),
        "reduced": (changes.soft // kinds > 0, augmentation._REDUCED),
    }
    for name, (happens, chance) in frequent.items():
        assert happens.float().mean() == pytest.approx(chance, abs=0.015), name
    assert torch.bincount(changes.soft, minlength=len(augmentation.softenings(16))).min() > 0
    assert changes.erased.min() >= 0
    assert changes.erased.max() <= 1
    sides = (changes.erased[:, 2:] - changes.erased[:, :2])[frequent["erased"][0]]
    assert 0.0199 < sides.prod(1).min() < sides.prod(1).max() < 0.2001
    assert changes.turn.abs().max() <= augmentation._TURN


def test_mixup_mixes_neighbours_and_leaves_a_last_one_alone() -> None:
    values = torch.tensor([[1.0, 0], [0, 1], [2, 2], [4, 4], [7, 7]])
    ours = values.clone()
    augmentation.mix(ours, torch.tensor([0.75, 1.0]))
    assert ours.tolist() == [[0.75, 0.25], [0.25, 0.75], [2, 2], [4, 4], [7, 7]]
    alone = values[:1].clone()
    augmentation.mix(alone, torch.empty(0))
    assert torch.equal(alone, values[:1])


# --- batches ---------------------------------------------------------------------------------------------------------


def data(count: int, weights: np.ndarray | None = None) -> Pictures:
    random = np.random.default_rng(5)
    targets = random.dirichlet([0.3] * 8, count).astype(np.float32)
    shares = np.full(count, 1 / count) if weights is None else weights
    return Pictures(pictures(count, 16), targets, shares, ("made-up",), np.zeros(count, np.int16))


def batches(pictures_: Pictures, ranks: Ranks | None = None, *, mixup: float = 0.4, seed: int = 3) -> TrainingBatches:
    augmenter, mixing = Augmenter(16, **HALVES), Mixing(augment=1.0, mixup=mixup, smoothing=0.1)
    return TrainingBatches(pictures_, augmenter, mixing, batch_size=10, seed=seed, device=CPU, ranks=ranks or Ranks())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=60), st.integers(0, 1000))
def test_pictures_are_drawn_as_often_as_their_weights_say_rounded_up_or_down(values: list[float], seed: int) -> None:
    weights = np.array(values) / np.sum(values)
    order = drawn(weights, np.random.default_rng(seed))
    counts = np.bincount(order, minlength=len(weights))
    assert len(order) == len(weights)
    due = weights * len(weights)
    assert (counts >= np.floor(due - 1e-9)).all()
    assert (counts <= np.ceil(due + 1e-9)).all()


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not() -> None:
    faces = data(25)
    first, again, second, other = (
        list(batches(faces, seed=seed).epoch(number)) for seed, number in ((3, 1), (3, 1), (3, 2), (-4, 1))
    )
    assert [batch.count for batch in first] == [10, 10, 5]
    for one, same in zip(first, again, strict=True):
        assert torch.equal(one.pictures, same.pictures)
        assert torch.equal(one.targets, same.targets)
        torch.testing.assert_close(one.targets.sum(1), torch.ones(len(one.targets)))
    assert not torch.equal(first[0].pictures, second[0].pictures)
    assert not torch.equal(first[0].pictures, other[0].pictures)


@pytest.mark.parametrize("size", [2, 4])
def test_the_shares_of_several_processes_are_the_batch_of_one(size: int) -> None:
    faces = data(25)
    whole = list(batches(faces).epoch(1))
    shares = [list(batches(faces, Ranks(rank, size)).epoch(1)) for rank in range(size)]
    for index, batch in enumerate(whole):
        pairs = torch.split(torch.arange(batch.count), 2)
        for rank, own in enumerate(shares):
            rows = torch.cat([*pairs[rank::size], torch.empty(0, dtype=torch.int64)])
            assert own[index].count == batch.count
            torch.testing.assert_close(own[index].pictures, batch.pictures[rows])
            torch.testing.assert_close(own[index].targets, batch.targets[rows])


def test_targets_are_smoothed_and_without_mixup_those_of_their_pictures() -> None:
    faces = data(20)
    order = drawn(faces.weights, np.random.default_rng([3, 1]))
    first = next(iter(batches(faces, mixup=0.0).epoch(1)))
    np.testing.assert_allclose(first.targets.numpy(), 0.9 * faces.targets[order[:10]] + 0.1 / 8, atol=1e-6)
