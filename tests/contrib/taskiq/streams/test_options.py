"""The options and keys of a leased stream."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandmaster.contrib.taskiq.settings import TaskIQSettings
from bandmaster.contrib.taskiq.streams import LeasedStreamOptions, options_of
from bandmaster.contrib.taskiq.streams.keys import RESERVED_ENDINGS, Keys

WRONG = {
    "queue": st.sampled_from(["", " ", "tasks:dead", "a:delayed", ":history"]),
    "group": st.sampled_from(["", "\t"]),
    "lease": st.sampled_from([0, -1, 0.05, math.nan, math.inf]),
    "slots": st.integers(max_value=0),
    "max_deliveries": st.integers(max_value=0),
    "forget_after": st.sampled_from([0, -1, math.nan, math.inf]),
}


@given(
    st.sets(st.sampled_from(sorted(WRONG)), min_size=1).flatmap(
        lambda names: st.fixed_dictionaries({name: WRONG[name] for name in names})
    )
)
def test_every_problem_is_named(values) -> None:
    """All invalid options are refused at once by name."""
    with pytest.raises(ValueError) as refused:
        LeasedStreamOptions(**values)
    assert {part.partition(":")[0] for part in str(refused.value).split("; ")} == set(values)


@given(st.floats(min_value=0.1, max_value=30 * 86400))
def test_the_intervals_fit_the_lease(lease) -> None:
    """Leases are renewed three times in their duration, and reclaimed within 1.3 leases but for the shortest."""
    options = LeasedStreamOptions(lease=lease)
    assert options.renewal_interval * 3 == pytest.approx(lease)
    assert 0 < options.reclaim_interval <= 5
    assert lease < 0.5 or lease + options.reclaim_interval + 0.1 <= 1.3 * lease
    assert options.silence >= max(60, lease)


def test_options_of_settings() -> None:
    """There are as many slots as running and prefetched tasks."""
    settings = TaskIQSettings(
        queue="q", stream_prefix="{p}:", consumer_group="g", lease=9, concurrency=3, prefetch=4, max_deliveries=5
    )
    assert options_of(settings) == LeasedStreamOptions(
        queue="q", prefix="{p}:", group="g", lease=9, slots=7, max_deliveries=5
    )


@given(st.text(), st.text(min_size=1).filter(lambda queue: not queue.endswith(RESERVED_ENDINGS)))
def test_keys(prefix, queue) -> None:
    """All keys of a queue begin with prefix and name, and differ."""
    keys = Keys.of(prefix, queue)
    every = [*keys, keys.make_once_key("text")]
    assert all(key.startswith(prefix + queue) for key in every)
    assert len(set(every)) == 5
