from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.batch import row_source
from lmlab.lab.batch.rows import (
    BadRow,
    Row,
    RowFormat,
    RowSource,
    parse_format,
    read_rows,
)


def rows_of(data: bytes | str, format: RowFormat | None = "jsonl") -> list[Row | BadRow]:
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return list(read_rows(RowSource("-", format, stdin=stream)))


def values_of(data: bytes | str, format: RowFormat | None = "jsonl") -> list[dict[str, Any]]:
    return [row.values for row in rows_of(data, format) if isinstance(row, Row)]


def faults_of(data: bytes | str, format: RowFormat | None = "jsonl") -> list[str]:
    return [str(row.error) for row in rows_of(data, format) if isinstance(row, BadRow)]


# JSON Lines


def test_objects_and_bare_strings_are_rows_with_their_lines_and_positions() -> None:
    data = b'\xef\xbb\xbf{"question": "a", "n": 1, "deep": {"x": [1.5, null]}}\r\n\n  \n"just a prompt"\n{"id": 7}'
    first, second, third = rows_of(data)
    assert first == Row(1, 1, {"question": "a", "n": 1, "deep": {"x": [1.5, None]}}, None, data.index(b"\r") + 2)
    assert second == Row(2, 4, {"prompt": "just a prompt"}, None, data.index(b'{"id"'))
    assert third == Row(3, 5, {"id": 7}, "7", len(data))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a": 1', "broken JSON at character 9: Expecting ',' delimiter"),
        (b'{"a": 1} {"b": 2}', "broken JSON at character 10: Extra data"),
        (b"[1, 2]", "this is an array"),
        (b"12", "this is a number"),
        (b"null", "this is null"),
        (b"true", "this is a truth value"),
        (b'{"a": 1, "a": 2}', 'the key "a" is there twice'),
        (b'{"in": {"b": 1, "b": 1}}', 'the key "b" is there twice'),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number of 5,000 digits is too large"),
        (b'{"a": "\xff"}', "byte 8 of the line, 0xFF, is not UTF-8"),
        (b'{"a": "\\ud83d"}', "\\ud83d is half a character"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"id": [1]}', "id is [1]: make it a string or a number"),
        (b'{"id": true}', "id is true"),
    ],
)
def test_a_broken_line_is_told_and_the_others_go_on(line: bytes, fault: str) -> None:
    good, bad, after = rows_of(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    assert isinstance(good, Row)
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.line) == (2, 2)
    assert str(bad.error).startswith("stdin, line 2: ")
    assert fault in str(bad.error)
    assert "\n" not in str(bad.error)
    assert after == Row(3, 3, {"n": 3}, None, 9 + len(line) + 1 + 9)


def test_whole_surrogate_pairs_are_a_character() -> None:
    assert values_of(b'{"a": "\\ud83d\\ude00"}') == [{"a": "\N{GRINNING FACE}"}]


@pytest.mark.parametrize(
    ("written", "name"), [('"x-1"', "x-1"), ("12", "12"), ("1.50", "1.5"), ("null", None), ('""', None)]
)
def test_an_id_is_text(written: str, name: str | None) -> None:
    (row,) = rows_of(f'{{"id": {written}}}')
    assert row.id == name


def test_a_line_that_is_too_long_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_source, "MAX_LINE_BYTES", 1000)
    long = '{"a": "' + "x" * 3_000_000 + '"}\n'
    exact = json.dumps({"a": "y" * 991}) + "\n"
    assert len(exact) == 1001
    bad, good = rows_of(long + exact)
    assert isinstance(bad, BadRow)
    assert "the line is longer than" in str(bad.error)
    assert bad.position == len(long)
    assert good == Row(2, 2, {"a": "y" * 991}, None, len(long) + len(exact))


@given(
    st.lists(
        st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()).filter(
            lambda v: "id" not in v
        )
    )
)
def test_what_json_writes_is_read_back(values: list[dict[str, Any]]) -> None:
    assert values_of("".join(json.dumps(each) + "\n" for each in values)) == values


# Tables


