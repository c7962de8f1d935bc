"""What tuning can find: how a model is loaded so that it is faster. Knows nothing of how it is found or kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lmlab.worker.messages import KvType, LoadSpec

WHOLE_TYPES = ("f32", "f16", "bf16")
"""KV types whose V cache needs no flash attention."""


@dataclass(frozen=True, slots=True)
class Settings:
    """None leaves a thing as it is without tuning. ``kv_type`` is of keys and values alike."""

    threads: int | None = None
    flash_attention: bool | None = None
    ubatch: int | None = None
    kv_type: KvType | None = None

    @property
    def changes_output(self) -> bool:
        """Whether replies differ by more than rounding."""
        return self.kv_type is not None

    def over(self, spec: LoadSpec, *, kv_said: bool) -> LoadSpec:
        """Return ``spec`` with these settings where it leaves things open. ``kv_said``: its KV types were asked for.

        What cannot be together with something that was asked for stays out: a quantized V cache needs flash attention.
        """
        used = replace(
            spec,
            threads=self.threads if spec.threads is None else spec.threads,
            ubatch=self.ubatch if spec.ubatch is None else spec.ubatch,
        )
        if self.kv_type is not None and not kv_said and spec.flash_attention is not False:
            used = replace(used, key_type=self.kv_type, value_type=self.kv_type)
        if spec.flash_attention is None and (self.flash_attention or used.value_type in WHOLE_TYPES):
            used = replace(used, flash_attention=self.flash_attention)
        return used

    def in_force(self, spec: LoadSpec) -> Settings:
        """Return those of these settings that ``spec`` has."""
        return Settings(
            threads=self.threads if spec.threads == self.threads else None,
            flash_attention=self.flash_attention if spec.flash_attention is self.flash_attention else None,
            ubatch=self.ubatch if spec.ubatch == self.ubatch else None,
            kv_type=self.kv_type if (spec.key_type, spec.value_type) == (self.kv_type, self.kv_type) else None,
        )

    def words(self) -> str:
        """Return them as a person would say them, empty for none."""
        parts = []
        if self.threads is not None:
            parts.append("1 thread" if self.threads == 1 else f"{self.threads} threads")
        if self.flash_attention is not None:
            parts.append(f"flash attention {'on' if self.flash_attention else 'off'}")
        if self.ubatch is not None:
            parts.append(f"ubatch {self.ubatch}")
        if self.kv_type is not None:
            parts.append(f"KV cache {self.kv_type}")
        return ", ".join(parts)


def found_in(spec: LoadSpec, base: LoadSpec) -> Settings:
    """Return in what ``spec``, which tuning made of ``base``, differs from it."""
    return Settings(
        threads=spec.threads if spec.threads != base.threads else None,
        flash_attention=spec.flash_attention if spec.flash_attention != base.flash_attention else None,
        ubatch=spec.ubatch if spec.ubatch != base.ubatch else None,
        kv_type=spec.key_type if spec.key_type != base.key_type else None,
    )
