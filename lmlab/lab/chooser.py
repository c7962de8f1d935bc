"""What chooses among the candidates of a chat's replies, and the models that it needs. Knows nothing of replies."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.errors import EngineStopped, LmlabError
from lmlab.lab.best_of import DEFAULT_SELECTOR, Selector, SelectorSpec, open_selector
from lmlab.lab.model_slot import Opener, Resolve
from lmlab.lab.selector_models import SelectorModels
from lmlab.models import ModelFile, Progress
from lmlab.models.progress import size_text
from lmlab.settings import Config, Paths


class Chooser:
    """``spec`` is what chooses from the next reply on. A model that it names is opened once and stays until ``close``.

    ``say`` and ``fail`` are called on another thread: with a sentence, or with why the model could not be opened.
    """

    def __init__(
        self,
        *,
        load: LoadSpec,
        resolve: Resolve,
        opener: Opener,
        paths: Paths,
        config: Config,
        offline: bool,
        spec: SelectorSpec | None,
        say: Callable[[str], None],
        fail: Callable[[LmlabError], None],
    ) -> None:
        self.spec = spec or DEFAULT_SELECTOR
        self._resolve = resolve
        self._opener = opener
        self._paths = paths
        self._config = config
        self._offline = offline
        self._say = say
        self._fail = fail
        self._closed = threading.Event()
        self._fetching: str | None = None
        self._prepared: set[SelectorSpec] = set()
        self._models = SelectorModels(load, resolve=self._find, opener=self._start)

    def prepare(self) -> None:
        """Begin to open the model that ``spec`` names, unless that was done before; return at once."""
        spec, ref = self.spec, self.spec.model
        if ref is not None and spec not in self._prepared:
            self._prepared.add(spec)
            threading.Thread(target=self._prepare, args=(spec, ref), name="lmlab-chooser", daemon=True).start()

    def open(self, spec: SelectorSpec, own: Backend) -> Selector:
        """Return the selector; blocks while a model that it names is not there yet. Raises LmlabError."""
        return open_selector(spec, own=own, open_model=self._models.open, template_folder=self._paths.prompts)

    def close(self) -> None:
        """End the models and whatever is on its way."""
        self._closed.set()
        self._models.close()

    def _prepare(self, spec: SelectorSpec, ref: str) -> None:
        try:
            self._models.open(ref, spec.kind == "reward")
        except LmlabError as error:
            self._prepared.discard(spec)
            if not self._closed.is_set():
                self._fail(error)
        else:
            self._say(f"{ref} is open: it chooses among candidates")

    def _find(self, ref: str) -> ModelFile:
        return self._resolve(
            ref,
            paths=self._paths,
            config=self._config,
            offline=self._offline,
            progress=self._tell_once,
            cancelled=self._closed.is_set,
        )

    def _tell_once(self, progress: Progress) -> None:
        if progress.label != self._fetching and progress.total:
            self._fetching = progress.label
            self._say(f"fetching {progress.label}, {size_text(progress.total)}, in the background")

    def _start(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        # Asked under the lock that closing the models takes: none is started after that.
        if self._closed.is_set():
            raise EngineStopped("the chat was closed")
        return self._opener(spec, on_status)
