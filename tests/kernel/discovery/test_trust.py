"""Tests of bandmaster.kernel.discovery.trust."""

import pytest

from bandmaster.kernel.contributions.model import Provenance
from bandmaster.kernel.discovery.lockfile import Lock
from bandmaster.kernel.discovery.metadata import Found
from bandmaster.kernel.discovery.pins import Pin
from bandmaster.kernel.discovery.trust import admit
from bandmaster.kernel.errors import Problem


def part(name, distribution="acme", version="1.0", group="lifespan", **fields):
    provenance = Provenance(distribution, version, f"m:{name}")
    return Found(f"bandmaster.{group}", name, f"m:{name}", provenance, **fields)


AUDIT = part("audit", "Bandmaster-Audit")
CACHE = part("cache", "bandmaster_redis")
LAYER = part("audit", "Bandmaster-Audit", group="middleware")
FOUND = (AUDIT, CACHE, LAYER)


def test_auto_admits_all():
    """Mode auto admits every installed part."""
    admission = admit(FOUND)
    assert (admission.admitted, admission.left_out, admission.problems, admission.warnings) == (FOUND, (), (), ())


def test_an_allowlist_leaves_others_out_visibly():
    """Parts outside of the allowlist are left out with the reason; names are compared normalised."""
    admission = admit(FOUND, mode="allowlist", allow=["BANDMASTER.redis", "bandmaster"])
    assert admission.admitted == (CACHE,)
    assert [str(left) for left in admission.left_out] == [
        "lifespan 'audit' (Bandmaster-Audit 1.0): Bandmaster-Audit isn't in the allowlist",
        "middleware 'audit' (Bandmaster-Audit 1.0): Bandmaster-Audit isn't in the allowlist",
    ]
    assert (admission.problems, admission.warnings) == ((), ())


def test_an_allowlist_that_names_what_is_not_there_is_a_problem():
    """A name without a distribution is a problem: misspelt, it would leave out a guard silently."""
    admission = admit(FOUND, mode="allowlist", allow={"bandmaster-redis", "bandmaster-adit"})
    (problem,) = admission.problems
    assert str(problem) == (
        "The allowlist names 'bandmaster-adit', which isn't installed or brings no parts. Install it, or take it off "
        "the list. Did you mean 'Bandmaster-Audit'?"
    )


def test_an_empty_allowlist_admits_nothing():
    """An empty allowlist admits no part."""
    assert admit(FOUND, mode="allowlist").admitted == ()


def test_an_allowlist_that_is_not_read_is_a_warning():
    """An allowlist without the mode that reads it is a warning."""
    assert admit(FOUND, allow=["acme"]).warnings == (
        "allow names 'acme', but is only read with BANDMASTER_PLUGINS=allowlist",
    )


@pytest.mark.parametrize("disable", [{"audit"}, "audit", ["other,audit , "], "other, audit"])
def test_a_name_disables_in_every_group(disable):
    """A plain name disables each part of that name, from a set or from a text with commas."""
    admission = admit(FOUND, disable=disable, elsewhere=["other"])
    assert admission.admitted == (CACHE,)
    assert [(left.found, left.reason) for left in admission.left_out] == [
        (AUDIT, "it is disabled"),
        (LAYER, "it is disabled"),
    ]
    assert admission.warnings == ()


@pytest.mark.parametrize("disable", ["lifespan:audit", "bandmaster.lifespan:audit"])
def test_a_name_with_its_group_disables_one(disable):
    """A name with its group, short or in full, disables one part."""
    assert admit(FOUND, disable={disable}).admitted == (CACHE, LAYER)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("adit", "'adit' is disabled, but no part has that name. Did you mean 'audit'?"),
        ("lifespan:adit", "'lifespan:adit' is disabled, but no part has that name. Did you mean 'lifespan:audit'?"),
        ("zzz", "'zzz' is disabled, but no part has that name."),
    ],
)
def test_disabling_nothing_is_a_warning(name, warning):
    """A name that no part has is a warning, with the nearest name."""
    assert admit(FOUND, disable={name}).warnings == (warning,)


