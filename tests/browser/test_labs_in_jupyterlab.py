"""The labs in a real JupyterLab, in a real Chromium, with real clicks and keys.

Skipped, with the reason, where Chromium is missing; an error where the variable CI is set.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import TimeoutError, expect, sync_playwright

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium")
TOKEN = "browser-test"
# Flags that keep Chromium from asking its makers' hosts for anything.
FLAGS = [
    "--no-sandbox", "--no-proxy-server", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run", "--disable-quic",
]  # fmt: skip

SPOKEN_NAME = """() => {
    const element = document.activeElement;
    const label = element.id && document.querySelector(`label[for="${element.id}"]`);
    return element.getAttribute('aria-label') || (label && label.innerText) || element.innerText || element.title || '';
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def shorten(name: str, folder: Path) -> None:
    """Copy a lab's notebook up to the cell that shows the lab, and add a cell to run meanwhile.

    Lesson 7's runs become so long that none ends by itself before a test has pressed its buttons.
    """
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    last = next(
        i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.endswith("\nlab")
    )
    notebook.cells = [*notebook.cells[: last + 1], nbformat.v4.new_code_cell("print('kernel', 'is', 'free', 6 * 7)")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace("LearningRateLab(steps=100)", "LearningRateLab(steps=100_000)")
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / name)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A JupyterLab of its own, on copies of the notebooks, with settings of its own; yields its address."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: .ci/run installs it.")
        pytest.skip("Chromium is missing: install Debian's package chromium to run the browser tests.")
    folder = tmp_path_factory.mktemp("lab")
    for name in ("07_learning_rate_lab.ipynb", "08_regularization_lab.ipynb", "09_transfer_learning_lab.ipynb"):
        shorten(name, folder)
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    state = {
        name: str(folder / ".jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    # Kernels are children of the server; the variable of pytest would make them think that they are tests.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"} | state
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            wait_until_answering(port, process, folder / "server.log")
            yield f"http://127.0.0.1:{port}", folder
        finally:
            process.terminate()
            try:
                process.wait(60)
            finally:
                process.kill()


def wait_until_answering(port: int, process, log: Path) -> None:
    end = time.monotonic() + 240  # where much else is going on, a JupyterLab takes over a minute to start
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail("JupyterLab did not answer: " + log.read_text())


@pytest.fixture(scope="module")
def page(server):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page
        browser.close()


def open_and_run(page, address: str, name: str) -> None:
    """Open a notebook in a workspace of its own and run all of its cells."""
    page.goto(f"{address}/lab/workspaces/{name[:2]}/tree/{name}?reset&token={TOKEN}")
    page.locator(".jp-Notebook").first.wait_for()
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').first.wait_for(state="attached")
    page.wait_for_timeout(1000)
    for _ in range(4):  # a click that comes before the kernel is connected is lost
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(TimeoutError):
            page.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]")).first.wait_for(timeout=8_000)
            break
    button(page, "Run").wait_for(timeout=120_000)


def button(page, name: str):
    return page.locator(".jupyter-button", has_text=re.compile(f"^{name}$"))


def status(page):
    return page.locator(".widget-html [role=status]")


def picture(page) -> str:
    return page.locator(".widget-image").get_attribute("src")


def step_of(page) -> int:
    found = re.search(r"step (\d+) of", status(page).inner_text())
    return int(found.group(1)) if found else 0


