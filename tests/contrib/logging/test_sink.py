"""The bounded sink, and the writers of lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.contrib.logging.logs import find_log_threads

from bandmaster.contrib.logging.sink import BoundedSink
from bandmaster.contrib.logging.writers import DescriptorWriter, TextWriter, make_writer

KIB = 1024
PATIENCE = 30.0


def render_loss(count: int) -> bytes:
    return json.dumps({"dropped": count}).encode() + b"\n"


@contextmanager
def open_pipe():
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(write)
        os.close(read)


@contextmanager
def open_sink(write, capacity=64 * KIB):
    sink = BoundedSink(DescriptorWriter(os.dup(write)), capacity, render_loss)
    try:
        yield sink
    finally:
        sink.close()


def make_line(number, size=100) -> bytes:
    return json.dumps({"number": number, "text": "x" * size}).encode() + b"\n"


def read_all(read, count) -> tuple[list[int], int]:
    """Read from a pipe until as many lines have come, or been told as dropped: their numbers, and how many were."""
    content = b""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        content += os.read(read, 64 * KIB)
        lines = [json.loads(line) for line in content.splitlines()] if content.endswith(b"\n") else []
        numbers = [line["number"] for line in lines if "number" in line]
        dropped = sum(line.get("dropped", 0) for line in lines)
        if len(numbers) + dropped >= count:
            return numbers, dropped
    raise AssertionError("the lines never came")


def read_lines(read, until) -> list[dict]:
    """Read from a pipe until a line of which ``until`` is true."""
    content = b""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        content += os.read(read, 64 * KIB)
        if content.endswith(b"\n"):
            lines = [json.loads(line) for line in content.splitlines()]
            if until(lines[-1]):
                return lines
    raise AssertionError("the line never came")


def test_lines_are_written_in_order_without_a_loss() -> None:
    """With a reader that reads, every line arrives, in the order in which they were logged."""
    with open_pipe() as (read, write), open_sink(write, 1024 * KIB) as sink:
        reader = threading.Thread(target=lambda: lines.extend(read_lines(read, lambda last: last["number"] == 999)))
        lines: list[dict] = []
        reader.start()
        for number in range(1000):
            sink.write(make_line(number))
        assert sink.flush(PATIENCE)
        reader.join()
    assert list(range(1000)) == [line["number"] for line in lines]
    assert 0 == sink.dropped


@pytest.mark.requirement("OBS-L3")
def test_nobody_waits_for_a_reader_that_stops() -> None:
    """Far more lines than pipe and buffer hold are taken at once; the rest is counted, and told when it is read."""
    with open_pipe() as (read, write), open_sink(write) as sink:
        for number in range(5000):
            sink.write(make_line(number))
        assert not sink.flush(0.05)
        numbers, dropped = read_all(read, 5000)
    assert sorted(set(numbers)) == numbers
    assert 5000 - len(numbers) == dropped == sink.dropped
    assert numbers and dropped


@pytest.mark.requirement("OBS-L3")
def test_the_last_quarter_is_for_warnings() -> None:
    """Errors are still taken when plain events have used up their part of the buffer."""
    with open_pipe() as (read, write), open_sink(write) as sink:
        for number in range(5000):
            sink.write(make_line(number))
        dropped = sink.dropped
        sink.write(make_line(-1), urgent=True)
        assert dropped == sink.dropped
        numbers, _ = read_all(read, 5001)
    assert -1 == numbers[-1]


def test_a_loss_is_told_once() -> None:
    """After the loss has been told, lines are written as before."""
    with open_pipe() as (read, write), open_sink(write) as sink:
        for number in range(5000):
            sink.write(make_line(number))
        read_all(read, 5000)
        assert sink.flush(PATIENCE)
        sink.write(make_line(1))
        sink.write(make_line(2))
        lines = read_lines(read, lambda last: last.get("number") == 2)
    assert [1, 2] == [line["number"] for line in lines]


@pytest.mark.requirement("OBS-L3")
def test_a_reader_that_never_reads_leaves_no_thread() -> None:
    """Closing ends the thread although the pipe is full."""
    with open_pipe() as (_, write):
        with open_sink(write) as sink:
            for number in range(5000):
                sink.write(make_line(number))
            assert not sink.flush(0.05)
        assert [] == find_log_threads()


def test_a_closed_sink_counts_lines() -> None:
    """A line after the end is dropped, not written to whatever file has the number by then."""
    with open_pipe() as (_, write):
        with open_sink(write) as sink:
            pass
        sink.write(make_line(1))
    assert 1 == sink.dropped


def test_a_reader_that_has_gone_is_no_failure() -> None:
    """A broken pipe costs lines, which are counted."""
    read, write = os.pipe()
    os.close(read)
    with open_sink(write) as sink:
        sink.write(make_line(1))
        end = time.monotonic() + PATIENCE
        while not sink.dropped and time.monotonic() < end:
            time.sleep(0.01)
    os.close(write)
    assert 1 <= sink.dropped


class FullDisk:
    """A writer that fails until it is mended."""

    def __init__(self) -> None:
        self.is_full = True
        self.lines: list[bytes] = []

    def write(self, lines, is_abandoned):
        if self.is_full:
            raise OSError("no space left on device")
        self.lines += lines
        return len(lines)

    def close(self):
        pass


def test_a_full_disk_is_told_when_there_is_space_again() -> None:
    """Lines that a disk refuses are lost, counted and told; later ones are written."""
    disk = FullDisk()
    sink = BoundedSink(disk, 64 * KIB, render_loss)
    sink.write(make_line(1))
    end = time.monotonic() + PATIENCE
    while not sink.dropped and time.monotonic() < end:
        time.sleep(0.01)
    disk.is_full = False
    sink.write(make_line(2))
    assert sink.flush(PATIENCE)
    sink.close()
    assert [render_loss(1), make_line(2)] == sorted(disk.lines)


def test_a_forked_process_writes_its_own_lines() -> None:
    """A fork has a thread of its own, and doesn't write again what its parent writes."""
    with open_pipe() as (read, write), open_sink(write) as sink:
        sink.write(make_line(1))
        sink.flush(PATIENCE)
        child = os.fork()
        if not child:
            sink.write(make_line(2))
            os._exit(0 if sink.flush(PATIENCE) else 1)
        assert (child, 0) == os.waitpid(child, 0)
        sink.write(make_line(3))
        lines = read_lines(read, lambda last: last["number"] == 3)
    assert [1, 2, 3] == [line["number"] for line in lines]


