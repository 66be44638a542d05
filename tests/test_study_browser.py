"""The study's page in a real browser: clicks, keys, screen reader names, phone width, failures of the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import browser_page
from playwright.sync_api import Page, expect
from study_case import Server, build, serving

from ecdm.study.plan import Plan
from ecdm.study.votes import Votes

# A machine with other work takes its time.
PATIENCE = 60_000.0


@pytest.fixture(autouse=True)
def patience() -> None:
    expect.set_options(timeout=PATIENCE)


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Plan]:
    return build(tmp_path / "project")


def chosen(folder: Path, plan: Plan) -> dict[int, int]:
    """Votes of the only participant: number of the question → number of the picture, from 1."""
    votes = Votes(folder / "votes.sqlite", plan).all()
    assert len({vote.participant for vote in votes}) <= 1
    numbers = {question.id: i for i, question in enumerate(plan.questions, start=1)}
    places = {option.id: i for question in plan.questions for i, option in enumerate(question.options, start=1)}
    return {numbers[vote.question]: places[vote.option] for vote in votes}


def at(page: Page, number: int) -> None:
    """Wait until the question with this number is shown."""
    expect(page.locator("#count")).to_have_text(re.compile(f"^Question {number} of"))


def saved(page: Page) -> None:
    """Wait until the server has the vote."""
    expect(page.get_by_role("status")).to_have_text("Saved.")


def test_clicks_vote_go_back_and_edit(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    with serving(folder) as server, browser_page() as (page, seen):
        page.goto(server.url)
        expect(page.locator("#length")).to_have_text("6 questions.")
        page.get_by_role("button", name="Start").click()
        for number in range(1, 7):
            at(page, number)
            page.get_by_role("radio", name=f"Picture {number % 4 + 1}").click()
            saved(page)
            page.get_by_role("button", name="Finish" if number == 6 else "Next").click()
        expect(page.get_by_role("heading", name="Thank you!")).to_be_visible()
        assert chosen(folder, plan) == {n: n % 4 + 1 for n in range(1, 7)}
        page.get_by_role("button", name="Look at my answers").click()
        page.get_by_role("button", name="Next").click()
        at(page, 2)
        expect(page.get_by_role("radio", name="Picture 3")).to_be_checked()
        page.get_by_role("button", name="Back").click()
        at(page, 1)
        page.get_by_role("radio", name="Picture 4").click()
        saved(page)
        assert chosen(folder, plan) == {**{n: n % 4 + 1 for n in range(1, 7)}, 1: 4}
        assert (seen.errors, seen.strangers) == ([], [])


def test_keys_alone_are_enough(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    with serving(folder) as server, browser_page() as (page, seen):
        page.goto(server.url)
        expect(page.get_by_role("button", name="Start")).to_be_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        at(page, 1)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("Please choose a picture first.")
        at(page, 1)
        page.keyboard.press("9")
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        page.keyboard.press("3")
        saved(page)
        page.keyboard.press("Enter")
        at(page, 2)
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
        expect(page.get_by_role("radio", name="Picture 4")).to_be_checked()
        saved(page)
        page.keyboard.press("Enter")
        at(page, 3)
        page.keyboard.press("Backspace")
        page.keyboard.press("Backspace")
        at(page, 1)
        page.keyboard.press("1")
        saved(page)
        assert chosen(folder, plan) == {1: 1, 2: 4}
        assert (seen.errors, seen.strangers) == ([], [])


def test_fast_keys_and_the_browsers_own_back_find_their_question(study: tuple[Path, Plan]) -> None:
    twice = "() => [1, 2].forEach(() => document.body.dispatchEvent("
    twice += "new KeyboardEvent('keydown', { key: 'Backspace', bubbles: true })))"
    with serving(study[0]) as server, browser_page() as (page, _):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        for number in (1, 2):
            at(page, number)
            page.keyboard.press("1")
            saved(page)
            page.keyboard.press("Enter")
        at(page, 3)
        page.evaluate(twice)
        at(page, 1)
        page.go_back()
        at(page, 2)
        page.go_forward()
        at(page, 1)


def test_number_keys_can_be_switched_off(study: tuple[Path, Plan]) -> None:
    with serving(study[0]) as server, browser_page() as (page, _):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        page.get_by_text("Keyboard").click()
        page.get_by_label("Use these keys").uncheck()
        page.keyboard.press("2")
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        page.get_by_label("Use these keys").check()
        page.keyboard.press("2")
        expect(page.get_by_role("radio", name="Picture 2")).to_be_checked()


def test_another_day_goes_on_where_it_stopped(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    with serving(folder) as server, browser_page() as (page, _):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        for number in (1, 2):
            at(page, number)
            page.keyboard.press("2")
            saved(page)
            page.keyboard.press("Enter")
        at(page, 3)
        cookie = page.context.cookies()[0]
    with serving(folder, server.port) as server, browser_page() as (page, _):
        page.context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": server.url}])
        page.goto(server.url)
        at(page, 3)
        expect(page.locator("#progress")).to_have_attribute("value", "2")
        page.goto(f"{server.url}#1")
        at(page, 1)
        expect(page.get_by_role("radio", name="Picture 2")).to_be_checked()
    assert chosen(folder, plan) == {1: 2, 2: 2}


def test_screen_readers_hear_question_pictures_and_state(study: tuple[Path, Plan]) -> None:
    with serving(study[0]) as server, browser_page() as (page, _):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        group = page.get_by_role("group", name="Which picture fits the description best?", exact=True)
        expect(group).to_be_visible()
        for number in range(1, 5):
            expect(group.get_by_role("radio", name=f"Picture {number}", exact=True)).to_have_count(1)
        expect(page.get_by_role("progressbar", name="Questions answered")).to_be_visible()
        expect(page.get_by_role("status")).to_have_attribute("aria-live", "polite")
        expect(page.get_by_alt_text("The picture with its missing part hatched in gray")).to_be_visible()
        # The focus stands on the question, so that it is read first.
        expect(page.locator("#ask")).to_be_focused()
        assert page.evaluate("() => document.documentElement.lang") == "en"
        page.keyboard.press("1")
        saved(page)
        page.keyboard.press("Enter")
        expect(page.get_by_role("group", name="Which picture looks the most real and natural?")).to_be_visible()
        expect(page.locator("#ask")).to_be_focused()


def test_a_caption_is_text_and_nothing_else(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    with serving(folder) as server, browser_page() as (page, seen):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#caption")).to_have_text(plan.questions[0].caption)
        assert page.locator("#caption").evaluate("node => node.childElementCount") == 0
        assert page.title() == "Picture study"
        assert (seen.errors, seen.strangers) == ([], [])
        # Even markup that found its way into the page would not run.
        page.evaluate("() => { document.body.innerHTML = '<img src=x onerror=\"document.title = 1\">'; }")
        expect(page.locator("img")).to_have_count(1)
        page.wait_for_load_state("networkidle")
        assert page.title() == "Picture study"
        assert any("Content Security Policy" in problem for problem in seen.errors)


@pytest.mark.parametrize("mode", ["choice", "pairwise"])
def test_every_width_shows_everything(tmp_path: Path, mode: str) -> None:
    folder, plan = build(tmp_path / "project", mode=mode)
    with serving(folder) as server, browser_page() as (page, seen):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        options, larger = page.locator("#options img"), page.get_by_role("button", name="Larger pictures")
        expect(options).to_have_count(len(plan.questions[0].options))
        for width in (320, 390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            sides = []
            for pressed in ("false", "true"):
                expect(larger).to_have_attribute("aria-pressed", pressed)
                assert page.evaluate("() => document.documentElement.scrollWidth") <= width
                boxes: list[Any] = [image.bounding_box() for image in options.all()]
                assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
                sides.append(boxes[0]["width"])
                larger.click()
            assert sides[1] > 1.3 * sides[0]
            box = page.get_by_role("button", name="Next").bounding_box()
            assert box
            assert box["height"] >= 44
        page.get_by_role("radio", name="Picture 2").click()
        saved(page)
        assert chosen(folder, plan) == {1: 2}
        assert (seen.errors, seen.strangers) == ([], [])


def test_a_server_that_is_away_loses_no_answer(study: tuple[Path, Plan]) -> None:
    folder, plan = study
    server = Server(folder)
    with browser_page() as (page, _):
        page.goto(server.url)
        page.get_by_role("button", name="Start").click()
        page.keyboard.press("1")
        saved(page)
        server.stop()
        page.keyboard.press("4")
        expect(page.get_by_role("status")).to_contain_text("does not answer")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("does not answer")
        at(page, 1)
        with serving(folder, server.port):
            page.keyboard.press("Enter")
            at(page, 2)
    assert chosen(folder, plan) == {1: 4}