def wait_for(page, condition, seconds: float = 60) -> None:
    """Wait until `condition()` holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, status(page).inner_text()
        page.wait_for_timeout(50)


def test_the_learning_rate_is_turned_while_it_trains(server, page):
    open_and_run(page, server[0], "07_learning_rate_lab.ipynb")
    expect(status(page)).to_contain_text("Press Run.")
    before = picture(page)
    button(page, "Run").click()
    wait_for(page, lambda: picture(page) != before)
    wait_for(page, lambda: step_of(page) >= 3)
    first = picture(page)
    wait_for(page, lambda: picture(page) != first)

    handle = page.locator(".noUi-handle").first
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    wait_for(page, lambda: "learning rate 0.001;" not in status(page).inner_text())
    rate = float(re.search(r"learning rate ([\d.e+-]+)", status(page).inner_text()).group(1))
    assert rate > 0.001

    button(page, "Stop").click()
    wait_for(page, lambda: "Stopped after" in status(page).inner_text())  # and not finished: that would take hours
    button(page, "Run").click()
    wait_for(page, lambda: "Running" in status(page).inner_text() and step_of(page) >= 1)


def test_pause_holds_and_the_kernel_is_free_meanwhile(server, page):
    expect(page.get_by_text("kernel is free 42")).to_be_visible()
    button(page, "Pause").click()
    wait_for(page, lambda: "Paused" in status(page).inner_text())  # written after the button's name
    expect(button(page, "Resume")).to_be_visible()
    held = step_of(page)
    page.wait_for_timeout(1000)
    assert step_of(page) == held
    button(page, "Resume").click()
    wait_for(page, lambda: step_of(page) > held)
    # A cell runs while the network trains.
    last = page.locator(".jp-CodeCell").last
    prompt = last.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    prompt.click()
    page.keyboard.press("Control+Enter")
    wait_for(page, lambda: prompt.inner_text() not in ("[*]:", "[ ]:", before))
    assert "Running" in status(page).inner_text()


def test_a_lab_left_running_while_its_notebook_is_saved_closed_and_reopened_does_no_harm(server, page):
    address, folder = server
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "07_learning" in answer.url):
        page.keyboard.press("Control+s")
    saved = nbformat.read(folder / "07_learning_rate_lab.ipynb", as_version=4)
    assert saved.cells[-1].outputs  # it is no longer the file that was there before
    assert "widgets" not in saved.metadata
    open_and_run(page, address, "08_regularization_lab.ipynb")  # another notebook meanwhile
    button(page, "Run").click()
    wait_for(page, lambda: step_of(page) >= 1)
    button(page, "Stop").click()
    page.goto(f"{address}/lab/workspaces/07/tree/07_learning_rate_lab.ipynb?token={TOKEN}")
    page.locator(".jp-Notebook").first.wait_for()
    button(page, "Run").wait_for()
    wait_for(page, lambda: status(page).count() == 1)
    if "Running" in status(page).inner_text():
        button(page, "Stop").click()
    wait_for(page, lambda: "Running" not in status(page).inner_text())
    button(page, "Run").click()
    wait_for(page, lambda: "Running" in status(page).inner_text() and step_of(page) >= 1)
    button(page, "Stop").click()


def test_every_control_is_reached_by_tab_and_named(server, page):
    """Walk through the panel with the Tab key and collect the names that a screen reader would speak."""
    page.locator(".widget-dropdown select").first.focus()
    names = []
    for _ in range(16):
        names.append(page.evaluate(SPOKEN_NAME).strip())
        page.keyboard.press("Tab")
    wanted = ["preset", "learning rate, as a number", "schedule", "warm-up, share of steps", "batch size"]
    for name in [*wanted, "Run", "Pause", "Stop", "Reset", "Reveal", "Range test"]:
        assert name in names, (name, names)
    handle = page.locator(".noUi-handle").first
    handle.focus()
    before = handle.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    wait_for(page, lambda: handle.get_attribute("aria-valuetext") != before)


def test_restarting_the_kernel_in_mid_run_leaves_nothing_behind(server, page):
    button(page, "Run").click()
    wait_for(page, lambda: step_of(page) >= 1)
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    wait_for(page, lambda: status(page).count() == 1 and "Press Run." in status(page).inner_text(), 120)
    button(page, "Run").click()
    wait_for(page, lambda: step_of(page) >= 1)
    button(page, "Stop").click()
    wait_for(page, lambda: "Stopped" in status(page).inner_text())


def test_a_point_of_ones_own_appears_beside_the_measured_curves(server, page):
    open_and_run(page, server[0], "09_transfer_learning_lab.ipynb")
    before = picture(page)
    contestant = page.get_by_label("network or baseline")
    contestant.select_option("TF-IDF")
    button(page, "Run").click()
    wait_for(page, lambda: "Point 1: TF-IDF, 8 labels a queue" in status(page).inner_text())
    wait_for(page, lambda: picture(page) != before)  # drawn after the words are written
    contestant.select_option("pre-trained")
    button(page, "Run").click()
    wait_for(page, lambda: step_of(page) >= 1)
    button(page, "Stop").click()
    wait_for(page, lambda: "Stopped" in status(page).inner_text())
    assert "Point 2" not in status(page).inner_text()  # a run that was stopped is no measurement
