"""``lmlab run``: one prompt in, one reply out. Knows nothing of how the reply is made."""

from __future__ import annotations

from typing import Annotated

import typer

from lmlab.backends import (
    CandidateEnded,
    Failed,
    Finished,
    Loading,
    LoadSpec,
    Prefill,
    Ready,
    Started,
    TextPrompt,
    Token,
)
from lmlab.cli import notices, report
from lmlab.cli.best_of_options import BestOfOptions
from lmlab.cli.constraint_options import ConstraintOptions, constraint_named
from lmlab.cli.interrupt import first_interrupt
from lmlab.cli.load_options import LoadOptions, with_snapshots
from lmlab.cli.opener import local_backend
from lmlab.cli.options import (
    GeneralOptions,
    ModelOption,
    SamplingOptions,
    TextOptions,
    grouped,
    option,
)
from lmlab.cli.progress import Bars
from lmlab.cli.prompt_options import PromptOptions
from lmlab.cli.streams import Stdout, piped_input
from lmlab.errors import UsageError
from lmlab.lab.generate import Ask, Choosing, GenerateEvent, GenerateResult, Generation, NotRemembered, Opened
from lmlab.lab.result import Source, result_json
from lmlab.lab.task import PROMPT, Task
from lmlab.models import Progress
from lmlab.sampling import SamplingParams
from lmlab.settings import Paths, load_config

EXAMPLES = """[bold]Examples[/bold]

lmlab run "Why is the sky blue?"

lmlab run -m hf:owner/repo:Q4_K_M --temp 0 "Translate to French: good morning"

cat report.txt | lmlab run Summarise this in one sentence

lmlab run -m gemma3-270m --raw -n 40 "The quick brown fox"

lmlab run --json --seed 7 Name a colour | jq .text

lmlab run --json-schema '{"type": "object", "properties": {"city": {"type": "string"}}}' "The capital of France?"

cat letter.txt | lmlab run --draft lookup --kv-type q8_0 -c 16384 Correct the spelling

lmlab run --lora style.gguf:0.5 --grammar list.gbnf Three colours

lmlab run -t translate --var to=French < letter.txt

lmlab run -t word-problem --technique few-shot-cot --best-of 5 --select vote "Anna has 3 apples and buys 4. How many?"

lmlab run -t code --best-of 8 --select 'command:python3 check.py' 'A function that reverses a list'"""

# Reading a prompt takes no time to speak of until it takes more than this.
_PREFILL_PATIENCE_S = 1.0


