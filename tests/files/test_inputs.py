"""From names on the command line to videos with ids."""

from __future__ import annotations

import io
import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from affcli.errors import AffcliError, UsageError
from affcli.files.inputs import (
    SOUND_SUFFIXES,
    VIDEO_SUFFIXES,
    MediaInput,
    digest,
    find_inputs,
    numbered_pictures,
    read_names,
)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def ids(inputs: list[MediaInput]) -> list[str]:
    return [item.video for item in inputs]


def test_an_id_is_spelt_in_one_way_however_the_file_system_spells_it(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Zoë")
    touch(tmp_path, f"{decomposed}.mp4", f"{decomposed}s/a.mp4")
    assert ids(find_inputs([tmp_path])) == ["Zoë", "a"]
    assert ids(find_inputs([tmp_path], ids="path")) == ["Zoë", "Zoës/a"]
    (tmp_path / "Zoë.mp4").write_bytes(b"another")
    with pytest.raises(UsageError, match="have one id, 'Zoë'"):
        find_inputs([tmp_path])


def test_audio_files_in_folders_that_are_no_videos_sound_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.mp4", "a.wav", "b.WAV", "s/c.m4a", "notes.txt")
    assert ids(find_inputs([tmp_path], by_name_only=SOUND_SUFFIXES)) == ["a"]
    left = f"{tmp_path / 'b.WAV'}, {tmp_path / 's/c.m4a'}"
    assert caplog.messages == [f"left out 2 audio files in folders, which are taken only if named themselves: {left}."]
    caplog.clear()
    named = [tmp_path, tmp_path / "b.WAV", tmp_path / "s/c.m4a"]
    assert ids(find_inputs(named, by_name_only=SOUND_SUFFIXES)) == ["a", "b", "c"]
    find_inputs([tmp_path])
    assert not caplog.messages


def test_a_folder_of_audio_files_only_is_refused_with_how_to_name_them(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav")
    with pytest.raises(AffcliError, match=r"no media in this folder.* Name audio files themselves: .*b\.wav$"):
        find_inputs([tmp_path], by_name_only=SOUND_SUFFIXES)


def test_a_folder_is_searched_in_depth_by_suffix_and_sorted_by_id(tmp_path: Path) -> None:
    touch(tmp_path, "z.mp4", "s1/b.MKV", "s1/deep/a.webm", "notes.txt", "a.wav", "s1/pic.jpg")
    found = find_inputs([tmp_path])
    assert ids(found) == ["a", "b", "z"]
    assert {item.kind for item in found} == {"file"}


def test_which_suffixes_are_searched_is_the_callers_choice(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.wav")
    assert ids(find_inputs([tmp_path], suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES)) == ["a", "b"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "clip.part", "no-suffix", "a.b.mp4")
    names = [tmp_path / name for name in ("no-suffix", "clip.part", "a.b.mp4")]
    assert ids(find_inputs(names)) == ["a.b", "clip", "no-suffix"]


def test_junk_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.mp4", "._a.mp4", "__MACOSX/b.mp4", ".cache/c.mp4", "@eaDir/d.mp4", "a.mp4")
    assert ids(find_inputs([tmp_path])) == ["a"]


def test_cropped_aligned_root_and_one_videos_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "cropped_aligned", "10-60_left/00001.jpg", "7/00002.jpg", ".DS_Store", "empty/.DS_Store")
    found = find_inputs([root])
    assert [(item.video, item.kind) for item in found] == [("10-60_left", "pictures"), ("7", "pictures")]
    assert ids(find_inputs([root / "7"])) == ["7"]
    assert ids(find_inputs([f"{root}/7/"])) == ["7"]


def test_a_folder_given_as_a_dot_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path / "video9", "00001.jpg"))
    assert ids(find_inputs(["."])) == ["video9"]
    assert ids(find_inputs(["."], ids="path")) == ["video9"]


def test_a_thumbnail_beside_videos_makes_no_folder_of_pictures(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "1.jpg")
    assert ids(find_inputs([tmp_path])) == ["a"]


def test_pictures_can_be_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "v/00001.jpg", "a.mp4")
    assert ids(find_inputs([tmp_path], pictures=False)) == ["a"]


def test_two_inputs_with_one_id_are_named_with_the_way_out(tmp_path: Path) -> None:
    touch(tmp_path, "s1/clip1.mp4", "s2/clip1.mp4")
    with pytest.raises(UsageError, match=r"s1/clip1\.mp4 and .*s2/clip1\.mp4 .*--names path"):
        find_inputs([tmp_path])
    assert ids(find_inputs([tmp_path], ids="path")) == ["s1/clip1", "s2/clip1"]
    with pytest.raises(UsageError, match="the folder that holds both"):
        find_inputs([tmp_path / "s1", tmp_path / "s2"], ids="path")


def test_ids_by_path_of_named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "s1/a.b.mp4", "c.mp4"))
    assert ids(find_inputs(["./s1/a.b.mp4", "c.mp4"], ids="path")) == ["c", "s1/a.b"]


def test_one_file_named_twice_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "a.mp4"))
    assert ids(find_inputs([tmp_path, tmp_path / "a.mp4", "a.mp4", f"../{tmp_path.name}/a.mp4"])) == ["a"]


def test_links_are_followed_and_rings_end(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "clips/b.mp4")
    (tmp_path / "clips" / "more").symlink_to(tmp_path / "real")
    (tmp_path / "clips" / "ring").symlink_to(tmp_path / "clips")
    assert ids(find_inputs([tmp_path / "clips"])) == ["a", "b"]


