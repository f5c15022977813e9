"""The list of all metrics."""

from pathlib import Path

import pytest

from bandmaster.contrib.tracing.metrics import catalogue

PAGE = Path(__file__).parents[4] / "docs/how-to/metrics.md"


def test_names_are_unique() -> None:
    """Two metrics of one name would be one series."""
    names = [metric.name for metric in catalogue.ALL]
    assert len(set(names)) == len(names)


def test_histograms_have_boundaries_that_grow() -> None:
    """Each histogram, and nothing else, has boundaries."""
    for metric in catalogue.ALL:
        assert (metric.kind == "histogram") == bool(metric.buckets), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.mark.parametrize("metric", catalogue.ALL, ids=lambda metric: metric.name)
def test_the_page_describes_each(metric) -> None:
    """The page has the metric's kind, labels and meaning as they are."""
    (row,) = [line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{metric.name}` |")]
    _, _, kind, unit, labels, meaning, _ = (cell.strip() for cell in row.split("|"))
    assert metric.kind.replace("_", " ") == kind
    assert (metric.unit.strip("{}") or "1") == unit
    assert metric.labels == tuple(label.strip("`") for label in labels.split(", ") if label != "–")
    assert metric.meaning == meaning


def test_the_page_describes_no_other() -> None:
    """A metric that is removed is removed from the page."""
    rows = [
        line.split("`")[1]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `") and "." in line.split("`")[1]
    ]
    assert {metric.name for metric in catalogue.ALL} == set(rows)
