"""A chat, headless: one session, one model, one reply at a time. Both chats on screen are made of this.

Knows nothing of screens or of processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lmlab import models
from lmlab.backends import Constraint, Failed, LoadSpec, ModelInfo, Ready, Status
from lmlab.errors import LmlabError, UsageError
from lmlab.lab import export
from lmlab.lab.answering import Answering
from lmlab.lab.asking import Asking
from lmlab.lab.attaching import Attaching
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.chat_presets import ChatPresets
from lmlab.lab.chat_prompts import ChatPrompts
from lmlab.lab.chooser import Chooser
from lmlab.lab.conversation import last_asked
from lmlab.lab.events import ChatEvent, Fetching, ModelFailed, Notice, SaveFailed, SelectorFailed
from lmlab.lab.model_slot import ModelSlot, Opener, OpenModel, Resolve
from lmlab.lab.presets import Presets
from lmlab.lab.sampling_words import value_list
from lmlab.models import ModelFile, Progress
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Session, Store, Turn
from lmlab.worker.messages import MOST_CANDIDATES

if TYPE_CHECKING:
    from lmlab.prompting import Approach

__all__ = ["Chat", "ChatEvent", "Fetching", "ModelFailed", "Notice", "Opener", "Resolve", "SaveFailed"]


class Chat(Asking, Attaching):
    """Methods belong to one thread, the front end's, and return at once.

    ``listener`` is called on other threads (the backend's, the one that fetches models), one event at a time. It must
    be quick, must not wait for the front end's thread, and gets an event before it is written to disk. Of each reply
    it gets exactly one Finished, Failed or BranchRefused, last; none when ``clear``, ``resume`` or ``close`` ended the reply.
    ``sampling`` and ``system`` go over the resumed session's, and these over the config's.
    """

    def __init__(
        self,
        *,
        store: Store,
        paths: Paths,
        config: Config,
        opener: Opener,
        listener: Callable[[ChatEvent], None],
        session: Session | None = None,
        sampling: SamplingParams | None = None,
        system: str | None = None,
        best_of: int = 1,
        selector: SelectorSpec | None = None,
        constraint: Constraint | None = None,
        load: LoadSpec | None = None,
        offline: bool = False,
        resolve: Resolve = models.resolve,
        fingerprint: Callable[[Path], str] = models.fingerprint,
        remember: Callable[[ModelFile, Paths], None] = models.remember,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.session = None
        self.system = config.system
        self._given = sampling or SamplingParams()
        self._config_sampling = config.sampling
        self.asked = self._given.merge(config.sampling)
        self.attachments = ()
        self.constraint = constraint
        self.store = store
        self._paths = paths
        self._remember = remember
        self._answering = Answering(store, listener, clock)
        self._tell = self._answering.tell
        spec = load or LoadSpec(path="")
        self._slot = ModelSlot(
            self,
            opener=opener,
            load=spec,
            resolve=resolve,
            fingerprint=fingerprint,
            paths=paths,
            config=config,
            offline=offline,
        )
        self._chooser = Chooser(
            opener=opener,
            load=spec,
            resolve=resolve,
            paths=paths,
            config=config,
            offline=offline,
            spec=selector,
            say=lambda text: self._tell(Notice(text)),
            fail=lambda error: self._tell(SelectorFailed(error)),
        )
        self.presets = ChatPresets(self, Presets(paths.presets), lambda text: self._tell(Notice(text)))
        self.prompts = ChatPrompts(paths.prompts)
        self.best_of = 1
        self.set_best_of(best_of)
        if session is not None:
            self.resume(session)
        if system is not None:
            self.set_system(system)

    # What there is

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The selected path, first message to leaf, the reply under way as far as it has come."""
        return self._answering.path

    @property
    def snapshots(self) -> Path:
        """The folder of prefixes that outlive the program."""
        return self._paths.snapshots

    @property
    def replying(self) -> bool:
        """Whether a reply is under way, or waits for the model."""
        return self._answering.reply is not None

    @property
    def model(self) -> ModelFile | None:
        current = self._slot.current
        return None if current is None else current.file

    @property
    def info(self) -> ModelInfo | None:
        current = self._slot.current
        return None if current is None else current.info

    @property
    def opening(self) -> bool:
        """Whether a model is being found or fetched."""
        return self._slot.opening

    @property
    def in_force(self) -> SamplingParams:
        """What the next token is drawn with: what was set, else what the model recommends, else the defaults."""
        return self._above_defaults().merge(DEFAULTS)

    def origin(self, name: str) -> Literal["set", "template", "model", "default"]:
        """Where the value of ``in_force`` comes from."""
        if getattr(self.asked, name) is not None:
            return "set"
        if getattr(self._template_sampling, name) is not None:
            return "template"
        return "default" if getattr(self._above_defaults(), name) is None else "model"

    # The model

    def open_model(self, ref: str | None) -> None:
        """Begin to find, fetch and load ``ref`` (None: as CLI.md says for no model) and return at once.

        Fetching, then Loading and Ready follow, or ModelFailed. The model open before stays until the new one's file
        is there. Raises UsageError while a model is replying.
        """
        reply = self._answering.reply
        if reply is not None and reply.model is not None:
            raise UsageError("a reply is under way: stop it first, then open the model")
        self._slot.open(ref)

    def on_progress(self, progress: Progress) -> None:
        self._tell(Fetching(progress))

    def on_open(self, model: OpenModel) -> None:
        if model.file.notice:
            self._tell(Notice(model.file.notice))
        if model.transcript is not None:
            self._tell(
                Notice(
                    f"{model.file.ref} is a base model: it continues text and follows no instructions. "
                    "The chat is written to it as a plain transcript."
                )
            )
        reply = self._answering.reply
        if reply is not None:
            self._dispatch(reply)

    def on_open_failed(self, error: LmlabError) -> None:
        self._tell(ModelFailed(error))
        current, reply = self._slot.current, self._answering.reply
        if current is not None:
            self._tell(Notice(f"{current.file.ref} is still open"))
        if reply is not None and reply.model is None:
            self._answering.hear(reply, Failed(reply.request_id, error))

    def on_status(self, model: OpenModel, status: Status) -> None:
        with self._answering.lock:
            if self._slot.current is not model:
                return
            first = model.info is None
            if isinstance(status, Ready):
                model.info = status.info
            self._tell(status)
            if isinstance(status, Ready) and first:
                if model.replaces and model.transcript is None:
                    self._tell(Notice(f"{model.file.ref} is open"))
                try:
                    self._remember(model.file, self._paths)
                except LmlabError as error:
                    self._tell(Notice(f"the next start will not know that {model.file.ref} was used last: {error}"))
                # Only now: two models that load at once would not know of each other's memory.
                self._chooser.prepare()

    # What the next reply is made with

    def set_sampling(self, name: str, value: Any) -> None:
        """Set a sampling parameter, or unset it with None; a reply under way follows at its next token."""
        self.set_asked(self.asked.with_value(name, value))

    def set_asked(self, asked: SamplingParams) -> None:
        """Set all that is asked for at once; a reply under way follows at its next token."""
        self.asked = asked
        reply = self._answering.reply
        if reply is not None:
            reply.follow(lambda: self.asked)

    @property
    def preset(self) -> str | None:
        """The name of the preset that draws as this chat does, if one does."""
        return self.presets.current

    def set_preset(self, name: str) -> None:
        """Draw as a preset does; a reply under way follows. Raises UsageError that says which there are."""
        self.presets.choose(name)

    def set_best_of(self, candidates: int) -> None:
        """Draw so many candidates for each reply from the next on. Raises UsageError."""
        if not 1 <= candidates <= MOST_CANDIDATES:
            raise UsageError(f"best of {candidates}: give a whole number from 1 to {MOST_CANDIDATES}")
        self.best_of = candidates
        self._slot.make_room(candidates)

    def set_selector(self, selector: SelectorSpec) -> None:
        """Choose by ``selector`` from the next reply on. A model that it names is opened in the background."""
        self._chooser.spec = selector
        if self.info is not None:
            self._chooser.prepare()

    def set_template(
        self, name: str | None, approach: Approach | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        """Put the next messages through a prompt template; None sends them as they are typed.

        Raises UsageError or PromptError for a template that cannot be used so.
        """
        self.prompts.choose(name, approach, variables)

    def set_system(self, text: str | None) -> None:
        """Set the system prompt from the next message on; None or nothing is none."""
        system = text or None
        if self.session is not None:
            self.store.set_system(self.session.id, system)
            self.session = replace(self.session, system=system)
        self.system = system

    # The session

    def clear(self) -> None:
        """Begin a new, empty session; the old one stays in the store, with what had arrived of a reply."""
        self._answering.leave()
        self.session, self._answering.turns, self.attachments = None, (), ()
        self._pruned.clear()

    def resume(self, session: Session) -> None:
        """Go on with a session of the store, with the sampling that its last reply ended with."""
        turns = self.store.path(session.id)
        self._answering.leave()
        self.session, self._answering.turns, self.attachments = session, turns, ()
        self._pruned.clear()
        self.system = session.system
        asked = last_asked(turns)
        if asked is None:
            return
        before, self.asked = self.asked, self._given.merge(asked).merge(self._config_sampling)
        if changed := [name for name, _, _ in before.changes(self.asked)]:
            self._tell(Notice(f"sampling as this session had it: {value_list(self.asked, changed)}"))

    def save(self, path: str, overwrite: bool = False) -> Path:
        """Write the chat to ``path``: ``.md`` is the transcript, ``.json`` everything. Return where it is.

        Raises UsageError when there is nothing to save or the file exists, StoreError when it cannot be written.
        """
        if self.session is None:
            raise UsageError("there is nothing to save yet: send a message first")
        # Of the store: what is known here does not follow the path that is selected.
        session = self.store.session(self.session.id)
        tree, chosen = self.store.turns(session.id), self.store.chosen(session.id)
        return export.save(path, session, self.turns, tree, chosen, overwrite)

    def close(self) -> None:
        """End the reply, the model and any fetching; the store stays open."""
        self._answering.leave()
        self._answering.flush()
        self._chooser.close()
        self._slot.close()

    @property
    def _template_sampling(self) -> SamplingParams:
        reply = self._answering.reply
        if reply is None:
            return self.prompts.sampling
        return reply.prompt.sampling if reply.prompt is not None else SamplingParams()

    def _above_defaults(self) -> SamplingParams:
        model = self._slot.current
        asked = self.asked.merge(self._template_sampling)
        return asked if model is None else model.asked_of(asked).merge(model.recommended)