def test_a_table_has_strings_by_column_and_quoted_line_ends() -> None:
    data = '\ufeffid,question,answer\r\n1,"a, ""b""\nand c",7\r\n\r\n,plain, spaced \r\n'
    first, second = rows_of(data, "csv")
    assert first == Row(
        1, 2, {"id": "1", "question": 'a, "b"\nand c', "answer": "7"}, "1", data.encode().index(b"\r\n\r\n") + 2
    )
    assert second == Row(2, 5, {"id": "", "question": "plain", "answer": " spaced "}, None, len(data.encode()))


def test_tabs_part_the_columns_of_tsv() -> None:
    assert values_of("a\tb\n1,5\t2\n", "tsv") == [{"a": "1,5", "b": "2"}]


def test_a_ragged_row_is_told_and_the_others_go_on() -> None:
    good, short, long, after = rows_of('a,b\n1,2\n"x\ny"\n1,2,3\n5,6\n', "csv")
    assert isinstance(good, Row)
    assert isinstance(short, BadRow)
    assert str(short.error).startswith("stdin, line 3: 1 field, and the header names 2")
    assert isinstance(long, BadRow)
    assert str(long.error).startswith("stdin, line 5: 3 fields, and the header names 2")
    assert after == Row(4, 6, {"a": "5", "b": "6"}, None, 24)


def test_a_quote_that_is_never_closed_is_told_with_what_it_took() -> None:
    (good, bad) = rows_of('a,b\n1,2\n"x,2\n3,4\n5,6\n', "csv")
    assert isinstance(good, Row)
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.line) == (2, 3)
    assert "not closed, so that everything up to line 5" in str(bad.error)


def test_a_quote_in_the_wrong_place_is_told() -> None:
    good, bad, after = rows_of('a,b\n1,2\n"x"y,2\n3,4\n', "csv")
    assert isinstance(good, Row)
    assert isinstance(bad, BadRow)
    assert "line 3" in str(bad.error)
    assert after == Row(3, 4, {"a": "3", "b": "4"}, None, 19)


def test_a_row_that_is_not_utf8_is_told() -> None:
    bad, after = rows_of(b"a,b\n1,\xe9\n3,4\n", "csv")
    assert isinstance(bad, BadRow)
    assert "line 2: byte 3 of the line, 0xE9, is not UTF-8" in str(bad.error)
    assert isinstance(after, Row)


def test_a_long_field_is_read_whole() -> None:
    assert values_of("a,b\n" + "x" * 500_000 + ",2\n", "csv") == [{"a": "x" * 500_000, "b": "2"}]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("", "stdin is empty: its first line must name the columns"),
        ("\n\n", "stdin is empty"),
        ("a,b,a\n1,2,3\n", "line 1: two columns are called 'a'"),
        ("a;b\n1;2\n", "line 1: the columns seem to be parted by semicolons"),
        ("a\tb\n1\t2\n", "parted by tabs: for tabs say --format tsv"),
        ("a,,c\n1,2,3\n", "line 1: column 2 of the header has no name"),
        ('"a,b\n1,2\n', "line 1, the header: a quote is opened"),
    ],
)
def test_a_table_without_a_sane_header_is_refused_at_once(data: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        read_rows(RowSource("-", "csv", stdin=io.BytesIO(data.encode())))


# Text


def test_each_line_of_text_is_a_prompt() -> None:
    assert rows_of("\ufeffone\r\n\n  two \nthree", "text") == [
        Row(1, 1, {"prompt": "one"}, None, 8),
        Row(2, 3, {"prompt": "  two "}, None, 16),
        Row(3, 4, {"prompt": "three"}, None, 21),
    ]
    assert faults_of(b"a\n\xff\n", "text") == [
        "stdin, line 2: byte 1 of the line, 0xFF, is not UTF-8: convert the file, for example with iconv -f LATIN1 -t UTF-8"
    ]


# Where rows come from


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("a.csv", "csv"), ("a.tsv", "tsv"), ("a.txt", "text")],
)
def test_the_ending_tells_the_format(tmp_path: Path, name: str, format: str) -> None:
    file = tmp_path / name
    file.write_text("a\n1\n")
    source = RowSource(file)
    assert (source.format, source.size, source.rewindable, source.name) == (format, 4, True, str(file))
    assert RowSource(file, "text").format == "text"


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("a.jsonl.gz", "gzip -dc .*a.jsonl.gz | lmlab batch -i -"),
        ("a.json", "jq -c"),
        ("a.parquet", "give --format jsonl, csv, tsv or text"),
        ("rows", "give --format"),
    ],
)
def test_a_name_that_tells_no_format_is_refused_with_what_to_do(tmp_path: Path, name: str, help: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=help):
        RowSource(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        RowSource(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="is a folder"):
        RowSource(tmp_path)
    with pytest.raises(UsageError, match="stdin is closed"):
        RowSource("-")
    with pytest.raises(UsageError, match="'xml' is not known: there are jsonl, csv, tsv, text"):
        parse_format("xml")


def test_utf16_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="iconv -f UTF-16"):
        rows_of('{"a": 1}\n'.encode("utf-16"), None)


