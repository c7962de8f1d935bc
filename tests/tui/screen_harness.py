"""The chat app at a desk: a real store and chat, a fake backend, a clock that stands still, and what is on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fake_models import fake_header
from textual.pilot import Pilot

from lmlab.backends import LoadSpec, ModelInfo, StatusSink
from lmlab.backends.fake import FakeBackend, fake_info
from lmlab.errors import LmlabError, ModelNotFound
from lmlab.lab.chat import Chat
from lmlab.lab.events import ChatEvent
from lmlab.models import GgufHeader, ModelFile
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Reply, Session, Store
from lmlab.tui.app import ChatApp
from lmlab.tui.history import History
from lmlab.tui.inbox import Inbox
from lmlab.tui.keymap import Keymap

_PATIENCE_S = 20.0


def header() -> GgufHeader:
    return fake_header(
        name="SmolLM2",
        parameters=134_515_008,
        quantization="Q4_1",
        block_count=30,
        embedding_length=576,
        size=98_000_000,
        tensor_count=272,
    )


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """``ref`` is what the model is called; ``error`` is why it cannot be found. ``hold`` leaves it unfound."""

    folder: Path
    ref: str = "smollm2"
    error: LmlabError | None = None
    info: ModelInfo = field(default_factory=fake_info)
    recommended: SamplingParams = field(default_factory=SamplingParams)
    theme: str | None = None
    model_ref: str | None = None
    model_names: tuple[str, ...] = ("smollm2", "gemma3-270m")
    load_at_once: bool = True
    backends: list[FakeBackend] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.paths = Paths(self.folder / "config.toml", self.folder, self.folder / "logs")
        self.store = Store(self.paths.database)
        self.inbox: Inbox[ChatEvent] = Inbox()
        self.session: Session | None = None
        self.info = replace(self.info, recommended=self.recommended)

    @property
    def backend(self) -> FakeBackend:
        return self.backends[-1]

    def tell(self, *events: ChatEvent) -> None:
        """Say something to the app as the chat would."""
        for event in events:
            self.inbox.put(event)

    def remember_turns(self, count: int, text: str = "message {}") -> Session:
        """Fill the store with a session of ``count`` questions, each with a reply."""
        self.session = self.store.create_session()
        parent: int | None = None
        with self.store.transaction():
            for number in range(count):
                question = self.store.add_turn(self.session.id, parent, text.format(number))
                reply = Reply(status="done", finish_reason="stop", model="smollm2")
                parent = self.store.add_turn(self.session.id, question.id, f"reply {number}", reply=reply).id
        return self.session

    def app(self, keys: Keymap | None = None) -> ChatApp:
        chat = Chat(
            store=self.store,
            paths=self.paths,
            config=Config(),
            opener=self._open,
            listener=self.inbox.put,
            session=self.session,
            resolve=self._resolve,
            fingerprint=lambda path: "fingerprint",
            remember=lambda model, paths: None,
            clock=self.clock,
        )
        app = ChatApp(
            chat,
            self.inbox,
            History(self.paths.history),
            model_ref=self.model_ref,
            model_names=self.model_names,
            theme=self.theme,
            keys=keys,
            clock=self.clock,
        )
        app.prompt.cursor_blink = False
        return app

    @asynccontextmanager
    async def run(self, size: tuple[int, int] = (80, 24), keys: Keymap | None = None) -> Any:
        """The app with the model found and, if it loads at once, loaded."""
        app = self.app(keys)
        async with app.run_test(size=size) as pilot:
            if self.error is None:
                await self.wait_until(pilot, lambda: bool(self.backends))
                if self.load_at_once:
                    self.backend.ready()
                    await self.wait_until(pilot, lambda: "context" in screen_text(app))
            yield pilot
        app.chat.close()
        self.store.close()

    async def wait_until(self, pilot: Pilot[Any], predicate: Callable[[], bool]) -> None:
        """Let the app work until ``predicate`` holds."""
        deadline = time.monotonic() + _PATIENCE_S
        while not predicate():
            assert time.monotonic() < deadline, f"it did not come to pass; on the screen:\n{screen_text(pilot.app)}"
            await pilot.pause()

    async def send(self, pilot: Pilot[Any], text: str) -> None:
        """Type ``text``, press Enter, and wait until the chat has it."""
        app = pilot.app
        assert isinstance(app, ChatApp)
        app.prompt.insert(text)
        await pilot.press("enter")
        await self.wait_until(pilot, lambda: bool(self.backend.running))

    async def settle(self, pilot: Pilot[Any]) -> None:
        """Let the app show everything that it was told."""
        app = pilot.app
        assert isinstance(app, ChatApp)
        await self.wait_until(pilot, lambda: self.inbox.empty)
        self.clock.now += 1.0
        app.catch_up()
        await pilot.pause()

    def _open(self, spec: LoadSpec, on_status: StatusSink) -> FakeBackend:
        self.backends.append(FakeBackend(spec, on_status, info=self.info))
        return self.backend

    def _resolve(self, ref: str | None, **_: Any) -> ModelFile:
        if self.error is not None:
            raise self.error
        if ref == "missing":
            raise ModelNotFound("no model is called 'missing'")
        return ModelFile(ref or self.ref, Path(f"/models/{self.ref}.gguf"), header(), None)


def screen_text(app: Any) -> str:
    """What is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)
