"""The chain of hashes: what a reader of the table alone can tell of its past, and what only a key tells."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.contrib.audit.conftest import KEY, OLD_KEY
from tests.contrib.audit.test_entry import entries

from bandmaster.contrib.audit import AuditEntry, ChainKeys, FindingKind, Result
from bandmaster.contrib.audit.chain.commitments import PersonalField, commit
from bandmaster.contrib.audit.chain.link import PLAIN_TEXTS, genesis_hash, make_link
from bandmaster.contrib.audit.chain.link_json import parse_link, render_link
from bandmaster.contrib.audit.chain.verifier import Head, StreamVerifier
from bandmaster.contrib.audit.entries.canonical import parse_canonical, render_canonical

KEYS = ChainKeys({"2026": SecretStr(KEY)})
NONE = ChainKeys()


def make_chain(count=6, keys=KEYS, stream="s", previous=None, sequence=0):
    links = []
    previous = genesis_hash(stream) if previous is None else previous
    for number in range(sequence + 1, sequence + count + 1):
        entry = AuditEntry(
            action=f"a{number}",
            result=Result.SUCCESS,
            resource_type="order",
            resource_id=str(number),
            tenant="red",
            actor="ann",
            address="192.0.2.1",
            request_id="r",
            correlation_id="c",
            task="t",
            task_id="i",
            schedule="nightly",
            details={"number": number, "text": "ü"},
            personal={"mail": "ann@example.org"},
        )
        links.append(make_link(entry, stream=stream, sequence=number, previous=previous, keys=keys))
        previous = links[-1].hash
    return links


def verify(links, keys=KEYS, start=None, **options):
    verifier = StreamVerifier("s", keys, start, **options)
    for link in links:
        verifier.add(link)
    return verifier.finish()


def kinds(report):
    return [finding.kind for finding in report.findings]


def test_a_chain_is_sound() -> None:
    """With the key, without one, and from a place in the middle."""
    for keys in (KEYS, NONE):
        links = make_chain(keys=keys)
        report = verify(links, keys)
        assert ([], 6, Head("s", 6, links[-1].hash, keys.current)) == (report.findings, report.entries, report.head)
        start = Head("s", 3, links[2].hash, keys.current)
        assert [] == verify(links[3:], keys, start).findings


@pytest.mark.requirement("OBS-A3")
@pytest.mark.parametrize("field", [*PLAIN_TEXTS, "at", "details", "commitments", "key_id", "hash", "previous"])
def test_a_change_of_any_field_is_found(field) -> None:
    """Every column of the table is covered, in every entry of the chain."""
    links = make_chain()
    for place in range(6):
        link = links[place]
        if field in PLAIN_TEXTS:
            changed = [dataclasses.replace(link, texts={**link.texts, field: value}) for value in ("other", None, "")]
        elif field == "at":
            changed = [dataclasses.replace(link, at=link.at + timedelta(microseconds=1))]
        elif field == "details":
            changed = [dataclasses.replace(link, details=text) for text in ("{}", link.details.replace(":", ": "))]
        elif field == "commitments":
            changed = [dataclasses.replace(link, commitments="{}")]
        elif field == "key_id":
            changed = [dataclasses.replace(link, key_id="")]
        else:
            changed = [dataclasses.replace(link, **{field: "0" * 64})]
        for each in changed:
            report = verify([*links[:place], each, *links[place + 1 :]])
            assert report.findings, (place, each)
            assert place + 1 in {finding.first for finding in report.findings} | {
                finding.first - 1 for finding in report.findings
            }


@pytest.mark.requirement("OBS-A2")
@given(st.data())
@settings(max_examples=200)
def test_whatever_is_done_to_a_chain_is_found(data) -> None:
    """Rows removed from the middle, doubled, swapped, moved and put in from another stream."""
    links = make_chain(8)
    foreign = make_chain(8, stream="other")
    changed = list(links)
    what = data.draw(st.sampled_from(["remove", "swap", "double", "foreign", "renumber"]))
    place = data.draw(st.integers(0, 6))
    if what == "remove":
        del changed[place : data.draw(st.integers(place + 1, 7))]
    elif what == "swap":
        other = data.draw(st.integers(0, 7).filter(lambda number: number != place))
        changed[place], changed[other] = changed[other], changed[place]
    elif what == "double":
        changed.insert(place, changed[place])
    elif what == "foreign":
        changed[place] = dataclasses.replace(foreign[place], stream="s")
    else:
        changed = [
            dataclasses.replace(link, sequence=number)
            for number, link in enumerate(changed[:place] + changed[place + 1 :], start=1)
        ]
        if place == 7:
            return
    assert verify(changed).findings


@pytest.mark.requirement("OBS-A3")
def test_a_rewritten_suffix_is_found_with_a_key_and_not_without() -> None:
    """OBS-A3: whoever can write the table, and knows the algorithm but not the key, can't write another history."""
    for keys, found in ((KEYS, True), (NONE, False)):
        links = make_chain(keys=keys)
        forged = make_chain(3, keys=NONE, previous=links[2].hash, sequence=3)
        if keys:
            # The forger signs with a key of its own, under the real id.
            own = ChainKeys({"2026": SecretStr("f" * 40)})
            forged_keyed = make_chain(3, keys=own, previous=links[2].hash, sequence=3)
            assert FindingKind.ALTERED in kinds(verify([*links[:3], *forged_keyed], keys))
        assert found == bool(verify([*links[:3], *forged], keys).findings)


