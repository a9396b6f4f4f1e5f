"""A browser steered over its debugging pipe: open a page, ask it a question until the answer is yes.

Source: Chrome DevTools Protocol, `--remote-debugging-pipe` (NUL-ended JSON on file descriptors 3 and 4).
"""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import time
from typing import Any

DEADLINE_S = 90


class Browser:
    """One headless browser.

    Args:
        command: its command line without the debugging flag.
    """

    def __init__(self, command: list[str]) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The shell puts our pipes where the browser looks for them.
        line = f"exec {shlex.join([*command, '--remote-debugging-pipe', 'about:blank'])} 3<&{theirs_in} 4>&{theirs_out}"
        self._process = subprocess.Popen(
            ["bash", "-c", line], pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number = 0
        self._rest = b""
        self._session = ""

    def open(self, address: str) -> None:
        """Open a page in a new tab."""
        target = self._call("Target.createTarget", {"url": address})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def go(self, address: str) -> None:
        """Lead the tab to another page."""
        self._call("Page.navigate", {"url": address}, self._session)

    def narrow(self, width: int) -> None:
        """Make the tab as wide as a phone."""
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        self._call("Emulation.setDeviceMetricsOverride", size, self._session)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        answer = self._call("Runtime.evaluate", {"expression": expression, "returnByValue": True}, self._session)
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the expression's first true value; the last one where the time is over."""
        end = time.monotonic() + DEADLINE_S
        value = None
        while not value and time.monotonic() < end:
            try:
                value = self.ask(expression)
            except RuntimeError:
                value = None  # between two pages there is none to ask
            time.sleep(0.0 if value else 0.1)
        return value

    def close(self) -> None:
        """End the browser."""
        try:
            self._send("Browser.close", {}, "")
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(20)
        finally:
            os.close(self._in)
            os.close(self._out)

    def _send(self, method: str, parameters: dict[str, Any], session: str) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _call(self, method: str, parameters: dict[str, Any], session: str = "") -> Any:
        number = self._send(method, parameters, session)
        end = time.monotonic() + DEADLINE_S
        while True:
            while b"\0" not in self._rest:
                if not select.select([self._in], [], [], max(end - time.monotonic(), 0))[0]:
                    raise TimeoutError(f"the browser does not answer {method}")
                chunk = os.read(self._in, 65536)
                if not chunk:
                    raise EOFError("the browser has ended")
                self._rest += chunk
            message, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(message)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