def test_what_does_not_exist_and_what_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match=r"none\.mp4: no such file or folder"):
        find_inputs([tmp_path / "none.mp4"])
    with pytest.raises(AffcliError, match=r"no media .*\*\.mp4.* or folders of numbered pictures"):
        find_inputs([tmp_path])
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    for name in ("gone.mp4", f"{300 * 'x'}.mp4"):
        with pytest.raises(AffcliError, match="no such file"):
            find_inputs([tmp_path / name])


def test_one_of_several_that_does_not_exist_fails_later_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    long = f"{300 * 'x'}.mp4"
    assert ids(find_inputs([tmp_path / "b.mp4", tmp_path / "a.mp4", tmp_path / long])) == ["a", "b", 300 * "x"]


def test_ids_are_valid_unicode_whatever_the_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    touch(tmp_path / "x", "é 漢.mp4")
    (tmp_path / "x" / name).write_bytes(b"")
    assert ids(find_inputs([tmp_path / "x"])) == ["caf\\xe9", "é 漢"]


def test_names_from_a_list(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a b.mp4\r\n\n-c.mp4\nlast")
    assert read_names(tmp_path / "list") == ["a b.mp4", "-c.mp4", "last"]
    (tmp_path / "nul").write_bytes(b"new\nline.mp4\0b\r\0")
    assert read_names(tmp_path / "nul", nul=True) == ["new\nline.mp4", "b\r"]


def test_names_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    assert read_names("-") == ["a", "b"]


def test_a_list_that_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match="No such file"):
        read_names(tmp_path / "none")
    (tmp_path / "list").write_text("\n\n")
    with pytest.raises(AffcliError, match="the list holds no names"):
        read_names(tmp_path / "list")


def test_a_lists_unusual_names_survive(tmp_path: Path) -> None:
    """Line ends other than \\n belong to the name (form feed, and what Unicode counts as a line end)."""
    names = ["a\x0cb.mp4", "c\x85d.mp4", "e\u2028f.mp4"]
    (tmp_path / "list").write_text("\n".join(names))
    assert read_names(tmp_path / "list") == names


def test_find_print0_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "a b.mp4", "c\nd.mp4")
    listed = subprocess.run(["find", tmp_path, "-name", "*.mp4", "-print0"], capture_output=True, check=True).stdout
    (tmp_path / "list").write_bytes(listed)
    assert ids(find_inputs(read_names(tmp_path / "list", nul=True))) == ["a b", "c\nd"]


def test_pictures_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "100000.jpg", "00002.png", "99999.jpg", "x1.jpg", "²‍.jpg")
    assert list(numbered_pictures(tmp_path)) == [2, 99999, 100000]


def test_two_pictures_of_one_frame_and_frame_zero(tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match=r"two pictures of frame 1: 00001\.jpg and 1\.png"):
        numbered_pictures(touch(tmp_path / "a", "00001.jpg", "1.png"))
    with pytest.raises(AffcliError, match=r"00000\.jpg: frames are numbered from 1"):
        numbered_pictures(touch(tmp_path / "b", "00000.jpg", "00001.jpg"))
    with pytest.raises(AffcliError, match="no frame has this number"):
        numbered_pictures(touch(tmp_path / "c", "20231124091500.jpg"))


def test_the_digest_is_of_content_not_of_name_or_date(tmp_path: Path) -> None:
    one, same, other = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"
    one.write_bytes(b"x" * 3_000_000)
    same.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"x" * 2_999_999 + b"y")
    os.utime(same, (1, 1))
    first, second, third = (digest(MediaInput("v", path, "file")) for path in (one, same, other))
    assert first == second
    assert first != third


def test_the_digest_of_pictures_changes_with_any_of_them(tmp_path: Path) -> None:
    item = MediaInput("v", touch(tmp_path, "00001.jpg", "00002.jpg"), "pictures")
    before = digest(item)
    touch(tmp_path, ".DS_Store")
    assert digest(item) == before
    (tmp_path / "00002.jpg").write_bytes(b"longer than it was")
    assert digest(item) != before


def test_the_digest_of_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("none.mp4", "pipe.mp4"):
        with pytest.raises(AffcliError, match=name):
            digest(MediaInput("v", tmp_path / name, "file"))


def test_two_files_that_differ_in_their_suffix_only_are_not_told_to_use_paths(tmp_path: Path) -> None:
    for name in ("c.mp4", "c.flv"):
        (tmp_path / name).touch()
    for ids in ("stem", "path"):
        with pytest.raises(UsageError, match="nothing but the suffix; rename one"):
            find_inputs([tmp_path], ids=ids)


def test_an_address_is_named_as_it_was_typed() -> None:
    with pytest.raises(AffcliError, match=r"^http://x\.y/a\.mp4: no such file .*addresses are not read"):
        find_inputs(["http://x.y/a.mp4"])


def test_a_gif_among_numbered_pictures_is_one_of_them_and_alone_a_video(tmp_path: Path) -> None:
    for name in ("a/00001.jpg", "a/00002.gif", "a/00003.png", "b/1.gif", "b/2.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_inputs([tmp_path], ids="path")
    assert [(item.video, item.kind) for item in found] == [("a", "pictures"), ("b/1", "file"), ("b/2", "file")]