def test_parts_from_elsewhere_may_be_disabled():
    """A part that code passes may be disabled as well, with its group or without."""
    assert admit(FOUND, disable={"mine", "lifespan:mine"}, elsewhere=["mine"]).warnings == ()


def test_malformed_parts_are_problems_unless_disabled():
    """A malformed part is a problem until it is disabled."""
    bad = part("bad", problem=Problem("It is bad."))
    admission = admit([AUDIT, bad])
    assert (admission.admitted, admission.problems) == ((AUDIT,), (Problem("It is bad."),))
    admission = admit([AUDIT, bad], disable={"bad"})
    assert (admission.admitted, admission.problems) == ((AUDIT,), ())


def test_one_name_from_two_distributions_is_a_problem():
    """Two distributions with one name in a group are a problem that names both; neither part is loaded."""
    rival = part("cache", "acme-cache", "2.1")
    admission = admit([*FOUND, rival])
    assert admission.admitted == (AUDIT, LAYER)
    (problem,) = admission.problems
    assert str(problem) == (
        "lifespan 'cache' comes from bandmaster_redis 1.0 and acme-cache 2.1; names are unique within a group. "
        "Uninstall all but one: to disable 'cache' would leave out every one of them."
    )


def test_one_name_twice_is_no_problem_where_one_may_not_load():
    """A part outside of the allowlist clashes with no other."""
    rival = part("cache", "acme-cache", "2.1")
    admission = admit([CACHE, rival], mode="allowlist", allow={"acme-cache"})
    assert (admission.admitted, admission.problems) == ((rival,), ())


def test_groups_restrict_what_is_judged():
    """Parts of other groups aren't judged, and the allowlist is compared with all distributions."""
    bad = part("bad", problem=Problem("It is bad."))
    groups = ["bandmaster.middleware"]
    admission = admit([AUDIT, bad, LAYER], mode="allowlist", allow={"acme", "bandmaster-audit"}, groups=groups)
    assert (admission.admitted, admission.left_out, admission.problems) == ((LAYER,), (), ())


PINNED = Lock({"acme": Pin("1.0", "aa"), "bandmaster-audit": Pin("1.0", "bb")})


def test_locked_admits_what_is_locked():
    """Parts of equal distributions, versions and contents are admitted."""
    admission = admit(FOUND, mode="locked", lock=PINNED, installed=PINNED)
    assert (admission.admitted, admission.problems) == (FOUND, ())


def test_locked_admits_nothing_when_anything_differs():
    """After one difference no part is admitted; the problem lists the differences and a remedy."""
    installed = Lock({"acme": Pin("1.1", "cc"), "evil": Pin("6.6", "dd")})
    admission = admit(FOUND, mode="locked", lock=PINNED, installed=installed)
    assert admission.admitted == ()
    assert {left.reason for left in admission.left_out} == {"what is installed isn't what is locked"}
    (problem,) = admission.problems
    assert str(problem) == (
        "What is installed isn't what is locked:\n"
        "      ~ acme 1.0 → 1.1\n"
        "      - bandmaster-audit 1.0 is in the lock, but isn't installed\n"
        "      + evil 6.6 is installed, but isn't in the lock\n"
        "    If that is what you want to run, look the changes over, then run: bandmaster lock"
    )


def test_locked_warns_of_code_that_is_not_hashed():
    """An editable install, whose lock covers its metadata only, is a warning."""
    loose = Lock({"acme": Pin("1.0", "aa", "metadata", editable=True)})
    assert admit(FOUND, mode="locked", lock=loose, installed=loose).warnings == (
        "acme 1.0 is locked by its metadata alone: it is an editable install",
    )


@pytest.mark.requirement("P-18")
def test_wrong_arguments():
    """An unknown mode, or a missing lock, is reported with the name of the argument."""
    with pytest.raises(ValueError, match="mode: expected 'auto' or 'allowlist' or 'locked', got 'lax'"):
        admit(FOUND, mode="lax")
    with pytest.raises(ValueError, match="lock: mode 'locked' compares lock with installed"):
        admit(FOUND, mode="locked", lock=PINNED)
