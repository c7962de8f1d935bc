"""A program: reads a pattern, then texts, and answers each with one byte: READY, then FOUND or ABSENT.

Run by path in a bare interpreter, so that it starts fast and can be killed. Each text comes as its length in bytes, a
newline, and itself as UTF-8. Its argument is how many seconds one search may take before it ends by itself.
"""

from __future__ import annotations

import re
import signal
import sys

READY, FOUND, ABSENT = b".", b"1", b"0"


def main() -> None:
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    pattern: re.Pattern[str] | None = None
    # A parent that was killed cannot end it.
    longest = int(sys.argv[1])
    while header := incoming.readline():
        text = incoming.read(int(header)).decode("utf-8", "surrogatepass")
        if pattern is None:
            pattern = re.compile(text)
            answer = READY
        else:
            if sys.platform != "win32":
                signal.alarm(longest)
            answer = FOUND if pattern.search(text) else ABSENT
            if sys.platform != "win32":
                signal.alarm(0)
        outgoing.write(answer)
        outgoing.flush()


if __name__ == "__main__":
    main()
