"""What components tell about themselves in the plan."""

from collections.abc import AsyncIterator

import pytest
from pydantic_settings import SettingsConfigDict

from bandmaster.kernel import Kernel, LifespanBand, PlanError, Settings, lifespan, named_settings
from bandmaster.kernel.cli.views.outline import Line
from bandmaster.kernel.cli.views.plan_json import render_plan_json
from bandmaster.kernel.cli.views.plan_text import render_plan_text


class MailSettings(Settings):
    model_config = SettingsConfigDict(env_prefix="MAIL_")
    host: str = "mail.example"


def tell(settings: MailSettings):
    yield f"sends by {settings.host}"


def plan_of(facts, factory=None):
    async def mail(settings: MailSettings) -> AsyncIterator[str]:
        yield settings.host

    part = lifespan(band=LifespanBand.SERVICES, name="mail", facts=facts)(factory or mail)
    return part, Kernel(contributions=[part], discover=False)


def test_the_plan_has_the_facts_of_a_component(monkeypatch):
    """They are made from the settings when the plan is made, and explain the component."""
    monkeypatch.setenv("MAIL_HOST", "smtp.example")
    _, kernel = plan_of(tell)
    assert kernel.plan.by_name["mail"].facts == ("sends by smtp.example",)
    assert "  sends by smtp.example" in str(kernel.plan.explain("mail"))


def test_people_and_programs_read_the_facts():
    """`bandmaster plan` prints them with the component, as text and as JSON."""
    _, kernel = plan_of(tell)
    sections = render_plan_text("mail", kernel.plan, kernel.settings)
    assert "sends by mail.example" in list_texts(line for section in sections for line in section.content)
    [component] = render_plan_json("mail", kernel.plan, kernel.settings)["components"]
    assert component["facts"] == ["sends by mail.example"]


def list_texts(lines):
    """The texts of lines, and of those below them."""
    found = []
    for line in lines:
        if isinstance(line, Line):
            found += [line.text, *list_texts(line.below)]
    return found


def test_a_named_component_has_facts_of_its_own(monkeypatch):
    """The copy's facts are made from the copy's settings."""
    monkeypatch.setenv("OTHER_MAIL_HOST", "other.example")
    part, _ = plan_of(tell)
    kind = named_settings(MailSettings, "other", about="the other mail", prefix="OTHER_MAIL_")
    kernel = Kernel(contributions=[part.named("other", settings=kind)], discover=False)
    assert kernel.plan.by_name["other"].facts == ("sends by other.example",)


def fail(settings: MailSettings):
    raise KeyError(settings.host)


def ask_for_more(settings: MailSettings, other: int):
    yield str(other)


@pytest.mark.parametrize("facts", [fail, ask_for_more])
def test_facts_that_fail_are_a_problem_of_the_plan(facts):
    """The problem names the component and the place of the function."""
    with pytest.raises(PlanError) as raised:
        _ = plan_of(facts)[1].plan
    [problem] = raised.value.problems
    assert problem.subject == "mail"
    assert "its facts can't be had" in problem.message
    assert "test_facts.py:" in problem.message


def test_facts_must_be_a_function():
    """Text in place of a function is refused where the component is made."""
    with pytest.raises(ValueError, match="facts"):
        plan_of("sends by mail.example")
