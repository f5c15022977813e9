"""The sinks that write the access log's records."""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import threading

import pytest
from tests.logged import capture_logs

from bandmaster.contrib.web.access_log.lines import json_line, text_line
from bandmaster.contrib.web.access_log.records import AccessRecord
from bandmaster.contrib.web.access_log.sinks import LoggingSink, StreamSink, standard_sink

RECORD = AccessRecord("request", "info", 1763695063.123, "GET", "/items/7", "/items/{id}", 200, 0.001, 18, 4)


def _file(path, mode="w"):
    return open(path, mode, encoding="utf-8")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_are_not_buffered(tmp_path) -> None:
    """A process that is killed has written all lines."""
    with _file(tmp_path / "log") as stream:
        StreamSink(stream, json_line).write(RECORD)
        assert json_line(RECORD) == (tmp_path / "log").read_text()


def test_lines_follow_earlier_output(tmp_path) -> None:
    """Text that was printed to the same stream before a line comes before the line."""
    with _file(tmp_path / "log") as stream:
        sink = StreamSink(stream, text_line)
        print("before", file=stream)
        sink.write(RECORD)
        print("after", file=stream)
    assert f"before\n{text_line(RECORD)}after\n" == (tmp_path / "log").read_text()


def test_a_replaced_stream_is_written_and_flushed() -> None:
    """A standard output that is no file is written by its own methods."""
    flushed = []

    class Captured(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    StreamSink(Captured(), json_line).write(RECORD)
    assert [json_line(RECORD)] == flushed


def test_one_write_makes_a_line(tmp_path, monkeypatch) -> None:
    """Each line is one write of the system, so that processes that share a pipe don't mix their lines."""
    pieces = []
    write = os.write
    with _file(tmp_path / "log") as stream:
        sink = StreamSink(stream, json_line)
        monkeypatch.setattr(os, "write", lambda fd, data: (pieces.append(data), write(fd, data))[1])
        sink.write(RECORD)
        sink.write(RECORD)
        monkeypatch.undo()
    assert [json_line(RECORD).encode()] * 2 == pieces


def test_lines_of_several_threads_do_not_mix() -> None:
    """Sixteen threads write whole lines into one pipe."""
    reading, writing = os.pipe()
    got = []
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as stream:
        sink = StreamSink(stream, json_line)
        reads = threading.Thread(target=lambda: got.extend(reader))
        writes = [
            threading.Thread(
                target=lambda name=name: [sink.write(RECORD._replace(path=f"/{name}" * 200)) for _ in range(50)]
            )
            for name in "abcdefghijklmnop"
        ]
        for thread in (reads, *writes):
            thread.start()
        for thread in writes:
            thread.join()
        stream.close()
        reads.join()
    assert sorted([f"/{name}" * 200 for name in "abcdefghijklmnop"] * 50) == sorted(
        json.loads(line)["path"] for line in got
    )


def test_a_closed_stream_is_not_written_to(tmp_path) -> None:
    """The descriptor's number of a closed stream may belong to another file."""
    stream = _file(tmp_path / "log")
    sink = StreamSink(stream, json_line)
    number = stream.fileno()
    stream.close()
    with _file(tmp_path / "other") as other:
        os.dup2(other.fileno(), number)
        try:
            with pytest.raises(ValueError, match="closed"):
                sink.write(RECORD)
        finally:
            if number != other.fileno():
                os.close(number)
    assert "" == (tmp_path / "other").read_text()


def test_a_process_without_standard_output() -> None:
    """A process that was started with standard output closed has no such stream."""
    with pytest.raises(ValueError, match="no such stream"):
        StreamSink(None, json_line).write(RECORD)


def test_a_broken_pipe_is_an_error() -> None:
    """The sink raises, and the layer keeps the exception from the request."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    with pytest.raises(BrokenPipeError):
        StreamSink(stream, json_line).write(RECORD)
    stream.close()


def test_a_line_after_a_cut_one_begins_anew(tmp_path) -> None:
    """A full disk cuts one line, and the next line begins with a newline."""
    line = json_line(RECORD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _file(tmp_path / "log") as stream:
        sink = StreamSink(stream, json_line)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(line) + 10, limits[1]))
        try:
            sink.write(RECORD)
            for _ in range(2):
                with pytest.raises(OSError):
                    sink.write(RECORD)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sink.write(RECORD)
        sink.write(RECORD)
    assert f"{line}{line[:10]}\n{line}{line}" == (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("form", "stream", "expected"),
    [
        ("auto", io.StringIO(), json_line),
        ("auto", Terminal(), text_line),
        ("json", Terminal(), json_line),
        ("text", io.StringIO(), text_line),
    ],
)
def test_forms(form, stream, expected) -> None:
    """`auto` is text on a terminal and JSON elsewhere; the setting decides otherwise."""
    standard_sink(form, stream).write(RECORD)
    assert expected(RECORD) == stream.getvalue()


@pytest.mark.parametrize("stream", [None, object(), io.StringIO()])
def test_a_stream_that_is_no_terminal(stream) -> None:
    """A missing stream, a replacement without isatty and a closed stream are no terminals."""
    if isinstance(stream, io.StringIO):
        stream.close()
    assert isinstance(standard_sink("auto", stream), StreamSink)


@pytest.mark.parametrize("level", ["info", "warning"])
def test_logging_gets_records(level) -> None:
    """The event has the level and the fields of the access record, and no time of its own."""
    with capture_logs() as logs:
        LoggingSink().write(RECORD._replace(level=level))
    assert [
        {
            "event": "request",
            "log_level": level,
            "method": "GET",
            "path": "/items/7",
            "route": "/items/{id}",
            "status": 200,
            "duration": 0.001,
            "bytes_sent": 18,
            "bytes_received": 4,
        }
    ] == logs


def test_logging_is_steered_by_levels() -> None:
    """A level of the standard library's logger leaves successful requests out."""
    sink = standard_sink("logging", None)
    with capture_logs(level=logging.WARNING) as logs:
        sink.write(RECORD)
        sink.write(RECORD._replace(level="warning"))
    assert ["warning"] == [entry["log_level"] for entry in logs]