@grouped
def run(
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="Words joined by spaces. Piped stdin comes before them."),
    ] = None,
    model: ModelOption = None,
    text: TextOptions,
    as_json: Annotated[bool, option("--json", help="One JSON object in place of the text.")] = False,
    prompting: PromptOptions,
    best_of: BestOfOptions,
    sampling: SamplingOptions,
    constraints: ConstraintOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Print one reply to PROMPT.

    A model with a chat template answers; a base model continues the text.
    """
    general.apply()
    params, constraint, spec = sampling.params(), constraints.constraint(), load.spec()
    candidates, selector = best_of.candidates(), best_of.selector()
    paths = Paths.find()
    config = load_config(paths.config)
    spec = with_snapshots(spec, paths, config)
    task = Task(prompting.renderer(paths), text.system, text.raw, text.parse_special, constraint)
    ask = Ask(_values(words or [], task), task, candidates, selector)
    screen = _Screen(as_json, general.quiet, spec, params.merge(config.sampling), config.system, ask)
    generation = Generation(
        ask,
        ref=model,
        paths=paths,
        config=config,
        opener=load.saved(paths, screen.say).opener(local_backend(paths)),
        listener=screen.show,
        sampling=params,
        load=spec,
        logprobs=as_json,
        offline=general.offline,
    )
    try:
        with first_interrupt(generation.cancel), constraint_named(constraint):
            result = generation.run()
    finally:
        screen.close()
    raise typer.Exit(_conclude(result, screen))


def _conclude(result: GenerateResult | None, screen: _Screen) -> int:
    """Print what only the whole result can say, and return the exit code."""
    if result is None:
        return report.INTERRUPTED
    screen.show_result(result)
    if result.error is not None:
        raise result.error
    return report.INTERRUPTED if result.reason == "cancelled" else 0


def _values(words: list[str], task: Task) -> dict[str, str]:
    """Return stdin, a blank line, and the words, whichever there is, as the prompt; nothing for a template that needs none.

    Raises UsageError when a prompt is missing.
    """
    text = "\n\n".join(part for part in (piped_input(), " ".join(words)) if part)
    if text.strip():
        return {PROMPT: text}
    if task.renderer is not None:
        if not task.renderer.missing:
            return {}
        name = task.renderer.missing[0]
        raise UsageError(
            f"{task.renderer.template.name} needs {name}: give it as text, on stdin, or with --var {name}=..."
        )
    raise UsageError("no prompt: give one as an argument (lmlab run Hello) or on stdin (lmlab run < file)")


class _Screen:
    """Shows a generation as it happens: the reply on stdout, all else on stderr."""

    def __init__(
        self,
        as_json: bool,
        quiet: bool,
        spec: LoadSpec,
        asked: SamplingParams,
        config_system: str | None,
        ask: Ask,
    ) -> None:
        self.as_json = as_json
        self.stdout = Stdout()
        self._bars = Bars(quiet)
        self._notices = report.Notices(quiet)
        self._spec = spec
        self._asked = asked
        self._used = asked
        self._config_system = config_system
        self._candidates = ask.candidates
        self._answers = ask.task.renderer is not None
        self._constrained = ask.task.constraint is not None
        self._opened: Opened | None = None
        self._ended = 0

    def show(self, event: GenerateEvent) -> None:
        match event:
            case Progress(label, done, total):
                self._bars.update(label, done, total, size=True, patience=0)
            case Loading(fraction):
                self._bars.update("loading the model", fraction, 1)
            case Prefill(_, done, total):
                self._bars.update("reading the prompt", done, total, patience=_PREFILL_PATIENCE_S)
            case Token(text=text):
                self._bars.clear()
                self._print(text)
            case CandidateEnded():
                self._ended += 1
                self._bars.update("drawing candidates", self._ended, self._candidates)
            case Finished(tail=tail):
                self._bars.clear()
                if self._candidates == 1:
                    self._print(tail)
                    self._end_line()
                    self.say(*notices.about_end(event, self._used))
                    if self._constrained and event.reason in ("length", "context"):
                        self.say("it was cut off before it was complete: it does not follow its grammar or schema yet")
            case Choosing(selector):
                self._bars.update(f"choosing by {selector}", 0, None, patience=0)
            case Failed():
                self._bars.clear()
                self._end_line()
            case Opened():
                self._about_model(event)
                self._opened = event
            case NotRemembered(error):
                self.say(str(error))
            case Ready(info):
                self.say(*notices.about_load(self._spec, info))
                self._about_base_model()
            case Started(sampling=sampling):
                self._used = sampling
                self.say(*notices.about_sampling(self._asked, sampling))
            case _:
                pass

    def show_result(self, result: GenerateResult) -> None:
        """Show what is known only at the end: which of several candidates is the reply, or all of it as JSON."""
        self._bars.clear()
        if self.as_json:
            self.stdout.json(
                result_json(
                    Source(result.model, result.info),
                    result.candidates,
                    selected=result.selected,
                    selector=result.selector,
                    why=result.why or None,
                    usage=result.usage,
                    timings=result.timings,
                    sampling=result.sampling,
                    answers=self._answers,
                )
            )
        elif self._candidates > 1:
            self._print(result.text)
            self._end_line()
        if self._candidates > 1:
            self.say(*notices.about_choice(result.candidates, result.best, result.selector, result.why, result.saved))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.clear()

    def _about_model(self, opened: Opened) -> None:
        if opened.model.notice:
            self.say(opened.model.notice)
        if isinstance(opened.prompt, TextPrompt) and self._config_system is not None:
            self.say("the config file's system message is not used: a text without a chat template has no turns")

    def _about_base_model(self) -> None:
        """Say what a base model does, once it has loaded: an encoder has no chat template either, and says so itself."""
        opened = self._opened
        # A template is laid out for a base model where the model is one.
        if opened is not None and opened.model.header.chat_template is None and not self._answers:
            self.say(notices.about_base_model(opened.model))

    def say(self, *texts: str) -> None:
        if texts:
            self._bars.clear()
        for text in texts:
            self._notices.say(text)

    def _print(self, text: str) -> None:
        if not self.as_json:
            self.stdout.write(text)

    def _end_line(self) -> None:
        if not self.as_json:
            self.stdout.end_line()