def test_a_signal_handler_may_log_in_the_middle_of_logging() -> None:
    """The lock of the sink doesn't stop the thread that holds it."""
    with open_pipe() as (read, write), open_sink(write) as sink:
        with sink._lock:
            sink.write(make_line(1))
        assert [1] == [line["number"] for line in read_lines(read, lambda last: True)]


WRITER = """
import json, os, sys
from bandmaster.contrib.logging.sink import BoundedSink
from bandmaster.contrib.logging.writers import DescriptorWriter

name, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sink = BoundedSink(DescriptorWriter(os.dup(1)), 64 * 1024 * 1024, lambda lost: b"{}\\n")
for number in range(count):
    # Short lines in between, which must not be torn into the middle of a long one.
    text = name * (size if number % 2 else 10)
    sink.write(json.dumps({"name": name, "number": number, "text": text}).encode() + b"\\n")
assert sink.flush(60)
sink.close()
"""


@pytest.mark.requirement("OBS-L10")
@pytest.mark.parametrize("size", [100_000, 3000], ids=["100 KB", "3 KB"])
def test_lines_of_several_processes_are_whole(size) -> None:
    """Four processes write lines to one pipe: every line that arrives is one whole JSON object."""
    read, write = os.pipe()
    command = [sys.executable, "-c", WRITER]
    count = 40
    processes = [subprocess.Popen([*command, name, str(count), str(size)], stdout=write) for name in "abcd"]
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        lines = [json.loads(line) for line in stream]
    assert [0] * 4 == [process.wait(PATIENCE) for process in processes]
    assert 4 * count == len(lines)
    for name in "abcd":
        assert list(range(count)) == [line["number"] for line in lines if line["name"] == name]
    assert all(set(line["text"]) == {line["name"]} for line in lines)


def test_a_file_gets_every_line(tmp_path: Path) -> None:
    """A regular file has no reader to wait for."""
    file = tmp_path / "log"
    with file.open("w") as stream:
        writer = make_writer(stream)
        assert isinstance(writer, DescriptorWriter)
        sink = BoundedSink(writer, 1024 * KIB, render_loss)
        for number in range(100):
            sink.write(make_line(number, 5000))
        assert sink.flush(PATIENCE)
        sink.close()
    assert list(range(100)) == [json.loads(line)["number"] for line in file.read_text().splitlines()]


def test_a_closed_stream_has_no_descriptor(tmp_path: Path) -> None:
    """A process without a standard stream loses its log, and nothing else."""
    stream = (tmp_path / "log").open("w")
    stream.close()
    assert isinstance(make_writer(stream), TextWriter)
    assert 1 == make_writer(None).write([b"line\n"], lambda: False)
