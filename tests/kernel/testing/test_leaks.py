"""Tests of bandmaster.kernel.testing.leaks."""

import gc
import warnings

import pytest

from bandmaster.kernel.testing.leaks import collect_unclosed


class Open:
    """Something that is thrown away open, in a cycle that only the collector finds."""

    def __init__(self, name):
        self.name = name
        self.me = self

    def __del__(self):
        warnings.warn(f"unclosed {self.name}", ResourceWarning, stacklevel=1)


def test_what_is_thrown_away_in_the_block_is_told():
    """Older garbage isn't collected."""
    gc.disable()  # otherwise it may come at any moment
    try:
        Open("before")
        with collect_unclosed() as unclosed:
            Open("meanwhile")
        assert ["unclosed meanwhile"] == unclosed
        assert 0 == gc.get_freeze_count()
    finally:
        gc.enable()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def test_the_collector_is_as_before_after_an_error():
    """No object stays frozen after a failure of the block."""
    with pytest.raises(OSError), collect_unclosed():
        raise OSError
    assert 0 == gc.get_freeze_count()
