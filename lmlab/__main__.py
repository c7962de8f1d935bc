"""Where the program starts: ``lmlab`` and ``python -m lmlab``.

Asking for the version imports no command; everything else goes to the command line in ``lmlab.cli``.
"""

from __future__ import annotations

import os
import sys

from lmlab import __version__
from lmlab.cli import report, streams


def main() -> int:
    """Run the command line in ``sys.argv`` and return the exit code."""
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
