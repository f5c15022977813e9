"""Tests of bandmaster.kernel.contributions.bands."""

import re

import pytest

from bandmaster.kernel.contributions.bands import BAND_WIDTH, LifespanBand, MiddlewareBand, resolve_priority

BANDS = [*LifespanBand, *MiddlewareBand]
SPANS = "OBSERVABILITY 0–99, PERSISTENCE 100–199, MESSAGING 200–299, SERVICES 300–399, APPLICATION 400–499"


@pytest.mark.requirement("CF-42")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (LifespanBand, ["OBSERVABILITY", "PERSISTENCE", "MESSAGING", "SERVICES", "APPLICATION"]),
        (MiddlewareBand, ["OUTERMOST", "SECURITY", "CONTEXT", "POLICY", "INNERMOST"]),
    ],
)
def test_bands_are_neighbouring_ranges(kind, expected):
    """Each band is 100 wide and begins where the one before it ends."""
    assert expected == [band.name for band in kind]
    assert list(range(500)) == [priority for band in kind for priority in band.priorities]
    assert {BAND_WIDTH} == {len(band.priorities) for band in kind}


@pytest.mark.parametrize("band", BANDS)
def test_the_default_leaves_room_on_both_sides(band):
    """A part without a priority stands in the middle of the band."""
    assert band.priorities[50] == band.default


def test_bands_of_one_kind_are_ordered():
    """The lower band comes first; bands of different kinds can't be compared."""
    assert min(LifespanBand) is LifespanBand.OBSERVABILITY
    assert LifespanBand.SERVICES > LifespanBand.MESSAGING
    with pytest.raises(TypeError):
        assert LifespanBand.SERVICES < MiddlewareBand.POLICY


def test_a_band_reads_as_its_name():
    """Errors and plans print the name of a band; the span is the name with the range."""
    assert ("SERVICES", "SERVICES 300–399") == (str(LifespanBand.SERVICES), LifespanBand.SERVICES.span)


@pytest.mark.parametrize("band", BANDS)
def test_a_band_alone_means_its_default(band):
    """A band without a priority means the middle of the band."""
    assert (band, band.default) == resolve_priority(type(band), band, None)


@pytest.mark.parametrize("band", BANDS)
def test_a_priority_alone_means_its_band(band):
    """Every priority belongs to exactly one band."""
    for priority in (band.priorities[0], band.priorities[-1]):
        assert (band, priority) == resolve_priority(type(band), None, priority)
        assert (band, priority) == resolve_priority(type(band), band, priority)


@pytest.mark.requirement("CF-18", "FA-17", "P-18")
@pytest.mark.parametrize(
    ("band", "priority", "expected"),
    [
        (LifespanBand.SERVICES, 299, "priority: 299 lies outside its band. Allowed: SERVICES 300–399"),
        (LifespanBand.SERVICES, 400, "priority: 400 lies outside its band. Allowed: SERVICES 300–399"),
        (None, -1, f"priority: -1 lies outside all bands. Allowed: {SPANS}"),
        (None, 500, f"priority: 500 lies outside all bands. Allowed: {SPANS}"),
        (None, None, f"band: give a band, a priority, or both. Bands: {SPANS}"),
        (None, True, f"priority: expected an int, got True. Bands: {SPANS}"),
        (LifespanBand.SERVICES, 350.0, f"priority: expected an int, got 350.0. Bands: {SPANS}"),
        (None, "350", f"priority: expected an int, got '350'. Bands: {SPANS}"),
        (300, None, f"band: expected a LifespanBand, got 300. Bands: {SPANS}"),
        (
            MiddlewareBand.POLICY,
            None,
            f"band: expected a LifespanBand, got <MiddlewareBand.POLICY: 300>. Bands: {SPANS}",
        ),
    ],
)
def test_a_refusal_names_the_allowed_ranges(band, priority, expected):
    """The message names the argument, the value, and every allowed range."""
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        resolve_priority(LifespanBand, band, priority)
