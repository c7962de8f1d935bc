"""lmlab's own two themes: greys and one accent. Every theme that comes with Textual works too."""

from __future__ import annotations

from textual.theme import Theme

from lmlab.errors import UsageError

DARK = Theme(
    name="lmlab-dark",
    primary="#6cb6a6",
    secondary="#6cb6a6",
    accent="#6cb6a6",
    warning="#d8a657",
    error="#e67e80",
    success="#6cb6a6",
    foreground="#d6d9dc",
    background="#15181b",
    surface="#1d2125",
    panel="#262b30",
    dark=True,
    variables={"text-muted": "#8b949c", "block-cursor-text-style": "none"},
)
LIGHT = Theme(
    name="lmlab-light",
    primary="#1f7a6b",
    secondary="#1f7a6b",
    accent="#1f7a6b",
    warning="#8a5a00",
    error="#b3261e",
    success="#1f7a6b",
    foreground="#22272b",
    background="#fbfbfa",
    surface="#f0f1f0",
    panel="#e3e5e4",
    dark=False,
    variables={"text-muted": "#66707a", "block-cursor-text-style": "none"},
)

_ALIASES = {"dark": DARK.name, "light": LIGHT.name}


def theme_name(wanted: str | None, available: dict[str, Theme]) -> str:
    """Return the name of the theme a person asked for; None is the dark one. Raises UsageError that lists the names."""
    if wanted is None:
        return DARK.name
    name = _ALIASES.get(wanted, wanted)
    if name not in available:
        raise UsageError(f"no theme is called {wanted!r}: there are dark, light, {', '.join(sorted(available))}")
    return name
