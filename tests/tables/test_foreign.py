"""Tables as other tools write them: dialects of text, compression, JSON, folders, and what is no table at all."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import logging
import lzma
import pickle
import zipfile
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from affcli.errors import ColumnError, TableError
from affcli.tables import delimited
from affcli.tables.keys import frame_numbers, refuse_far_frames
from affcli.tables.reader import Reading, TableReader, tables_in
from affcli.tables.writer import TableWriter, _ArrowWriter, _Sink

ROWS = [
    {"video": "a", "frame": 1, "Anger": 0.5, "Fear": -1.25},
    {"video": "a", "frame": 2, "Anger": 0.25, "Fear": 1.0},
    {"video": "b", "frame": 1, "Anger": -3.0, "Fear": 2.5},
]
PLAIN = "video,frame,Anger,Fear\na,1,0.5,-1.25\na,2,0.25,1.0\nb,1,-3.0,2.5\n"


def read(source: Path, *, delimiter: str | None = None, video_stem: bool = False) -> pa.Table:
    reading = Reading(delimiter=delimiter, video_stem=video_stem)
    with TableReader(str(source), text=("video",), reading=reading) as reader:
        return reader.read()


def rows_of(content: str | bytes, folder: Path, name: str = "t.csv", **options: Any) -> list[dict[str, Any]]:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    found: list[dict[str, Any]] = read(folder / name, **options).to_pylist()
    return found


# --- dialects --------------------------------------------------------------------------------------------------------


def dotted_to_commas(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", ", "),  # OpenFace
        PLAIN.replace(",", " , "),
        PLAIN.replace("video,frame", "video, frame"),  # blanks in the header only
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        dotted_to_commas(PLAIN),
        dotted_to_commas(PLAIN).replace(";", "; "),
        dotted_to_commas(PLAIN).replace(";", "\t"),
        PLAIN.replace("\n", ",,\n"),  # a spreadsheet's empty columns
        PLAIN.replace(",2.5\n", ",2.5,\n").replace("0\n", "0,\n").replace("25\n", "25,\n"),  # only rows end in a comma
        "#INFO,,,\n#Study name,x,,\n#DATA,,,\n" + PLAIN,  # iMotions
        "Study : x\nRespondent : y\n\n#DATA\n" + PLAIN,
        "# made by a tool, version 3\n# at 25 fps\n" + PLAIN,
        "Exported by a tool\n\nparameters,3\n" + PLAIN,
        "# " + PLAIN.replace(",", " "),  # numpy.savetxt
        PLAIN.replace(",", "  "),
        "\n" + PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("a,", '"a",').replace("b,", '"b",'),
        PLAIN.replace(",", ", ").replace("a,", '"a",').replace(" 1,", ' "1",'),  # quotation marks after blanks
        '"","video","frame","Anger","Fear"\n"1","a",1,0.5,-1.25\n"2","a",2,0.25,1\n"3","b",1,-3,2.5\n',  # R's write.csv
        '"video","frame","Anger","Fear"\n"1","a",1,0.5,-1.25\n"2","a",2,0.25,1\n"3","b",1,-3,2.5\n',  # R's write.table
        ",video,frame,Anger,Fear\n0,a,1,0.5,-1.25\n1,a,2,0.25,1.0\n2,b,1,-3.0,2.5\n",  # pandas' index
    ],
)
def test_a_text_is_read_however_its_fields_stand(tmp_path: Path, text: str) -> None:
    assert rows_of(text, tmp_path) == ROWS


def test_a_delimiter_that_is_named_is_taken(tmp_path: Path) -> None:
    text = "video:frame:note\na:1:x,y\nb:2:z,w\n"
    assert rows_of(text, tmp_path, delimiter=":")[1] == {"video": "b", "frame": 2, "note": "z,w"}


def test_notes_say_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rows_of("# one\n# two\n" + dotted_to_commas(PLAIN), tmp_path)
    assert "skipped 2 lines before the header" in caplog.text
    assert "decimal commas, and ';' between fields" in caplog.text


def test_line_breaks_in_quotation_marks_are_part_of_the_text_at_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1000)
    long = "line\n" * 1000  # longer than a block
    rows = [{"video": "v", "frame": number, "said": 'he said:\n"no"\n' if number else long} for number in range(500)]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    assert read(tmp_path / "t.csv").to_pylist() == rows


def test_commas_in_text_are_not_taken_for_decimal_marks(tmp_path: Path) -> None:
    rows = rows_of("video;frame;x;place\na;1;0,5;12,3\na;2;1,5;no, 4\n", tmp_path)
    assert rows[0] == {"video": "a", "frame": 1, "x": 0.5, "place": "12,3"}


def test_a_nameless_column_with_content_gets_a_name(tmp_path: Path) -> None:
    assert rows_of("video,,frame\na,x,1\nb,y,1\n", tmp_path)[0] == {"video": "a", "unnamed_2": "x", "frame": 1}


def test_a_doubled_name_is_named_whatever_the_format(tmp_path: Path) -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("x,y,x\n1,2,3\n")
    for name in ("t.parquet", "t.csv"):
        with pytest.raises(TableError, match=rf"{name}: has more than one column 'x'"):
            read(tmp_path / name)


# --- encodings and compression ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = PLAIN.replace("a,", "Ä,")
    marks = {"utf-16-le": b"", "utf-16-be": codecs.BOM_UTF16_BE}
    assert rows_of(marks.get(encoding, b"") + text.encode(encoding), tmp_path)[0]["video"] == "Ä"


def zstandard(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:10]) + gzip.compress(data[10:])


@pytest.mark.parametrize("compress", [gzip.compress, two_members, zstandard, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv", "t"])
def test_compressed_tables_are_known_by_content(tmp_path: Path, name: str, compress: Any) -> None:
    assert rows_of(compress(PLAIN.encode()), tmp_path, name) == ROWS
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    assert rows_of(compress(buffer.getvalue()), tmp_path, "t.parquet.gz") == ROWS


@pytest.mark.parametrize("compress", [gzip.compress, zstandard, bz2.compress])
def test_damaged_compression_is_said(tmp_path: Path, compress: Any) -> None:
    whole = compress(np.random.default_rng(0).bytes(500).hex().encode())
    flipped = bytearray(whole)
    flipped[len(whole) // 2 :] = bytes(byte ^ 255 for byte in whole[len(whole) // 2 :])
    for damaged in (whole[: len(whole) // 2], bytes(flipped)):
        with pytest.raises(TableError, match=r"t\.csv\.gz: damaged: cannot be decompressed"):
            rows_of(damaged, tmp_path, "t.csv.gz")


def test_what_expands_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affcli.tables.content._LARGEST_SPOOL", 1 << 20)
    with pytest.raises(TableError, match="expands to more than"):
        rows_of(gzip.compress(b"\n" * (64 << 20)), tmp_path, "t.csv.gz")


# --- JSON ------------------------------------------------------------------------------------------------------------


FRAME = pd.DataFrame(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\n".join(map(json.dumps, ROWS)),
        "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
        "\ufeff" + json.dumps(ROWS),
        *(FRAME.to_json(orient=layout) for layout in ("records", "columns", "split", "table")),
        json.dumps(FRAME.to_dict(orient="list")),
    ],
)
def test_json_of_rows_is_read_in_any_layout(tmp_path: Path, text: str) -> None:
    found = rows_of(text, tmp_path, "t.json")
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS


def test_keys_in_objects_are_columns(tmp_path: Path) -> None:
    rows = [{"video": "a", "frame": 1, "emotion": {"happy": 98.5, "sad": 1.5}, "region": {"x": 1, "frame": 7}}]
    expected = {"video": "a", "frame": 1, "happy": 98.5, "sad": 1.5, "x": 1, "region.frame": 7}
    assert rows_of(json.dumps(rows), tmp_path, "t.json") == [expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}', "not JSON that can be read"),
        ('[{"a": 1}, {"a": "x"}]', "column 'a' holds values of several types"),
        ("[1, 2]", "its rows are not objects"),
        ("[]", "JSON without a row"),
        ('{"a": ' * 50_000, "not JSON that can be read"),
    ],
)
def test_json_of_another_kind_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=rf"t\.json: .*{message}"):
        rows_of(text if text != "[1, 2]" else '[[1, 2], {"a": 1}]', tmp_path, "t.json")


# --- folders, names, paths -------------------------------------------------------------------------------------------


def test_a_folder_partitioned_by_video_has_its_ids(tmp_path: Path) -> None:
    for video in ("a 1", "b2"):
        folder = tmp_path / "split=test" / f"video={video.replace(' ', '%20')}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"frame": [1], "x": [0.5]}), folder / "part-0.parquet")
    found = [read(Path(name)).to_pylist()[0] for name in tables_in(str(tmp_path))]
    assert found == [
        {"split": "test", "video": "a 1", "frame": 1, "x": 0.5},
        {"split": "test", "video": "b2", "frame": 1, "x": 0.5},
    ]


@pytest.mark.parametrize("name", ["clip7.csv", "clip7.csv.gz", "clip7.json", "clip7"])
def test_a_table_of_one_video_is_named_by_its_file(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    text = json.dumps([{"frame": 1, "x": 2.5}]) if name.endswith("json") else "frame,x\n1,2.5\n"
    with caplog.at_level(logging.WARNING):
        found = rows_of(gzip.compress(text.encode()) if name.endswith("gz") else text, tmp_path, name)
    assert found == [{"video": "clip7", "frame": 1, "x": 2.5}]
    assert "no column 'video', so all rows are of video 'clip7'" in caplog.text


def test_a_column_that_may_hold_the_ids_is_not_passed_over(tmp_path: Path) -> None:
    assert "video" not in rows_of("clip,frame,x\na,1,2.5\n", tmp_path)[0]


@pytest.mark.parametrize(
    ("path", "video", "frame"),
    [
        ("a1/00012.jpg", "a1", 12),
        ("cropped_aligned/a1/00012.jpg", "a1", 12),
        ("data/cropped_aligned/s1/a1/00012.jpg", "s1/a1", 12),
        ("a1\\00012.jpg", "a1", 12),
        ("./s1/a1/12.png", "s1/a1", 12),
        ("/home/me/frames/a1/00001", "a1", 1),
        ("C:\\frames\\a1\\00001.jpg", "a1", 1),
    ],
)
def test_paths_of_pictures_tell_video_and_frame(tmp_path: Path, path: str, video: str, frame: int) -> None:
    found = rows_of(f"image_location,x,y\n{path},0.5,1\n", tmp_path)
    assert (found[0]["video"], found[0]["frame"]) == (video, frame)


def test_a_path_that_is_no_picture_of_a_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match=r"column 'image_location' holds 'a1\.jpg'"):
        rows_of("image_location,x,y\na1.jpg,0.5,1\n", tmp_path)


def test_stems_of_ids_are_taken_where_asked_for(tmp_path: Path) -> None:
    text = "video,frame\nclips/a.b.mp4,1\nclips/a.b.mp4,2\nc.MKV,1\nd.v2,1\n"
    assert [row["video"] for row in rows_of(text, tmp_path, video_stem=True)] == ["a.b", "a.b", "c", "d.v2"]
    assert rows_of(text, tmp_path)[0]["video"] == "clips/a.b.mp4"


def test_two_ids_of_one_stem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnError, match=r"'s1/a\.mp4' and 's2/a\.mp4' have one stem, 'a'"):
        rows_of("video,frame\ns1/a.mp4,1\ns2/a.mp4,1\n", tmp_path, video_stem=True)


# --- no tables -------------------------------------------------------------------------------------------------------


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return buffer.getvalue()


def array_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 8)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((pickle.dumps(FRAME.to_dict(), protocol), "a Python pickle.*read_pickle") for protocol in (0, 2, 4, 5)),
        (array_file(), r"a NumPy array \(\.npy\).*numpy\.load"),
        (zipped("a.npy", "b.npy"), r"a NumPy archive \(\.npz\)"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), r"an Excel file \(\.xlsx\).*read_excel"),
        (zipped("archive/data.pkl"), r"a PyTorch file"),
        (zipped("readme"), "a zip archive"),
        (b"PK\x03\x04damaged", "a damaged zip archive"),
        (b"ORC\x11\0\0", "an ORC file.*read_orc"),
        (b"$FL2@(#) SPSS DATA FILE", "an SPSS file.*read_spss"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page.*login page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
        (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file.*read_hdf"),
        (b"<?xml version='1.0'?><a/>", "an XML file"),
        (b"%PDF-1.7", "a PDF document"),
    ],
)
def test_what_is_no_table_is_named_with_the_way_out(tmp_path: Path, content: bytes, message: str) -> None:
    for name in ("t.csv", "t"):
        with pytest.raises(TableError, match=f"{name}: is {message}") as caught:
            rows_of(content, tmp_path, name)
        assert "\n" not in str(caught.value)


# --- ids and frame numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 12], pa.uint8()),
        pa.array([1.0, 12.0]),
        pa.array(["00001", " 12"]),
        pa.array(["1.0", "12.00"]),
        pa.array(["1", "12"]).dictionary_encode(),
        pa.array([Decimal(1), Decimal(12)], pa.decimal128(5, 1)),
    ],
)
def test_whole_numbers_of_any_kind_are_frame_numbers(column: pa.Array) -> None:
    assert frame_numbers("t", pa.chunked_array([column]), "frame").tolist() == [1, 12]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1], pa.timestamp("ms")), r"holds timestamp\[ms\], not whole numbers"),
        (pa.array([1], pa.duration("s")), r"holds duration\[s\], not whole numbers"),
        (pa.array([True]), "holds bool, not whole numbers"),
        (pa.array([[1]]), "holds list<.*>, not whole numbers"),
        (pa.array([1.5]), r"holds double, not whole numbers\. \('1\.5'\)"),
        (pa.array(["one"]), r"holds string, not whole numbers\. \('one'\)"),
        (pa.array([1, None]), "is empty in 1 row"),
    ],
)
def test_other_columns_are_no_frame_numbers(column: pa.Array, message: str) -> None:
    with pytest.raises(ColumnError, match=f"t: column 'frame' {message}"):
        frame_numbers("t", pa.chunked_array([column]), "frame")


def test_a_frame_far_beyond_a_videos_rows_is_no_frame_number() -> None:
    refuse_far_frames("t", "v", 1, 1_000_000)
    refuse_far_frames("t", "v", 2_600_000, 2_600_000)
    with pytest.raises(ColumnError, match="video 'v' has 1 row and a frame 2147483647"):
        refuse_far_frames("t", "v", 1, 2**31 - 1)


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["arrow", "stream", "parquet"])
def test_a_damaged_binary_table_is_an_error_about_that_table(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(7)
    table = pa.table({"video": ["a", "bb", "ccc"] * 40, "frame": range(120), "x": random.normal(size=120)})
    buffer = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, buffer)
    else:
        with (ipc.new_file if kind == "arrow" else ipc.new_stream)(buffer, table.schema) as writer:
            writer.write_table(table)
    whole = buffer.getvalue()
    for _ in range(150):
        damaged = bytearray(whole)
        for at in random.integers(8, len(damaged), 2):
            damaged[at] ^= 1 << random.integers(0, 8)
        (tmp_path / "t").write_bytes(damaged)
        with suppress(TableError, ColumnError):  # whatever else is raised, the table would not be named
            read(tmp_path / "t").to_pylist()


def test_more_tables_than_may_be_open_are_read_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affcli.tables.open_files.MOST_OPEN", 4)
    for number in range(12):
        pq.write_table(pa.table({"video": [f"v{number}"], "frame": [number]}), tmp_path / f"{number:02}.parquet")
    readers = [TableReader(name, text=("video",)) for name in tables_in(str(tmp_path))]
    for _ in range(2):
        assert [reader.read()["frame"][0].as_py() for reader in readers] == list(range(12))
    for reader in readers:
        reader.close()
    with pytest.raises(TableError, match="is closed"):
        readers[0].read()


def test_a_table_that_changes_while_it_rests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affcli.tables.open_files.MOST_OPEN", 1)
    for name in ("a", "b"):
        pq.write_table(pa.table({"video": ["v"], "frame": [1]}), tmp_path / name)
    with TableReader(str(tmp_path / "a")) as first, TableReader(str(tmp_path / "b")):
        pq.write_table(pa.table({"video": ["v", "v"], "frame": [1, 2]}), tmp_path / "a")
        with pytest.raises(TableError, match="a: has changed while it was being read"):
            first.read()


def test_a_flipped_bit_in_our_own_parquet_is_found(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array(np.random.default_rng(0).normal(size=2000))})
    with TableWriter(str(tmp_path / "t.parquet"), table.schema) as writer:
        writer.write(table)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[5000] ^= 4
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(TableError, match=r"t\.parquet: "):
        read(tmp_path / "t.parquet")


def test_arrow_files_take_dictionaries_that_grow(tmp_path: Path) -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("who", kind)])
    groups = [["a", "b"], ["c", None, "a"], ["b", "d"]]
    with (tmp_path / "t.arrow").open("wb") as stream:
        writer = _ArrowWriter(_Sink(stream), schema)
        for group in groups:
            writer.write_table(pa.table({"who": pa.array(group).dictionary_encode()}))
        writer.close()
    found = ipc.open_file(tmp_path / "t.arrow").read_all()
    assert found.schema == schema
    assert found["who"].to_pylist() == [value for group in groups for value in group]