@pytest.mark.parametrize(
    ("data", "format"),
    [
        ('\n \n{"a": 1}\n', "jsonl"),
        ("\n{a", "jsonl"),
        ("hello\n", "text"),
        ("[INST] hi\n", "text"),
        ("\n\n", "text"),
        ("", "text"),
    ],
)
def test_the_format_of_stdin_is_guessed_from_its_first_byte(data: str, format: str) -> None:
    source = RowSource("-", stdin=io.BytesIO(data.encode()))
    rows = list(read_rows(source))
    assert source.format == format
    assert source.guessed == bool(data.strip())
    assert len(rows) == (1 if data.strip() else 0)
    if rows:
        assert rows[0].line == data[: data.index(data.strip()[0])].count("\n") + 1
        assert rows[0].position == len(data)


def test_a_json_array_on_stdin_is_refused_with_what_to_do() -> None:
    for data in ('[{"a": 1}]', "[\n", '["a"]'):
        with pytest.raises(UsageError, match=r"jq -c '\.\[\]'"):
            rows_of(data, None)


def test_stdin_is_read_once_unless_it_was_spooled() -> None:
    source = RowSource("-", stdin=io.BytesIO(b'{"a": 1}\n{"a": 2}\n'))
    assert len(list(read_rows(source))) == 2
    with pytest.raises(ValueError, match="spool"):
        list(read_rows(source))

    spooled = RowSource("-", stdin=io.BytesIO(b'{"a": 1}\n{"a": 2}\n'))
    assert (spooled.size, spooled.rewindable) == (None, False)
    spooled.spool()
    assert (spooled.size, spooled.rewindable) == (18, True)
    assert list(read_rows(spooled)) == list(read_rows(spooled)) == rows_of(b'{"a": 1}\n{"a": 2}\n')
    spooled.close()


def test_a_file_is_read_as_often_as_one_likes(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("a\n1\n2\n")
    source = RowSource(file)
    source.spool()
    assert list(read_rows(source)) == list(read_rows(source))


def test_a_disk_that_fails_in_the_middle_is_told() -> None:
    class Failing(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 5:
                raise OSError(5, "Input/output error")
            return super().readline(size)

    rows = read_rows(RowSource("-", "jsonl", stdin=Failing(b'{"a": 1}\n{"a": 2}\n')))
    assert isinstance(next(rows), Row)
    with pytest.raises(LmlabError, match="reading stdin failed after 9 bytes: Input/output error"):
        next(rows)


@pytest.mark.parametrize("format", ["jsonl", "csv", "text"])
def test_memory_does_not_grow_with_the_rows(format: RowFormat) -> None:
    class Endless(io.RawIOBase):
        left = 30_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            if not self.left:
                return 0
            self.left -= 1
            line = b'{"a": %d}\n' % self.left if format == "jsonl" else b"%d\n" % self.left
            buffer[: len(line)] = line
            return len(line)

    rows = read_rows(RowSource("-", format, stdin=io.BufferedReader(Endless())))
    for _ in range(1000):
        next(rows)
    tracemalloc.start()
    try:
        count = sum(1 for _ in rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count >= 28_999
    assert peak < 500_000
