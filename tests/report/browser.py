"""Headless Chromium through ChromeDriver's plain HTTP interface; no package is needed."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-proxy-server",
)


class Browser:
    """One open Chromium with one tab."""

    def __init__(self, port: int, profile: Path, *, width: int, height: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        # A proxy of the environment must not come between this process and its own child.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        # A headless window cannot be as narrow as a phone, but emulated metrics can.
        metrics = {"width": width, "height": height, "pixelRatio": 1.0, "mobile": width < 500}
        options = {
            "binary": CHROMIUM,
            "args": [*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"],
            "mobileEmulation": {"deviceMetrics": metrics},
        }
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
        session = self._call("POST", "/session", {"capabilities": wanted})
        self._base += f"/session/{session['sessionId']}"

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers, method=method)
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        """Load a file and wait until it is complete; forget what was logged before."""
        # A headless Chromium starts with its own page of new tabs, which asks for much.
        self._call("POST", "/url", {"url": "about:blank"})
        self.console(), self.requests()
        self._call("POST", "/url", {"url": page.as_uri()})
        deadline = time.monotonic() + 30
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{page.name} was not complete after 30 seconds")
            time.sleep(0.05)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; the page's own policy does not hold for it."""
        arguments = {"expression": expression, "returnByValue": True}
        body = {"cmd": "Runtime.evaluate", "params": arguments}
        return self._call("POST", "/goog/cdp/execute", body)["result"].get("value")

    def emulate(self, *, scheme: str = "light", media: str = "screen") -> None:
        """Show pages as on a screen or on paper, to readers who prefer a light or a dark one."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def scripts(self, *, enabled: bool) -> None:
        """Let the scripts of pages run, or not."""
        self._command("Emulation.setScriptExecutionDisabled", {"value": not enabled})

    def press(self, key: str) -> None:
        """Press and release Enter or the space bar where the focus is."""
        text, code = {"Enter": ("\r", 13), " ": (" ", 32)}[key]
        common = {"key": key, "windowsVirtualKeyCode": code}
        self._command("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **common})
        self._command("Input.dispatchKeyEvent", {"type": "keyUp", **common})

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def console(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The addresses that the page asked for since the last call."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        parameters = {"captureBeyondViewport": True, "format": "png"}
        body = {"cmd": "Page.captureScreenshot", "params": parameters}
        path.write_bytes(base64.b64decode(self._call("POST", "/goog/cdp/execute", body)["data"]))

    def quit(self) -> None:
        """Close the tab and the browser."""
        self._call("DELETE", "")


@contextmanager
def open_browser(profile: Path, *, width: int, height: int = 844) -> Iterator[Browser]:
    """A browser whose processes end with the context."""
    command = [str(CHROMEDRIVER), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            ports = (re.search(r"successfully on port (\d+)", line) for line in driver.stdout)
            port = int(next(match for match in ports if match)[1])
            browser = Browser(port, profile, width=width, height=height)
            try:
                yield browser
            finally:
                browser.quit()
        finally:
            driver.terminate()
