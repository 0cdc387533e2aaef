"""What the tests of the labs do with their hands: click, wait, and hold a run at a certain place."""

import threading
import time


def wait_for(condition, seconds=120.0):
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def click(lab, name):
    lab.buttons[name].click()


class Gate:
    """A place in another thread: `pass_through` tells that it was reached, and holds there until `open`."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def pass_through(self, *_):
        self.reached.set()
        assert self.opened.wait(120), "nobody opened the gate"

    def wait(self):
        assert self.reached.wait(120), "nobody came to the gate"

    def open(self):
        self.opened.set()
