"""A model's vocabulary and template, loaded into the test's own process, and what tests want to know of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmlab.llama import Model
from lmlab.llama.model import Vocabulary
from lmlab.worker.prompt import PromptEncoder
from lmlab.worker.prompts import ChatPrompt, Message, Role
from lmlab.worker.template import ChatTemplate


@dataclass(frozen=True)
class Reader:
    """A model's vocabulary and template, loaded into this process."""

    model: Model
    vocabulary: Vocabulary
    template: ChatTemplate | None
    encoder: PromptEncoder

    def spell(self, ids: list[int]) -> str:
        """Return the text of ``ids``, special tokens too."""
        return b"".join(self.vocabulary.piece(i, special=True) for i in ids).decode()

    def special(self, ids: list[int]) -> list[str]:
        """Return the special tokens among ``ids``, in order."""
        return [self.vocabulary.text(i) for i in ids if not self.vocabulary.piece(i)]

    def chat(
        self, *turns: tuple[Role, str] | tuple[Role, str, tuple[int, ...]], template: str | None = None
    ) -> list[int]:
        """Return the ids of a chat."""
        return self.encoder.encode(ChatPrompt(tuple(Message(*turn) for turn in turns), template))


def read(path: Path) -> Reader:
    model = Model(str(path), gpu_layers=0, progress=lambda _fraction: None)
    vocabulary = model.vocabulary
    special = {"bos_token": vocabulary.text(vocabulary.bos), "eos_token": vocabulary.text(vocabulary.eos)}
    template = None if model.chat_template is None else ChatTemplate(model.chat_template, special)
    return Reader(model, vocabulary, template, PromptEncoder(vocabulary, template, special))
