"""``lmlab bench --tune``: what is asked for, shown while it is looked for, and kept. Knows nothing of how it is found."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from lmlab.cli import report
from lmlab.cli.bench_tune_options import TuneOptions
from lmlab.cli.bench_tune_screen import TuneScreen
from lmlab.cli.interrupt import endings_raised, first_interrupt
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.options import GeneralOptions
from lmlab.errors import ModelError, UsageError
from lmlab.settings import Config, Paths, load_config, private_folder

if TYPE_CHECKING:
    from lmlab.backends import LoadSpec
    from lmlab.lab.divergence import Divergence
    from lmlab.lab.tuning.tune import Tuning, Wanted
    from lmlab.models import ModelFile

_USUAL_S = 180.0
_FOLDER = ".tune-"


def tune(
    variants: list[str],
    asked: TuneOptions,
    load: LoadOptions,
    general: GeneralOptions,
    *,
    seconds: float | None,
    as_json: bool,
) -> int:
    """Tune the one model that is named, or forget what was found for it, and return the exit code."""
    from lmlab.models import resolve

    ref, spec = _ref(variants), _spec(load)
    objective, allowed, types = asked.wanted(), asked.allowed(), asked.weights()
    paths = Paths.find()
    config = load_config(paths.config)
    with closing(TuneScreen(general.quiet, as_json)) as screen, endings_raised():
        model = resolve(ref, paths=paths, config=config, offline=general.offline, progress=screen.fetching)
        if model.notice:
            screen.say(model.notice)
        if asked.forget:
            return _forget(model, paths, screen)
        from lmlab.lab.tuning.tune import Wanted

        if asked.quantize is not None and model.header.quantization in types:
            screen.say(f"{model.header.quantization} is left out: {model.ref} has it already")
        wanted = Wanted(
            base=replace(spec, path=str(model.path)),
            objective=objective,
            seconds=seconds or _USUAL_S,
            context=_context(spec, model),
            kv_said=load.kv_type is not None,
            allowed=allowed,
            quantization=model.header.quantization,
        )
        job = _Job(model, wanted, paths, config, screen)
        with first_interrupt(lambda: job.stopped.append(True)):
            return job.run(tuple(kind for kind in types if kind != model.header.quantization))


def _ref(variants: list[str]) -> str | None:
    from lmlab.lab.variant import Variant, parse_variant

    if len(variants) > 1:
        raise UsageError(f"--tune is for one model, and {len(variants)} are named: tune one after the other")
    if not variants:
        return None
    variant = parse_variant(variants[0])
    if variant != Variant(variant.ref, variant.label):
        raise UsageError(f"--tune {variants[0]}: what is found is for the model, whatever it is asked: name it alone")
    return variant.ref


def _spec(load: LoadOptions) -> LoadSpec:
    spec = load.spec()
    if spec.deterministic:
        raise UsageError("--deterministic uses nothing that tuning finds, for it changes rounding: leave it out")
    if spec.draft is not None:
        raise UsageError("--tune measures random tokens, of which a draft guesses none: leave out --draft")
    return spec


def _context(spec: LoadSpec, model: ModelFile) -> int:
    """Return how many tokens may be measured with."""
    trained = model.header.context_length or 2**31
    return min(spec.context, trained) if spec.context else trained


def _forget(model: ModelFile, paths: Paths, screen: TuneScreen) -> int:
    from lmlab.lab.tuning.saved import forget

    before = forget(paths, model.fingerprint)
    if before is None:
        screen.say(f"nothing is kept for {model.ref} on this machine")
    else:
        screen.say(f"forgotten: {model.ref} is no longer loaded with {before.settings.words()}")
    return 0


@dataclass(slots=True)
class _Job:
    """One tuning, and whether Ctrl-C was pressed."""

    model: ModelFile
    wanted: Wanted
    paths: Paths
    config: Config
    screen: TuneScreen
    stopped: list[bool] = field(default_factory=list)

    def cancelled(self) -> bool:
        return bool(self.stopped)

    def run(self, types: tuple[str, ...]) -> int:
        """Tune, with weights of ``types`` among the rest, and return the exit code."""
        from lmlab.lab.tuning.keeping import changes_output, weight_files
        from lmlab.lab.tuning.saved import load_tuned

        # What comes of minutes of measuring is kept beside what is there, so that must be readable.
        load_tuned(self.paths)
        with _temporary_folder(self.paths) as folder:
            files = weight_files(self.model, types, private_folder(self.paths.models)) if types else {}
            if types and not self._write(types, folder):
                return self._interrupted()
            tuning = self._search()
            if tuning is None:
                return self._interrupted()
            cost = None
            if changes_output(self.wanted.base, tuning):
                cost = self._cost(tuning)
                if cost is None:
                    return self._interrupted()
            tuning = self._keep_weights(tuning, files)
            self._keep(tuning, cost)
        return 0

    def _write(self, types: tuple[str, ...], folder: Path) -> bool:
        """Write the weights to try; False when interrupted."""
        from lmlab.lab.tuning.keeping import write_weights

        written = write_weights(
            self.model.path,
            types,
            folder,
            threads=self.wanted.base.threads,
            log_folder=self.paths.logs,
            progress=lambda kind, fraction: self.screen.watch(f"writing weights of {kind}", fraction),
            cancelled=self.cancelled,
        )
        self.wanted = replace(self.wanted, weights=written)
        return written is not None

    def _search(self) -> Tuning | None:
        from lmlab.lab.tuning.tune import tune as search

        return search(
            self.wanted,
            log_folder=self.paths.logs,
            listener=self.screen.step,
            watch=self.screen.watch,
            cancelled=self.cancelled,
        )

    def _cost(self, tuning: Tuning) -> Divergence | None:
        from lmlab.lab.tuning.keeping import cost

        return cost(
            self.wanted.base,
            tuning,
            log_folder=self.paths.logs,
            progress=lambda fraction: self.screen.watch("comparing predictions", fraction),
            cancelled=self.cancelled,
        )

    def _keep_weights(self, tuning: Tuning, files: dict[str, Path]) -> Tuning:
        """Give the file that won its place among the models."""
        won = Path(tuning.found.spec.path)
        written = self.wanted.weights or {}
        target = next((files[kind] for kind, path in written.items() if path == won), None)
        if target is None:
            return tuning
        try:
            shutil.move(won, target)
        except OSError as error:
            raise ModelError(f"cannot write {target}: {error.strerror or error}; make room and try again") from None
        return replace(tuning, found=replace(tuning.found, spec=replace(tuning.found.spec, path=str(target))))

    def _keep(self, tuning: Tuning, cost: Divergence | None) -> None:
        """Show what came of it, keep the settings that won, and say what is done with them."""
        from lmlab.lab.quantizing import name_of
        from lmlab.lab.tuning.keeping import to_keep
        from lmlab.lab.tuning.saved import keep, tuned_for

        path = Path(tuning.found.spec.path)
        ref = self.model.ref if path == self.model.path else name_of(path, self.paths, self.config)
        tuned = to_keep(ref, self.wanted.base, self.wanted.objective, tuning)
        self.screen.result(ref, tuning, tuned, cost)
        if path != self.model.path:
            self.screen.say(f"wrote {path}; use it with -m {shlex.quote(ref)}")
        if tuned is not None:
            keep(self.paths, tuned)
            self.screen.say(
                f"from now on {ref} is loaded with {tuned.settings.words()} where nothing else is said; "
                f"lmlab bench --tune --forget {shlex.quote(ref)} undoes that"
            )
        elif not tuning.won:
            before = tuned_for(self.paths, self.model.fingerprint)
            stays = f"; what was kept before stays: {before.settings.words()}" if before is not None else ""
            self.screen.say(f"nothing was faster beyond doubt, so {ref} stays as it is{stays}")

    def _interrupted(self) -> int:
        self.screen.say("interrupted: nothing is kept")
        return report.INTERRUPTED


@contextmanager
def _temporary_folder(paths: Paths) -> Iterator[Path]:
    """Give a folder on the disk where lmlab keeps its models; it is gone afterwards, with all that is in it."""
    # One that was killed left models behind.
    for left in paths.data.glob(f"{_FOLDER}*-*"):
        number = left.name.removeprefix(_FOLDER).partition("-")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=private_folder(paths.data)))
    except OSError as error:
        raise UsageError(
            f"cannot write in {paths.data}: {error.strerror or error}; set LMLAB_HOME to a folder you may write to"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
