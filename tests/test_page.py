"""The page of the syncs: frozen in one file, and live on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys

import open_files
import pytest
import requests
from browser import needs_browser
from standing import ADA, BOB, EVE, MAPPING, PROGRAM, WRITE_KEY

from dbt_segconn.engine.opening import Options
from dbt_segconn.web.page.server import running

EVIL = "</script><img src=x onerror=\"document.title='owned'\">"
ADA_NOW = ("c1", "ada@example.org", "team")


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def with_a_discard(shop, api, **mapping):
    """Two syncs: all of three records but one, then a change of one."""
    api.refuses = lambda call: call["userId"] == "c2"
    shop.manifest({**MAPPING, **mapping})
    assert shop.resync(ADA, BOB, EVE).exit_code == 1
    shop.resync(ADA_NOW, BOB, EVE)


def write(shop, *options):
    path = shop.dir / "target/segconn/report.html"
    result = shop.segconn("report", "--html", str(path), *options)
    assert result.exit_code == 0, result.output
    return path


# --- frozen


def test_the_frozen_page_holds_the_history_and_no_rows(shop, api):
    with_a_discard(shop, api)
    text = write(shop).read_text()
    data = data_of(text)
    (mapping,) = data["mappings"]
    assert (mapping["name"], mapping["action"], mapping["is_enabled"]) == (
        "customers.identify_customers",
        "identify",
        True,
    )
    assert [(one["status"], one["added"], one["updated"], one["discarded"]) for one in data["syncs"]] == [
        ("partial", 1, 1, 1),
        ("partial", 3, 0, 1),
    ]
    assert {(one["change_type"], one["reason"], one["refused"]) for one in data["reasons"]} == {
        ("added", "Segment rejected the call with HTTP status 400", 1)
    }
    assert [one["record_id"] for one in data["discards"]] == [None]
    for hidden in (WRITE_KEY, '"c2"', ADA_NOW[1], BOB[1]):
        assert hidden not in text


def test_identifiers_only_on_request(shop, api):
    with_a_discard(shop, api)
    data = data_of(shop.segconn("report", "--html", "-", "--identifiers", "--history", "1").output)
    assert [one["record_id"] for one in data["discards"]] == ["c2"]
    assert {one["record_id"] for one in data["discarded_records"]} == {"c2"}
    assert len(data["syncs"]) == 1
    path = write(shop)
    path.chmod(0o644)
    write(shop, "--identifiers")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_baseline_is_shown_as_left_out(shop):
    shop.manifest({**MAPPING, "first_sync": "baseline"})
    shop.resync(ADA, BOB)
    (sync,) = data_of(write(shop).read_text())["syncs"]
    assert [sync[name] for name in ("status", "is_baseline", "added", "left_out", "confirmed")] == [
        "success",
        True,
        2,
        2,
        0,
    ]


def test_resumed_sync_shows_its_failure(shop, api):
    shop.manifest(MAPPING)
    api.faults = [401]
    assert shop.resync(ADA).exit_code == 1
    assert shop.segconn("run", "--all").exit_code == 0
    ends = [
        (one["status"], [end["status"] for end in one["earlier"]]) for one in data_of(write(shop).read_text())["syncs"]
    ]
    assert ("success", ["failed"]) in ends


def test_says_of_unfinished_syncs_whether_somebody_is_at_work(shop):
    shop.manifest(MAPPING)
    shop.resync(ADA)
    with shop.connect() as connection:
        connection.execute("update segconn.sync_history set status = 'running', finished_at = null")
    assert data_of(write(shop).read_text())["syncs"][0]["status"] == "interrupted"
    with shop.connect() as connection:
        connection.execute(
            "insert into segconn.locks select mapping_id, 't', 'elsewhere process 1', "
            "now() at time zone 'utc', now() at time zone 'utc' from segconn.syncs"
        )
    assert data_of(write(shop).read_text())["syncs"][0]["status"] == "in_progress"


def test_a_project_that_was_never_synced_and_one_that_is_gone(shop):
    shop.manifest(MAPPING)
    shop.table(ADA)
    data = data_of(write(shop).read_text())
    assert (len(data["mappings"]), data["syncs"]) == (1, [])
    shop.resync(ADA)
    shop.manifest({**MAPPING, "name": "another"})
    gone = [one["name"] for one in data_of(write(shop).read_text())["mappings"] if not one["is_in_project"]]
    assert gone == ["customers.identify_customers"]


def test_unreadable_file_is_refused(shop):
    shop.manifest(MAPPING)
    shop.table(ADA)
    result = shop.segconn("report", "--html", str(shop.dir / "dbt_project.yml/report.html"))
    assert (result.exit_code, "cannot be written" in result.output) == (1, True)
    shop.manifest({**MAPPING, "action": "identfy"})
    assert shop.segconn("report", "--html", "-").exit_code == 2


def test_the_frozen_page_needs_no_extra_and_the_live_one_says_which(shop, monkeypatch):
    shop.manifest(MAPPING)
    shop.table(ADA)
    for name in list(sys.modules):
        if name.partition(".")[0] in {"starlette", "uvicorn"} or name.startswith(
            ("dbt_segconn.web.page.server", "dbt_segconn.web.debugger")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    write(shop)
    result = shop.segconn("ui")
    assert result.exit_code == 2
    assert "needs starlette, which is not installed: pip install 'dbt-segconn[debugger]'" in result.output


# --- live


@pytest.fixture
def live(shop, api):
    with_a_discard(shop, api)
    with running(Options(project_dir=shop.dir)) as url:
        yield lambda path, **headers: requests.get(f"{url}/{path}", headers=headers, timeout=60)


def test_answers_this_machine_alone_and_takes_nothing(live):
    url = live("api/stamp").url
    assert url.startswith("http://127.0.0.1:")
    assert live("api/stamp").status_code == 200
    assert live("", Host="evil.example").status_code == 403
    assert live("api/snapshot", Origin="http://evil.example").status_code == 403
    assert live("api/snapshot", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert requests.post(url, timeout=5).status_code == 405
    assert live("api/preview?mapping=customers.identify_customers&change_type=nonsense").status_code == 400
    assert live("api/preview?mapping=customers.identify_customers&record=%00").status_code == 400
    assert live("api/past?mapping=customers.identify_customers&record=%00").status_code == 400
    assert live("api/past?mapping=x&record=y", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert "default-src 'none'" in live("").headers["Content-Security-Policy"]


def test_writes_nothing_and_previews_a_record_beside_its_call(shop, live):
    def fingerprint():
        return hashlib.sha256(open_files.contents(shop.dir / "shop.duckdb")).hexdigest()

    shop.table(("c1", "ada@example.net", "pro"), BOB)
    before = fingerprint()
    answer = live("api/snapshot").json()
    assert (answer["problem"], len(answer["snapshot"]["syncs"])) == (None, 2)
    (shown,) = live("api/preview?mapping=customers.identify_customers&record=c1").json()["calls"]
    assert (shown["change_type"], shown["record"]["email"]) == ("updated", "ada@example.net")
    assert shown["call"]["traits"] == {"email": "ada@example.net", "plan": "pro"}
    (gone,) = live("api/preview?mapping=customers.identify_customers&record=c3").json()["calls"]
    assert gone["unsent"] == "left out: sync_mode has no deleted records"
    nobody = live("api/preview?mapping=customers.identify_customers&record=nobody").json()
    assert (nobody["calls"], "the model has no such record" in nobody["notes"][0]) == ([], True)
    assert "no mapping is named" in str(live("api/preview?mapping=nothing").json()["problem"])
    past = live("api/past?mapping=customers.identify_customers&record=c2").json()
    assert [(one["outcome"], one["at"][-1]) for one in past["rows"]] == [("discarded", "Z")] * 2
    assert "The delivery log is off" in past["notes"][0]
    assert fingerprint() == before


def test_lets_others_open_the_warehouse_and_waits_for_them(shop, live):
    live("api/snapshot")
    hold = "import duckdb, sys; one = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    command = [sys.executable, "-c", hold, str(shop.dir / "shop.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        answer = live("api/snapshot").json()
        assert "busy" in answer["problem"]["title"]
        assert len(answer["snapshot"]["syncs"]) == 2
        assert "busy" in live("api/preview?mapping=customers.identify_customers").json()["problem"]["title"]
        other.communicate("\n")
    assert live("api/snapshot").json()["problem"] is None
    shop.manifest({**MAPPING, "action": "identfy"})
    answer = live("api/snapshot").json()
    assert "project has errors" in answer["problem"]["title"]
    assert answer["snapshot"] is not None


def test_outlives_its_folder_made_anew(shop, live):
    kept = shop.dir.with_name("kept")
    open_files.close()
    shutil.copytree(shop.dir, kept)
    shutil.rmtree(shop.dir)
    assert "no dbt_project.yml" in str(live("api/snapshot").json()["problem"])
    kept.rename(shop.dir)
    assert live("api/snapshot").json()["problem"] is None
    assert live("api/preview?mapping=customers.identify_customers&record=c1").json()["problem"] is None


def test_the_debugger_is_on_this_machine(shop):
    shop.manifest(MAPPING)
    secret = shop.segconn("ui", "--debugger", "http://user:s3cretPw@127.0.0.1:8123")
    assert (secret.exit_code, "s3cretPw" in secret.output) == (2, False)
    result = shop.segconn("ui", "--debugger", "http://evil.example")
    assert (result.exit_code, "must be a URL on this machine" in result.output) == (2, True)


def test_runs_until_a_signal_and_the_debugger_with_it(shop):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        shop.manifest(MAPPING)
        shop.settings(endpoint=f"http://127.0.0.1:{port}")
        for ports in (("--port", str(port)), ("--port", "0", "--with-debugger")):
            result = shop.segconn("ui", *ports)
            assert (result.exit_code, f"port {port} is taken" in result.output) == (1, True)
    command = [PROGRAM, "ui", "--port", "0", "--with-debugger"]
    with subprocess.Popen(command, cwd=shop.dir, stdout=subprocess.PIPE, text=True) as process:
        url = re.search(r"http://[\d.:]+", process.stdout.readline())[0]
        answer = requests.get(f"{url}/api/calls", timeout=5).json()
        assert (answer["url"], answer["counts"]["received"]) == (f"http://127.0.0.1:{port}", 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


# --- in a browser


class Page:
    def __init__(self, browser):
        self.browser = browser

    def open(self, url):
        self.browser.get("about:blank")
        self.browser.get_log("browser")
        self.browser.get(url)
        self.until(lambda: self.all("h1"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def text(self, selector="main"):
        return self.browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def rows(self, selector="tbody tr"):
        script = "return [...document.querySelectorAll(arguments[0])].map(one => one.innerText)"
        return [list(filter(None, re.split(r"[\t\n]", row))) for row in self.browser.execute_script(script, selector)]

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def until(self, condition, seconds=10):
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, seconds, poll_frequency=0.05).until(lambda _: condition())

    def close(self):
        complaints = [line for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]
        self.browser.get("about:blank")
        return complaints


@needs_browser
def test_the_frozen_page_works_from_a_file_whatever_its_names_are(shop, api, browser):
    from selenium.webdriver.common.keys import Keys

    with_a_discard(shop, api, name=EVIL)
    with shop.connect() as connection:
        connection.execute("update segconn.discards set reason = ?, record_id = ?", [EVIL, EVIL])
        connection.execute("update segconn.sync_history set error = ?", [EVIL])
    page = Page(browser)
    page.open(write(shop, "--identifiers").as_uri())
    assert page.rows()[0][:3] == [EVIL, "customers", "Partially successful"]
    assert "Live calls" not in page.text("header")
    page.all("a.open")[0].click()
    page.until(lambda: page.all(".chart .hit"))
    assert [label.get_attribute("aria-label").partition(": ")[2] for label in page.all(".chart .hit")] == [
        "3 added, 0 updated, 0 deleted, 1 discarded",
        "1 added, 1 updated, 0 deleted, 1 discarded",
    ]
    assert [row[2:7] for row in page.rows("section:first-of-type tbody tr")] == [
        ["1", "1", "0", "0", "1"],
        ["3", "0", "0", "0", "1"],
    ]
    assert EVIL in page.text(".message")
    assert "Preview" not in page.text()
    browser.execute_script("document.querySelector('.chart .hit[tabindex=\"0\"]').focus()")
    page.press(Keys.ARROW_LEFT, Keys.ENTER)
    page.until(lambda: "Extracted\n\n3" in page.text())
    assert [EVIL, "added", "1"] in page.rows()
    assert browser.title.endswith("dbt-segconn")
    assert page.all("img") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.close() == []


@needs_browser
def test_shows_all_columns_at_any_width(shop, browser):
    shop.manifest(
        {
            **MAPPING,
            "name": "identify_marketing_qualified_leads_with_enriched_firmographics_of_all_regions",
            "first_sync": "baseline",
            "fields": {**MAPPING["fields"], "traits": {"text": "word " * 100}},
        }
    )
    shop.resync(ADA)
    page = Page(browser)
    metrics = {"height": 800, "deviceScaleFactor": 1, "mobile": False}
    try:
        for width in (1280, 390):
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, **metrics})
            page.open(write(shop).as_uri())
            hidden = """return [...document.querySelectorAll('td')].filter(
                (one) => one.getBoundingClientRect().right > innerWidth || !one.checkVisibility()).length"""
            assert browser.execute_script(hidden) == 0
            assert page.text('td[data-label="Left out"]').strip() == "1"
            assert "baseline" in page.text(".status")
            page.all("a.open")[0].click()
            page.until(lambda: page.all(".fold"))
            assert browser.execute_script(hidden) == 0
            assert "Baseline: 1 record stored, none sent." in page.text()
            page.all(".fold")[0].click()
            page.until(lambda: ("word " * 100).strip() in page.text())
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.close() == []


@needs_browser
def test_the_live_page_follows_runs_and_is_used_by_keyboard(shop, browser):
    from selenium.webdriver.common.keys import Keys

    from dbt_segconn.web.debugger import running as running_debugger

    page = Page(browser)
    with running_debugger() as debugger:
        shop.endpoint = debugger.url
        shop.settings()
        shop.manifest({**MAPPING, "fields": {"user_id": "$email", "traits": {"plan": "$plan"}}})
        shop.resync(ADA)
        with running(Options(project_dir=shop.dir)) as url:
            page.open(url)
            page.press("/", "customers ident")
            page.until(lambda: len(page.rows()) == 1)
            page.press(Keys.ARROW_DOWN, Keys.ENTER)
            page.until(lambda: len(page.all(".chart .hit")) == 1)

            shop.resync(ADA_NOW, BOB)
            page.until(lambda: len(page.all(".chart .hit")) == 2)
            assert page.rows("section:first-of-type tbody tr")[0][1:4] == ["Successful", "1", "1"]

            shop.table(ADA_NOW, BOB, EVE)
            page.all("#record")[0].send_keys("c3", Keys.ENTER)
            page.until(lambda: "eve@example.com" in page.text(".pair"))
            assert page.text(".pair").count("eve@example.com") == 2

            shop.resync(ADA_NOW, BOB, ("c3", None, "team"))
            page.until(lambda: "Discarded records" in page.text())
            assert page.text(".pair").count("eve@example.com") == 2
            next(link for link in page.all("th a") if link.text == "c3").click()
            page.until(lambda: "Would be discarded" in page.text(".pair"))

            page.press(Keys.ESCAPE, Keys.ESCAPE)
            page.until(lambda: page.text("h1") == "Overview")
            page.all("#nav a:last-child")[0].click()
            page.until(lambda: "3 calls accepted" in page.text())
            assert page.text(".heads").split() == ["Type", "Name", "User", "Received"]
            page.press("/", "team")
            page.until(lambda: "1 shown" in page.text("#received"))
            page.press(Keys.ESCAPE)
            page.press(Keys.ARROW_DOWN, Keys.ENTER)
            page.until(lambda: "messageId" in page.text(".calls"))
            assert page.close() == []
