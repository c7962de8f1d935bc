"""The files that go with a chat's next message, and how many tokens they make. Knows nothing of how files are read."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.backends import Encoded, Event, EventSink, ModelInfo
from lmlab.lab import documents
from lmlab.lab.documents import Document
from lmlab.lab.events import ChatEvent, Notice
from lmlab.store import Attachment, Turn


class Attaching:
    """The part of a chat that takes files; ``Chat`` has what is declared here.

    A file stays in the conversation with the message that it went with: it is read once and can be asked about from
    then on, and the model does not read its tokens again while they are cached.
    """

    attachments: tuple[Attachment, ...]
    _tell: Callable[[ChatEvent], None]

    @property
    def info(self) -> ModelInfo | None:
        raise NotImplementedError

    @property
    def turns(self) -> tuple[Turn, ...]:
        raise NotImplementedError

    def encode(self, text: str, sink: EventSink) -> str:
        raise NotImplementedError

    def attach(self, path: str) -> str:
        """Read a text or PDF, to go with the next message; return what came of it. Raises UsageError that says what is
        wrong with it.

        A PDF takes its time: ``documents.takes_time`` says so, and ``take`` is for who reads it on another thread.
        """
        return self.take(documents.read(path))

    def take(self, document: Document) -> str:
        """Let ``document`` go with the next message, unless it is there already; return in words which.

        A Notice says how many tokens that makes, if a model is loaded.
        """
        if document.attachment in self.attachments:
            return f"{document}, is attached already, and has not changed"
        if document.attachment in self.documents:
            return f"{document}, is in the conversation already, and has not changed: ask about it"
        self.attachments = (*self.attachments, document.attachment)
        self.measure()
        return f"{document}, goes with your next message"

    def detach(self) -> None:
        """Let the next message go without files."""
        self.attachments = ()

    @property
    def documents(self) -> tuple[Attachment, ...]:
        """The files in the conversation so far."""
        return tuple(file for turn in self.turns for file in turn.attachments)

    def measure(self) -> None:
        """Ask how many tokens the model would see now, files included; a Notice says it."""
        info = self.info
        if info is None:
            return
        context, waiting = info.context, bool(self.attachments)

        def tell(event: Event) -> None:
            if isinstance(event, Encoded):
                self._tell(Notice(_measured(len(event.tokens), event.cached, context, waiting)))

        self.encode("", tell)


def _measured(tokens: int, cached: int, context: int, waiting: bool) -> str:
    what = "with what is attached the prompt has" if waiting else "the prompt has"
    if tokens >= context:
        drop = "/read - drops what is attached" if waiting else "/clear begins anew"
        return f"{what} {tokens:,} tokens and the context holds {context:,}: {drop}; --ctx-size makes room"
    known = f"{cached:,} of them cached" if cached else "none of them cached yet"
    return f"{what} {tokens:,} tokens ({context:,} fit), {known}"
