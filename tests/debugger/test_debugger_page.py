"""The debugger's page in a real browser."""

from __future__ import annotations

import re

import pytest
import requests
from browser import needs_browser

from dbt_segconn.web.debugger import running

pytestmark = needs_browser


@pytest.fixture
def page(browser):
    with running() as one:
        page = Page(browser, one.url)
        page.open()
        yield page
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
        browser.get("about:blank")


class Page:
    def __init__(self, browser, url):
        self.browser = browser
        self.url = url

    def open(self):
        self.browser.get(self.url)
        self.until(lambda: self.text("#state") == "Live")

    def post(self, *calls):
        requests.post(f"{self.url}/v1/batch", json={"batch": list(calls)}, auth=("wk", ""), timeout=5)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def text(self, selector):
        return self.find(selector).text

    def rows(self):
        script = "return [...document.querySelectorAll('#list li')].map(one => one.innerText.split('\\n'))"
        return self.browser.execute_script(script)

    def press(self, key):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(key).perform()

    def until(self, condition, seconds=5):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def track(event, **more):
    return {"type": "track", "userId": "u1", "event": event, **more}


def test_calls_appear_live_newest_first_with_what_was_dropped(page):
    page.post(track("First"))
    page.until(lambda: len(page.rows()) == 1)
    page.post(track("Second"), {"type": "identify", "userId": "ada", "traits": {"email": "ada@example.com"}}, track(""))
    page.until(lambda: len(page.rows()) == 4)
    names = [row[1] for row in page.rows()]
    assert names[1:] == ["ada@example.com", "Second", "First"]
    assert "Dropped: track without event" in page.rows()[0]
    assert (page.text("#accepted"), page.text("#dropped")) == ("3", "1")


def test_filters_by_type_and_text(page):
    page.post(track("Tea bought"), track("Mug bought"), {"type": "page", "userId": "u", "name": "Tea"})
    page.until(lambda: len(page.rows()) == 3)
    page.press("/")
    page.press("tea")
    page.until(lambda: len(page.rows()) == 2)
    page.find("#types [data-type=track]").click()
    page.until(lambda: [row[1] for row in page.rows()] == ["Tea bought"])
    page.post(track("Tea again"), track("Mug again"))
    page.until(lambda: [row[1] for row in page.rows()] == ["Tea again", "Tea bought"])
    page.find("#text").clear()
    page.find("#text").send_keys("nothing like it")
    page.until(lambda: "No call matches the filter" in page.text("#empty"))


def test_dropped_calls_show_on_request(page):
    page.post(track("Fine"), track(""))
    page.until(lambda: len(page.rows()) == 2)
    page.find("#only-dropped").click()
    page.until(lambda: len(page.rows()) == 1)
    assert "Dropped: track without event" in page.rows()[0]


def test_pause_resume_and_clear(page):
    page.find("#pause").click()
    page.until(lambda: page.text("#state") == "Paused")
    page.post(track("Quiet"))
    page.post(track("Still quiet"))
    page.until(lambda: page.text("#state") == "Paused · 2 new")
    assert page.rows() == []
    page.find("#pause").click()
    page.until(lambda: len(page.rows()) == 2)
    page.find("#clear").click()
    page.until(lambda: page.rows() == [])
    page.post(track("Afterwards"))
    page.until(lambda: [row[1] for row in page.rows()] == ["Afterwards"])


def test_keyboard_moves_opens_and_closes(page):
    from selenium.webdriver.common.keys import Keys

    page.post(track("A"), track("B"))
    page.until(lambda: len(page.rows()) == 2)
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    page.until(lambda: page.text("#detail dl div:nth-child(3)") == "event\nA")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.find("#detail").is_displayed())
    page.press(" ")
    page.until(lambda: page.text("#state") == "Paused")
    page.press(" ")
    page.until(lambda: page.text("#state") == "Live")


def test_pretty_is_a_table_and_raw_the_json_as_it_was_sent(page):
    long = "x" * 1_000
    page.post(track("A", properties={"id": 9007199254740993, "at": {"city": "Paris"}, "none": None, "long": long}))
    page.until(lambda: len(page.rows()) == 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", page.rows()[0][-1])
    page.find("#list li").click()
    page.until(lambda: "id\n9007199254740993\nat.city\nParis\nnone\nnull" in page.text("#body"))
    assert long not in page.text("#body")
    page.find("#body .fold").click()
    page.until(lambda: long in page.text("#body"))
    page.find("#raw").click()
    page.until(lambda: '"id": 9007199254740993' in page.text("#body"))
    page.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    page.find("#copy").click()
    page.until(lambda: page.text("#copy") == "Copied")
    page.find("#pretty").click()
    page.until(lambda: "at.city" in page.text("#body"))


def test_a_flood_is_shown_up_to_a_limit_that_the_page_says(page):
    for _ in range(4):
        page.post(*[track("Flood")] * 2_000)
    page.until(lambda: page.text("#accepted") == "8,000")
    page.until(lambda: "calls are not shown here" in str(page.rows()))
    assert len(page.rows()) <= 500


def test_restarted_debugger_is_noticed(browser):
    with running() as first:
        page = Page(browser, first.url)
        page.open()
        page.post(*[track("Old")] * 3)
        page.until(lambda: len(page.rows()) == 3)
    page.until(lambda: page.text("#state") == "The debugger does not answer")
    with running(int(first.url.rpartition(":")[2])):
        page.until(lambda: page.text("#state") == "Live", seconds=15)
        page.post(track("New"))
        page.until(lambda: [row[1] for row in page.rows()] == ["New"])
    browser.get("about:blank")
    browser.get_log("browser")


def test_what_a_call_holds_stays_text(page):
    evil = "<img src=x onerror=\"document.title='owned'\">"
    page.post(track(evil, userId=evil, properties={"x": evil}), {"type": evil, "userId": evil})
    page.until(lambda: len(page.rows()) == 2)
    page.find("#list li").click()
    page.until(lambda: evil[:4] in page.text("#body"))
    assert page.browser.title == "dbt-segconn debugger"
    assert page.browser.find_elements("css selector", "#list img, #body img") == []
