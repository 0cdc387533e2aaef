"""The report of a run in a real Chromium: what strangers wrote is shown, nothing of it runs, and nothing is fetched.

Skipped, with the reason, where Chromium is missing; an error where the variable CI is set.
"""

import time

import pytest

from course_utils.report import write_report
from tests.test_report import EVIL, soiled_facts

OPEN_POLICY = "<meta>"  # in the place of the policy that forbids scripts: then escaping alone has to do
PROBE = """() => {
    const script = document.createElement('script');
    script.textContent = "console.log('ours')";
    document.body.append(script);
}"""


class Visit:
    """A page that was opened, with all that it tried: addresses asked for, dialogs, errors."""

    def __init__(self, browser, path):
        self.page = browser.new_page(viewport={"width": 1000, "height": 900})
        self.asked, self.dialogs, self.errors = [], [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(path.as_uri(), wait_until="networkidle")

    def sees_error(self, words: str, seconds: float = 20) -> bool:
        """Whether an error has these words; the console's lines come on their own way, maybe after the page."""
        end = time.monotonic() + seconds
        while not (seen := any(words in error for error in self.errors)) and time.monotonic() < end:
            self.page.wait_for_timeout(50)
        return seen


def open_report(browser, folder, without_policy: bool = False) -> Visit:
    write_report(soiled_facts(), folder)
    path = folder / "report.html"
    if without_policy:
        text = path.read_text(encoding="utf-8")
        start = text.index('<meta http-equiv="Content-Security-Policy"')
        path.write_text(text[:start] + OPEN_POLICY + text[text.index(">", start) + 1 :], encoding="utf-8")
    return Visit(browser, path)


@pytest.mark.parametrize("without_policy", [False, True], ids=["as it is", "by escaping alone"])
def test_no_script_runs_and_no_request_leaves_the_machine(browser, tmp_path, without_policy):
    visit = open_report(browser, tmp_path, without_policy)
    assert visit.page.evaluate("document.scripts.length") == 0
    outside = [url for url in visit.asked if not url.startswith(("data:", tmp_path.as_uri()))]
    assert outside == [] and len([url for url in visit.asked if url.startswith("file:")]) == 1
    assert visit.page.locator("td.quoted").first.inner_text() == "A text" + EVIL
    visit.page.evaluate(PROBE)  # its line comes after all others, so what was on its way is there as well
    assert visit.sees_error("ours" if without_policy else "Content Security Policy")
    assert visit.dialogs == [] and len(visit.errors) == 1


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser, tmp_path):
    """Proof that this test can fail: with the policy a planted script is refused, without it the same one runs."""
    planted = "<script>console.log('a stranger was here')</script></main>"
    for without_policy, said in ((False, "Content Security Policy"), (True, "a stranger was here")):
        open_report(browser, tmp_path, without_policy).page.close()
        path = tmp_path / "report.html"
        path.write_text(path.read_text(encoding="utf-8").replace("</main>", planted), encoding="utf-8")
        visit = Visit(browser, path)
        assert visit.sees_error(said)
        assert without_policy or not visit.sees_error("a stranger was here", seconds=1)


def test_every_figure_is_drawn_and_the_page_is_no_wider_than_the_window(browser, tmp_path):
    page = open_report(browser, tmp_path).page
    widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) == 4 and min(widths) > 100
    for width in (1000, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
