"""Tables in and out: formats, pipes, devices, and outputs that appear only when complete."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.errors import AffcliError, UnknownFormatError, UsageError
from affcli.files.outputs import refuse_existing
from affcli.schema import METADATA_KEY, feature_field
from affcli.tables.delimited import csv_lines
from affcli.tables.reader import TableReader, plain_type
from affcli.tables.writer import TableWriter, rows_per_group

ROWS = pa.table({"video": ["a", "b"], "frame": pa.array([1, 2], pa.int32()), "x": [0.5, None], "face": [True, False]})


def written(output: Path, rows: pa.Table = ROWS, *, table_format: str | None = None, force: bool = False) -> Path:
    with TableWriter(str(output), rows.schema, table_format=table_format, force=force) as writer:
        writer.write(rows)
    return output


def read(source: Path, text: tuple[str, ...] = ()) -> pa.Table:
    with TableReader(str(source), text=text) as reader:
        assert reader.num_rows == sum(reader.row_groups)
        return reader.read()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".arrow", ".feather"])
def test_what_is_written_reads_back(tmp_path: Path, suffix: str) -> None:
    found = read(written(tmp_path / f"t{suffix}"))
    assert found.to_pylist() == ROWS.to_pylist()
    assert found.schema.names == ROWS.schema.names


def test_a_format_can_be_named_whatever_the_suffix(tmp_path: Path) -> None:
    assert pq.read_table(written(tmp_path / "t.csv", table_format="parquet")).equals(ROWS)
    assert written(tmp_path / "t.parquet", table_format="csv").read_text().startswith("video,frame,x,face\n")


def test_the_borders_of_writes_leave_no_trace(tmp_path: Path) -> None:
    rows = pa.table({"frame": pa.array(range(150_000), pa.int32())})
    whole = written(tmp_path / "whole.parquet", rows)
    with TableWriter(str(tmp_path / "pieces.parquet"), rows.schema) as writer:
        for start in range(0, 150_000, 7_001):
            writer.write(rows.slice(start, 7_001))
    assert whole.read_bytes() == (tmp_path / "pieces.parquet").read_bytes()
    about = pq.read_metadata(whole)
    assert [about.row_group(i).num_rows for i in range(about.num_row_groups)] == [65_536, 65_536, 18_928]


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_csv_quotes_text_only_where_it_must() -> None:
    rows = pa.table({"a": ["plain", "with,comma", 'a "word"', "two\nlines", "", None], "b": [1, 2, 3, 4, 5, None]})
    lines = csv_lines(rows, ",").decode()
    assert lines == 'plain,1\n"with,comma",2\n"a ""word""",3\n"two\nlines",4\n"",5\n,\n'


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8)


@given(st.lists(st.tuples(TEXT, st.none() | st.floats(allow_nan=False), st.none() | st.integers(-9, 9)), min_size=1))
@settings(deadline=None)
def test_pandas_reads_our_csv_as_it_was(rows: list[tuple[str, float | None, int | None]]) -> None:
    table = pa.table(dict(zip("abc", map(list, zip(*rows, strict=True)), strict=True)))
    header = b"a,b,c\n"
    found = pd.read_csv(io.BytesIO(header + csv_lines(table, ",")), keep_default_na=False, dtype=str)
    assert found["a"].tolist() == [row[0] for row in rows]
    assert [float(x) if x else None for x in found["b"]] == [row[1] for row in rows]
    assert [int(x) if x else None for x in found["c"]] == [row[2] for row in rows]


def test_a_type_holds_for_the_whole_csv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affcli.tables.delimited.BLOCK_BYTES", 256)
    lines = [f"{i},{i},{i},true,NA," for i in range(200)] + ["200,0.5,word,false,7,"]
    (tmp_path / "t.csv").write_text("\n".join(["int,float,text,bool,late,none", *lines]) + "\n")
    found = read(tmp_path / "t.csv")
    types = [str(kind) for kind in found.schema.types]
    assert types == ["int64", "double", "string", "bool", "int64", "null"]
    assert found["text"].to_pylist()[-2:] == ["199", "word"]
    assert found["late"].to_pylist()[-2:] == [None, 7]
    assert found["float"].to_pylist()[-1] == 0.5