@pytest.mark.requirement("OBS-A3")
def test_a_history_without_keys_in_place_of_one_with_keys_is_found() -> None:
    """OBS-A3: the whole stream rewritten without a key isn't taken for one from before the keys."""
    (finding,) = verify(make_chain(keys=NONE), KEYS).findings
    assert (FindingKind.UNKEYED, 1, 6) == (finding.kind, finding.first, finding.last)
    assert "bandmaster audit checkpoint" in finding.explanation


def test_entries_from_before_the_keys_are_vouched_for_by_the_first_keyed_one() -> None:
    """Keys may be set later: the keyed entry names the hash of what was there."""
    old = make_chain(3, keys=NONE)
    new = make_chain(3, previous=old[-1].hash, sequence=3)
    report = verify([*old, *new])
    assert ([], 3) == (report.findings, report.unkeyed)
    again = make_chain(1, keys=NONE, previous=new[-1].hash, sequence=6)
    assert [FindingKind.UNKEYED] == kinds(verify([*old, *new, *again]))


@pytest.mark.requirement("OBS-A3")
def test_a_key_is_replaced() -> None:
    """OBS-A3: entries name their key; the old one goes on verifying, and without it they can't be judged."""
    first = ChainKeys({"2025": SecretStr(OLD_KEY)})
    both = ChainKeys({"2026": SecretStr(KEY), "2025": SecretStr(OLD_KEY)})
    old = make_chain(3, keys=first)
    links = [*old, *make_chain(3, keys=both, previous=old[-1].hash, sequence=3)]
    assert {"2025", "2026"} == {link.key_id for link in links}
    assert [] == verify(links, both).findings
    report = verify(links, KEYS)
    assert ([], {"2025"}) == (report.findings, report.unknown_keys)


@pytest.mark.requirement("OBS-A6")
def test_a_personal_field_that_was_changed_removed_or_added_is_found() -> None:
    """OBS-A6: the salted commitment is part of the hash, so that only an erasure that is reported is accepted."""
    links = make_chain(3)
    personal = links[1].personal
    cases = {
        FindingKind.PERSONAL_ALTERED: [
            {**personal, "actor": dataclasses.replace(personal["actor"], value='"bob"')},
            {**personal, "actor": dataclasses.replace(personal["actor"], subject="bob")},
            {**personal, "mail": dataclasses.replace(personal["mail"], salt="0" * 64)},
        ],
        FindingKind.PERSONAL_MISSING: [
            {name: each for name, each in personal.items() if name != "actor"},
            {**personal, "actor": PersonalField()},
            {**personal, "actor": PersonalField(erased_by=2)},
            {**personal, "actor": PersonalField(erased_by=99)},
            {**personal, "actor": dataclasses.replace(personal["actor"], salt=None)},
        ],
        FindingKind.PERSONAL_ADDED: [{**personal, "phone": personal["mail"]}],
    }
    for kind, changes in cases.items():
        for change in changes:
            report = verify([links[0], dataclasses.replace(links[1], personal=change), links[2]])
            assert [kind] == kinds(report), change


