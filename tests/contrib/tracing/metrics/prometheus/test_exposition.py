"""The merge of the texts of several processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from bandmaster.contrib.tracing.metrics.prometheus.exposition import merge_texts, render_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PLAIN = "text/plain; version=0.0.4"
PARSERS = {OPENMETRICS: parse_openmetrics, PLAIN: parse_plain}


def render(worker, accept, fill):
    """The text of one process with its own registry, which ``fill`` fills."""
    registry = CollectorRegistry()
    fill(registry)
    return render_families(registry.collect(), {"worker": worker}, accept)[0]


def fill_all(registry, *, count=1, text="x"):
    Counter("jobs", 'Jobs\nwith "odd" text \\', ["name"], registry=registry).labels(text).inc(count)
    Gauge("size", "Size.", registry=registry).set(count)
    Histogram("took_seconds", "Took.", ["name"], registry=registry, unit="seconds").labels(text).observe(count)
    Info("build", "Build.", registry=registry).info({"version": "1"})


def read(text, accept):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in PARSERS[accept](text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", PARSERS)
def test_a_merge_has_every_sample(accept) -> None:
    """The merged text has the samples of all processes, and is valid."""
    texts = [render(f"web-{number}", accept, lambda registry: fill_all(registry, count=2)) for number in range(4)]
    expected = {}
    for text in texts:
        expected |= read(text, accept)
    assert expected == read(merge_texts(texts), accept)


@pytest.mark.parametrize("accept", PARSERS)
def test_a_family_stands_in_one_place(accept) -> None:
    """The formats demand that a family has one header, and its samples behind it."""
    texts = [render(f"web-{number}", accept, fill_all) for number in range(3)]
    lines = merge_texts(texts).decode().splitlines()
    headers = [line for line in lines if line.startswith("# TYPE ")]
    assert len(set(headers)) == len(headers)
    assert (accept == OPENMETRICS) == (lines[-1] == "# EOF")
    assert 0 == lines[:-1].count("# EOF")


def test_processes_with_different_metrics() -> None:
    """A family of one process alone is in the merge."""
    one = render("web-0", OPENMETRICS, lambda registry: Gauge("one", "One.", registry=registry).set(1))
    two = render("worker-0", OPENMETRICS, lambda registry: Gauge("two", "Two.", registry=registry).set(2))
    expected = {("one", ("worker", "web-0")): 1, ("two", ("worker", "worker-0")): 2}
    assert expected == read(merge_texts([one, two]), OPENMETRICS)


def test_a_family_of_two_types() -> None:
    """Between two releases a family may change its type; the samples of the other type are left out."""
    one = render("web-0", OPENMETRICS, lambda registry: Gauge("jobs", "Old.", registry=registry).set(1))
    two = render("web-1", OPENMETRICS, lambda registry: Counter("jobs", "New.", registry=registry).inc(7))
    assert {("jobs", ("worker", "web-0")): 1} == read(merge_texts([one, two]), OPENMETRICS)


def test_a_description_may_differ() -> None:
    """The description of the first process counts."""
    texts = [
        render(f"web-{number}", OPENMETRICS, lambda registry, n=number: Gauge("a", f"{n}.", registry=registry).set(n))
        for number in range(2)
    ]
    (family,) = parse_openmetrics(merge_texts(texts).decode())
    assert ("0.", [0, 1]) == (family.documentation, [sample.value for sample in family.samples])


def test_nothing_to_merge() -> None:
    """Processes without metrics make an empty, valid text."""
    empty = render("web-0", OPENMETRICS, lambda registry: None)
    assert b"# EOF\n" == merge_texts([empty, empty])
    assert b"" == merge_texts([render("web-0", PLAIN, lambda registry: None)])


@pytest.mark.parametrize("accept", PARSERS)
@given(
    texts=st.lists(
        st.one_of(
            st.text(alphabet=st.characters(exclude_categories=["Cs"])),
            st.sampled_from(
                ['\n# HELP size "', "# EOF\n", "\n# TYPE jobs gauge\n", "\\", '"', "\r\n", "\x85", "\u2028"]
            ),
        ),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_no_label_breaks_the_merge(accept, texts) -> None:
    """A label with line ends and headers in it is one label, as before the merge."""
    rendered = [
        render(f"web-{number}", accept, lambda registry, text=text: fill_all(registry, text=text))
        for number, text in enumerate(texts)
    ]
    merged = read(merge_texts(rendered), accept)
    found = {(dict(key[1:])["worker"], dict(key[1:])["name"]) for key in merged if key[0] == "jobs_total"}
    assert {(f"web-{number}", text) for number, text in enumerate(texts)} == found