@pytest.mark.parametrize("header", ["video,frame", "video\tframe", "video;frame", "\ufeffvideo,frame", "video,frame\r"])
def test_csv_of_other_programs(tmp_path: Path, header: str) -> None:
    row = header.strip("\ufeff\r").replace("video", "007").replace("frame", "12")
    (tmp_path / "t.txt").write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert read(tmp_path / "t.txt", text=("video",)).to_pylist() == [{"video": "007", "frame": 12}]


def test_text_with_leading_zeros_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,number,big\n007,0.5,99999999999999999999\n10,-0.25,1\n")
    assert [str(kind) for kind in read(tmp_path / "t.csv").schema.types] == ["string", "double", "double"]


def test_a_csv_header_without_rows_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("video,frame\n")
    found = read(tmp_path / "t.csv", text=("video",))
    assert (found.num_rows, found.column_names) == (0, ["video", "frame"])


# --- what is no table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"", r"is empty \(0 bytes\)"),
        ("t.parquet", b"hello\n", "is not Parquet, whatever its name says"),
        ("t.arrow", b"a,b\n1,2\n", "is not Arrow"),
        ("t.parquet", b"PAR1" + b"\0" * 100, "not a table that can be read"),
        ("t.arrow", b"ARROW1\0\0" + b"\0" * 100, "not a table that can be read"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
        ("t.csv", b"a,b\n1,2,3\n", "Expected 2 columns, got 3"),
        ("t.csv", b"a,b\n\xff\xfe,3\n", "is not UTF-8 text. Convert it: iconv"),
    ],
)
def test_what_is_no_table_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AffcliError, match=message) as error:
        read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_parquet_file_damaged_inside_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "t.parquet", pa.table({"x": [str(i) * 9 for i in range(5000)]}))
    content = bytearray(file.read_bytes())
    content[20 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 20)
    file.write_bytes(content)
    with pytest.raises(AffcliError, match=r"t\.parquet: "):
        read(file)


def test_rows_that_a_damaged_row_group_does_not_tell_of_are_not_lost_without_a_word(tmp_path: Path) -> None:
    """Numbers of rows stand in the footer as variable-length integers: each that may be 80 or 20 is made one less."""
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": range(100)}), file, row_group_size=80, write_statistics=False)
    whole = file.read_bytes()
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for at in range(end, len(whole) - 8):
        if whole[at] in (2 * 20, 2 * 80 % 128 + 128):  # as zigzag writes them
            file.write_bytes(whole[:at] + bytes([whole[at] - 2]) + whole[at + 1 :])
            try:
                assert read(file)["x"].to_pylist() == list(range(100)), at
            except AffcliError:
                refused += 1
    assert refused >= 2


def test_a_column_whose_name_holds_nul_is_read_from_every_format(tmp_path: Path) -> None:
    rows = pa.table({"a\0b": ["x", "y"], "frame": [1, 2]})
    pq.write_table(rows, tmp_path / "t.parquet")
    for opened, name in ((ipc.new_file, "t.arrow"), (ipc.new_stream, "s.arrow")):
        with opened(tmp_path / name, rows.schema) as writer:
            writer.write_table(rows)
    for name in ("t.parquet", "t.arrow", "s.arrow"):
        assert read(tmp_path / name).to_pydict() == rows.to_pydict()


def test_a_flipped_bit_in_the_ids_of_a_table_of_ours_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    rows = pa.table({"video": ["a", "a", "b"], "frame": pa.array([1, 2, 1], pa.int32())})
    file = written(tmp_path / "t.parquet", rows.replace_schema_metadata({METADATA_KEY: b"{}"}))
    whole, chunk = file.read_bytes(), pq.read_metadata(file).row_group(0).column(0)
    start, seen = chunk.dictionary_page_offset, 0
    assert start is not None
    for bit in range(8 * start, 8 * (start + chunk.total_compressed_size)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        try:
            found = read(file, text=("video",))
        except AffcliError:
            seen += 1
        else:
            assert found["video"].to_pylist() == ["a", "a", "b"], bit
    assert seen > 100


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match=r"nothing\.csv: No such file or directory"):
        TableReader(str(tmp_path / "nothing.csv"))
    with pytest.raises(AffcliError, match="is a folder, not a table"):
        TableReader(str(tmp_path))


def test_a_terminal_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO())
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(UsageError, match="pipe one in"):
        TableReader("-")