@pytest.mark.requirement("OBS-A6")
def test_equal_values_have_different_commitments() -> None:
    """Nobody can tell from the commitments that two entries are about one person, nor guess who it is."""
    first, second = make_chain(2)
    assert first.personal["actor"].value == second.personal["actor"].value
    assert commit("actor", first.personal["actor"]) != commit("actor", second.personal["actor"])
    assert 64 == len(first.personal["actor"].salt)
    assert "ann" not in render_canonical([first.details, first.commitments, dict(first.texts)])


@given(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_fields_can_not_be_shifted_into_each_other(pair) -> None:
    """The bytes that are hashed tell where a field ends: text moved from one field to the next gives another hash."""
    one, two = pair
    links = make_chain(1)
    texts = {**links[0].texts, "tenant": one, "resource_type": two}
    swapped = {**links[0].texts, "tenant": two, "resource_type": one}
    messages = {dataclasses.replace(links[0], texts=each).message() for each in (texts, swapped)}
    joined = {**links[0].texts, "tenant": one + two, "resource_type": ""}
    messages.add(dataclasses.replace(links[0], texts=joined).message())
    assert 3 == len(messages)


@pytest.mark.requirement("P-08")
@given(entries)
def test_a_link_gives_the_entry_back(entry) -> None:
    """P-08: stored in the form of the tables or of an export, an entry comes back unchanged, and its hash verifies."""
    link = make_link(entry, stream="s", sequence=1, previous=genesis_hash("s"), keys=KEYS)
    exported = parse_link(parse_canonical(render_canonical(render_link(link))))
    assert entry == link.to_entry() == exported.to_entry()
    assert [] == verify([exported]).findings


def test_streams_are_apart() -> None:
    """A chain can't be passed off as that of another tenant."""
    links = make_chain(stream="other")
    assert genesis_hash("s") != genesis_hash("other")
    assert FindingKind.ALTERED in kinds(verify([dataclasses.replace(link, stream="s") for link in links]))


def test_findings_are_bounded() -> None:
    """A table of rubbish doesn't fill the memory; what isn't listed is counted."""
    links = [dataclasses.replace(link, texts={**link.texts, "action": "x"}) for link in make_chain(1200)]
    report = verify(links)
    assert (1000, 200) == (len(report.findings), report.more_findings)
    assert not report.is_sound


def test_a_fingerprint_names_what_was_found() -> None:
    """Another change of the same entry is another finding, so an acknowledgement doesn't cover it."""
    links = make_chain(3)
    reports = [
        verify([links[0], dataclasses.replace(links[1], texts={**links[1].texts, "action": action}), links[2]])
        for action in ("x", "x", "y")
    ]
    first, same, other = (report.findings[0].fingerprint for report in reports)
    assert first == same != other


def test_an_exported_link_is_the_same_link() -> None:
    """Its hash can be verified from the JSON alone."""
    for link in make_chain(2):
        assert link == parse_link(render_link(link))
        withheld = parse_link(render_link(link, with_personal=False))
        assert "ann" not in str(render_link(link, with_personal=False))
        assert link.message() == withheld.message()
        assert link.to_entry().to_json() == parse_link(render_link(link)).to_entry().to_json()


def test_the_keys_are_shown_nowhere() -> None:
    """The repr has the ids."""
    assert "<ChainKeys 2026>" == repr(KEYS)
