"""Cron expressions and timezones."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from taskiq.cli.scheduler.run import is_cron_task_now
from tests.contrib.taskiq.schedules.helpers import MOMENTS, NOON, ZONES

from bandmaster.contrib.taskiq.schedules.cron import check_cron, parse_cron
from bandmaster.contrib.taskiq.schedules.declared_schedules import Schedule

pytestmark = pytest.mark.anyio


_NUMBER = st.integers(0, 60).map(str)


_VALUE = _NUMBER | st.sampled_from(["mon", "Sunday", "fri", "x", "7", ""])


_ITEM = st.one_of(
    st.just("*"),
    _VALUE,
    st.tuples(_VALUE, _VALUE).map("-".join),
    st.tuples(_VALUE, _VALUE, _NUMBER).map(lambda parts: f"{parts[0]}-{parts[1]}/{parts[2]}"),
    _NUMBER.map("*/{}".format),
)


_PART = st.just("*") | st.lists(_ITEM, min_size=1, max_size=3).map(",".join)


CRON = st.lists(_PART, min_size=5, max_size=5).map(" ".join) | st.text(alphabet="0123456789*/-, monsu²")


_LOW, _HIGH = (0, 0, 1, 1, 0), (59, 23, 31, 12, 6)


@st.composite
def good_crons(draw):
    """Valid cron expressions."""

    def part(low, high):
        number = st.integers(low, high)
        ordered = st.tuples(number, number).map(sorted)
        item = st.one_of(
            number.map(str),
            ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
            st.tuples(ordered, st.integers(1, high)).map(lambda drawn: f"{drawn[0][0]}-{drawn[0][1]}/{drawn[1]}"),
            st.integers(1, high).map("*/{}".format),
        )
        return draw(st.just("*") | st.lists(item, min_size=1, max_size=3).map(",".join))

    text = " ".join(part(low, high) for low, high in zip(_LOW, _HIGH, strict=True))
    try:
        return check_cron(text)
    except ValueError as error:
        assume("never fires" not in str(error))
        raise


@given(CRON, ZONES | st.text(max_size=8), MOMENTS)
@settings(max_examples=120, deadline=None)
@example("*/0 * * * *", None, NOON)
@example("* * * * *", "Europe", NOON)
@example("* * * * *", "/etc/passwd", NOON)
def test_an_accepted_schedule_never_raises(cron, zone, moment) -> None:
    """An accepted schedule raises no error in TaskIQ's loop, which would end all schedules."""
    try:
        schedule = Schedule(cron=cron, timezone=zone)
    except ValueError:
        return
    task = schedule.make_task("work")
    assert is_cron_task_now(task.cron, moment, task.cron_offset) in {True, False}


@given(good_crons(), MOMENTS)
@settings(max_examples=120, deadline=None)
def test_taskiq_agrees_on_accepted_crons(cron, moment) -> None:
    """TaskIQ matches an accepted expression at exactly the described times."""
    minutes, hours, days, months, weekdays = parse_cron(cron)
    day, weekday = moment.day in days, moment.isoweekday() % 7 in weekdays
    parts = cron.split(" ")
    date = (day or weekday) if "*" not in parts[2] and "*" not in parts[4] else (day and weekday)
    expected = date and moment.minute in minutes and moment.hour in hours and moment.month in months
    assert expected == is_cron_task_now(cron, moment)


@pytest.mark.parametrize(
    ("cron", "normal"),
    [
        ("* * * * *", "* * * * *"),
        (" 30  4\t* * MON-Fri ", "30 4 * * mon-fri"),
        ("*/15 0-6/2,23 1,15 */3 sunday", "*/15 0-6/2,23 1,15 */3 sunday"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 31 2 mon", "0 0 31 2 mon"),
    ],
)
def test_valid_crons(cron, normal) -> None:
    """Blanks and capitals are normalised."""
    assert normal == Schedule(cron=cron).cron


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "expected 5 fields .*got 0"),
        ("* * * *", "expected 5 fields 'minute hour day-of-month month day-of-week'.* got 4"),
        ("0 0 * * * *", "got 6"),
        ("@daily", "expected 5 fields"),
        ("60 * * * *", "'60' is no minute.* from 0 to 59"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day-of-month.* from 1 to 31"),
        ("* * * jan *", "'jan' is no month"),
        ("* * * * 7", r"'7' is no day-of-week.*\(Sunday is 0\)"),
        ("* * * * fri-sun", "a range goes upwards"),
        ("* * * * mon-fri/2", "ranges with a step take numbers"),
        ("*/0 * * * *", "a step is from 1 to 59"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("*,5 * * * *", r"'\*' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*/² * * * *", "is no minute"),
        ("0 0 31 4,6 *", "never fires"),
        ("0 0 30 2 */2", "never fires"),
    ],
)
def test_invalid_crons(cron, said) -> None:
    """Expressions that TaskIQ would ignore, misread or fail on are refused."""
    with pytest.raises(ValueError, match=said):
        Schedule(cron=cron)