def test_arrow_streams_with_dictionaries_are_read_in_pieces(tmp_path: Path) -> None:
    rows = pa.table({"v": pa.array(["a", "b"] * 5).dictionary_encode(), "x": range(10)})
    with ipc.new_stream(tmp_path / "t.arrow", rows.schema) as writer:
        writer.write_table(rows, 3)
    with TableReader(str(tmp_path / "t.arrow")) as reader:
        assert reader.row_groups == [3, 3, 3, 1]
        assert reader.read_group(3, ["x"]).to_pylist() == [{"x": 9}]
        assert reader.read()["v"].to_pylist() == ["a", "b"] * 5


@pytest.mark.parametrize(("size", "rows"), [(0, 65_536), (24, 65_536), (128, 16_384), (768, 2_048), (10**8, 1)])
def test_row_groups_of_long_features_are_small(size: int, rows: int) -> None:
    assert rows_per_group(pa.schema([feature_field(size), *ROWS.schema])) == rows


def test_a_table_of_features_has_row_groups_of_that_many(tmp_path: Path) -> None:
    features = pa.FixedSizeListArray.from_arrays(pa.nulls(2_056 * 768, pa.float16()), 768)
    output = written(tmp_path / "t.parquet", pa.table([features], schema=pa.schema([feature_field(768)])))
    with TableReader(str(output)) as reader:
        assert reader.row_groups == [2_048, 8]


def test_views_and_dictionaries_have_plain_types() -> None:
    assert plain_type(pa.dictionary(pa.int8(), pa.large_string())) == pa.large_string()
    assert plain_type(pa.string_view()) == pa.string()


# --- outputs --------------------------------------------------------------------------------------------------------


def test_an_existing_output_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    file.write_text("mine")
    with pytest.raises(AffcliError, match=r"exists already.*--force"):
        written(file)
    assert file.read_text() == "mine"
    assert pq.read_table(written(file, force=True)).equals(ROWS)


def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(AffcliError, match="is a folder"):
        refuse_existing(str(tmp_path), force=True)
    with pytest.raises(AffcliError, match="does not exist"):
        refuse_existing(str(tmp_path / "no" / "t.parquet"), force=True)
    refuse_existing("-", force=False)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".arrow"])
def test_an_error_on_the_way_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    def fail_halfway() -> None:
        with TableWriter(str(tmp_path / f"t{suffix}"), ROWS.schema) as writer:
            writer.write(ROWS)
            assert list(tmp_path.glob(f".t{suffix}.affcli-*.tmp"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table_format", ["parquet", "csv", "arrow"])
def test_an_error_before_the_first_rows_leaves_nothing_on_standard_output(
    capfdbinary: pytest.CaptureFixture[bytes], table_format: str
) -> None:
    def fail() -> None:
        with TableWriter("-", ROWS.schema, table_format=table_format):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    gc.collect()  # the Parquet writer would write its footer then
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == b""


@pytest.mark.parametrize("name", ["t.csv.gz", "t.xyz", "t.parquet.1"])
def test_an_unknown_suffix_asks_for_a_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownFormatError, match=r"is not a table format affcli knows \(\.parquet, "):
        written(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert written(tmp_path / name, table_format="csv").read_text().startswith("video,")


def test_a_name_without_a_suffix_is_parquet(tmp_path: Path) -> None:
    assert pq.read_table(written(tmp_path / "t")).equals(ROWS)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.parquet").symlink_to(tmp_path / "there.parquet")
    written(tmp_path / "link.parquet", force=True)
    assert (tmp_path / "link.parquet").is_symlink()
    assert pq.read_table(tmp_path / "there.parquet").equals(ROWS)


def test_lists_do_not_go_into_csv(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="list column 'l'"):
        written(tmp_path / "t.csv", pa.table({"l": [[1]]}))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("table_format", ["parquet", "csv", "arrow"])
def test_a_full_disk_is_said(table_format: str) -> None:
    with pytest.raises(AffcliError, match="/dev/full: cannot be written: No space left on device"):
        written(Path("/dev/full"), table_format=table_format)


def test_a_named_pipe_is_written_and_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    code = (
        f"import sys; from affcli.tables.reader import TableReader as R; print(R({str(tmp_path / 'pipe')!r}).num_rows)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as reader:
        written(tmp_path / "pipe")
        assert reader.communicate(timeout=60)[0] == "2\n"
