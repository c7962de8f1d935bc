"""Where the program starts: ``lmlab`` and ``python -m lmlab``.

Asking for the version imports no command; everything else goes to the command line in ``lmlab.cli``.
"""

from __future__ import annotations

import gc
import os
import sys

from lmlab import __version__
from lmlab.cli import report, streams

GARBAGE = (5_000, 10, 100)
"""How often Python looks for garbage in cycles, as gc.set_threshold has it. With Python's own numbers it looks through everything
every few seconds while a reply streams, which takes 0.1 s, and no key is taken meanwhile."""


def main() -> int:
    """Run the command line in ``sys.argv`` and return the exit code."""
    gc.set_threshold(*GARBAGE)
    os.umask(0o077)
    arguments = sys.argv[1:]
    report.install_hooks()
    if arguments in (["--version"], ["-V"]):
        return report.supervise(_version)

    def command() -> int:
        from lmlab.cli.app import run_command

        return run_command(arguments)

    return report.supervise(command)


def _version() -> int:
    streams.Stdout().line(f"lmlab {__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
