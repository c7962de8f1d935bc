"""Numbers, rates and bars as words of a fixed width. Knows nothing of what they count."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float, width: int) -> str:
    """Return a bar of ``width`` cells between two edges, ``fraction`` of it full."""
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    whole, rest = divmod(eighths, 8)
    full = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return f"▕{full.ljust(width, '░')}▏"


def rate(tokens_per_s: float) -> str:
    """Return tokens per second with about three digits: ``118``, ``11.8``."""
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 99.5 else f"{tokens_per_s:.1f}"


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s" if value < 99.5 else f"{value:,.0f} s"


def time_left(value: float) -> str:
    """Return a duration to come, no more exact than it is known."""
    if value < 60:
        return f"{max(1, round(value))} s left"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02} s left" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min left"


def megabytes(done: int, total: int | None) -> str:
    if total is None:
        return f"{done / 1e6:,.0f} MB"
    whole = f"{total / 1e6:,.0f}"
    return f"{done / 1e6:,.0f}".rjust(len(whole)) + f" / {whole} MB"


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def break_between_facts(line: str, width: int) -> str:
    """Return ``line`` with line breaks in place of those `` · `` that would make it wider than ``width``."""
    lines: list[str] = []
    for fact in line.split(" · "):
        if lines and len(lines[-1]) + 3 + len(fact) <= width:
            lines[-1] += f" · {fact}"
        else:
            lines.append(fact)
    return "\n".join(lines)
