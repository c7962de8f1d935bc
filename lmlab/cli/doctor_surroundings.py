"""What the command line stands in: variables of the environment, the terminal, and the shell's completion.

Looks and changes nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import typer

from lmlab.cli.options import SamplingOptions
from lmlab.cli.streams import is_terminal, shows_colours
from lmlab.errors import UsageError
from lmlab.lab.doctor.finding import Finding
from lmlab.terminal_text import one_line

SETTINGS = "settings"
TERMINAL = "terminal"

# Read by other means than an option of their own name.
_NOT_OPTIONS = {"LMLAB_HOME", "LMLAB_MODEL", "LMLAB_STOP", "LMLAB_LORA", "LMLAB_VAR", "LMLAB_WHERE", "LMLAB_SCORE"}
# Set by lmlab itself for the programs it starts, and by its tests.
_NOT_OPTIONS |= {"LMLAB_ANSWER", "LMLAB_CANDIDATE", "LMLAB_PROMPT", "LMLAB_TEST_MODELS"}
_OTHERS = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "OLLAMA_MODELS", "GLIBC_TUNABLES", "OMP_NUM_THREADS"),
    *("OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES"),
)
_LEAST_COLUMNS, _LEAST_LINES = 80, 24
_SCRIPTS = {
    "bash": ".bash_completions/lmlab.sh",
    "zsh": ".zfunc/_lmlab",
    "fish": ".config/fish/completions/lmlab.fish",
}


def variables(program: Any, loading: UsageError | None, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield a finding for the variables that apply, and one for each that cannot.

    ``program`` is the whole command line, which knows every option; ``loading`` is what is wrong with those of loading.
    """
    known = _NOT_OPTIONS | set(_variables_of(program))
    ours = sorted(name for name in environ if name.startswith("LMLAB_"))
    shown = [f"{name}={one_line(environ[name], 60)}" for name in ours if name in known]
    shown += [f"{name}={one_line(environ[name], 60)}" for name in _OTHERS if name in environ]
    # A secret: that there is one is all that is said.
    shown += ["HF_TOKEN is set"] if environ.get("HF_TOKEN") else []
    values = {name: environ[name] for name in ours}
    yield Finding(SETTINGS, "variables", "ok", ", ".join(shown) or "none is set", values=values)
    for error in (loading, _sampling_error(environ)):
        if error is not None:
            advice = "correct that variable, or unset it"
            yield Finding(SETTINGS, "variables", "broken", one_line(str(error), 300), advice)
    for name in ours:
        if name not in known:
            text = f"{name} is set, and no option is called so: it does nothing"
            yield Finding(SETTINGS, "variables", "warning", text, f"unset {name}")


def terminal(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    if not is_terminal(sys.stdout):
        yield Finding(TERMINAL, "terminal", "ok", "stdout is none: plain lines, without colours")
    else:
        yield from _screen(environ)
    yield _completion(environ)


def _screen(environ: Mapping[str, str]) -> Iterator[Finding]:
    columns, lines = shutil.get_terminal_size()
    encoding = str(sys.stdout.encoding)
    colours = "in colour" if shows_colours(environ) else "without colours"
    text = f"{environ.get('TERM') or 'TERM is not set'}, {columns} by {lines}, {encoding}, {colours}"
    values = {"columns": columns, "lines": lines, "encoding": encoding, "colours": shows_colours(environ)}
    advice = None
    if encoding.lower().replace("-", "") != "utf8":
        text += ": letters outside it are shown as codes"
        advice = "set LANG=C.UTF-8, or PYTHONUTF8=1 on Windows"
    elif columns < _LEAST_COLUMNS or lines < _LEAST_LINES:
        text += ": small for the full-screen chat"
        advice = f"make it {_LEAST_COLUMNS} by {_LEAST_LINES}, or use lmlab chat --plain"
    yield Finding(TERMINAL, "terminal", "note" if advice else "ok", text, advice, values)


def _completion(environ: Mapping[str, str]) -> Finding:
    shell = PurePath(environ.get("SHELL", "")).name
    if shell not in _SCRIPTS:
        text = f"not looked for: the shell is {shell or 'not known'}"
        return Finding(TERMINAL, "completion", "ok", text)
    script = Path.home() / _SCRIPTS[shell]
    if script.is_file():
        return Finding(TERMINAL, "completion", "ok", f"installed for {shell}")
    return Finding(TERMINAL, "completion", "note", f"not installed for {shell}", "lmlab --install-completion")


def _variables_of(command: Any) -> Iterator[str]:
    for param in command.params:
        named = param.envvar or ()
        yield from [named] if isinstance(named, str) else named
    for inner in getattr(command, "commands", {}).values():
        yield from _variables_of(inner)


def _sampling_error(environ: Mapping[str, str]) -> UsageError | None:
    """Return what is wrong with the variables that say how to sample, which no option of this command does."""
    given: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(SamplingOptions, include_extras=True).items():
        info = next(part for part in hint.__metadata__ if isinstance(part, typer.models.OptionInfo))
        named = [variable for variable in info.envvar or () if environ.get(variable)]
        if named:
            given[name] = environ[named[0]]
    try:
        SamplingOptions(**given).params()
    except UsageError as error:
        return error
    return None
