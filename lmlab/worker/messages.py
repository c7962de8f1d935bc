"""What the two processes say to each other: frozen values, pickled over an authenticated private connection.

Parent to worker: Load, Generate, Update, Cancel; closing its input ends it. Worker to parent: Loading, Ready, LoadFailed,
and groups of Event. Knows nothing of llama.cpp, of processes, or of who draws what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams

ABORT_MARK = "lmlab-abort:"
"""Begins the line in the worker's log that says why llama.cpp ended the process."""

Role: TypeAlias = Literal["system", "user", "assistant"]
FinishReason: TypeAlias = Literal["stop", "length", "context", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. ``tokens``: the ids a reply was generated as, so that it is not tokenized again."""

    role: Role
    content: str
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages for a chat template: the model's own, or ``template`` (Jinja2 source) in its place."""

    messages: tuple[Message, ...]
    template: str | None = None


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text to continue, with no template. Special tokens in it are plain text unless ``parse_special``."""

    text: str
    parse_special: bool = False


Prompt: TypeAlias = ChatPrompt | TextPrompt


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work. ``sampling`` is what was asked for; the worker fills what is unset and reports it in Started.

    ``id`` is unique within a worker. ``logprobs`` asks for the log-probability of each token (before any sampler).
    """

    id: str
    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """Which model to load and how.

    ``context``: tokens; None is the model's own up to 8,192, 0 is all it was trained for. ``gpu_layers``: None is all
    of them, 0 is CPU only. ``threads``: None is one a physical core. ``sequences``: how many are decoded at once.
    """

    path: str
    context: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    sequences: int = 8


# Parent to worker


@dataclass(frozen=True, slots=True)
class Load:
    spec: LoadSpec


@dataclass(frozen=True, slots=True)
class Generate:
    request: Request


@dataclass(frozen=True, slots=True)
class Update:
    """Change the sampling of a running request at its next token; ``sampling`` replaces what was asked for."""

    request_id: str
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


Command: TypeAlias = Load | Generate | Update | Cancel


# Worker to parent: about the model


@dataclass(frozen=True, slots=True)
class Loading:
    """``fraction`` of the weights read so far, 0 to 1."""

    fraction: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model. Sizes in tokens and bytes, ``load_s`` in seconds.

    ``context`` is what was allotted, ``context_trained`` what the model was trained for. ``recommended`` is the
    sampling its file recommends. ``chat_template`` False means a base model. ``template_hash`` names the template.
    ``reuse`` is the prefix reuse policy of its kind of memory: ``full``, ``sliding-window``, ``recurrent``.
    """

    path: str
    description: str
    architecture: str
    parameters: int
    size: int
    vocabulary: int
    context: int
    context_trained: int
    chat_template: bool
    template_hash: str | None
    recommended: SamplingParams
    reuse: str
    threads: int
    devices: tuple[str, ...]
    gpu_layers: int
    load_s: float
    llama_cpp: str


@dataclass(frozen=True, slots=True)
class Ready:
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class LoadFailed:
    error: LmlabError


# Worker to parent: about a request


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. ``cached_tokens`` of the prompt's were really not decoded again."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the worker's receipt of the request, and rates over what was really decoded. None: nothing to measure."""

    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    total_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The request is in. ``sampling`` is in force, complete, with the seed used."""

    request_id: str
    prompt_tokens: int
    cached_tokens: int
    sampling: SamplingParams


@dataclass(frozen=True, slots=True)
class Prefill:
    """``done`` of ``total`` prompt tokens are in the KV cache, reused ones included."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """Token number ``index`` (from 0). ``text`` may be empty: half a character, or what could become a stop text."""

    request_id: str
    index: int
    id: int
    text: str
    logprob: float | None = None

    def __reduce__(self) -> tuple[type[Token], tuple[Any, ...]]:
        # A frozen dataclass with slots is pickled by Python code; this one is pickled for every token.
        return Token, (self.request_id, self.index, self.id, self.text, self.logprob)


@dataclass(frozen=True, slots=True)
class Applied:
    """New sampling is in force from token ``at_token`` on; ``changes`` are ``(name, old, new)``."""

    request_id: str
    at_token: int
    sampling: SamplingParams
    changes: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. ``tail`` is text held back until now. ``tokens`` are the reply's ids, the end token not among them.

    ``logprob`` is the mean log-probability of every draw, the end and what a stop text cut away included, when asked for. ``context_used`` counts the tokens held.
    """

    request_id: str
    reason: FinishReason
    tail: str
    tokens: tuple[int, ...]
    usage: Usage
    timings: Timings
    context_used: int
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The request could not be done; no other is touched."""

    request_id: str
    error: LmlabError


Event: TypeAlias = Started | Prefill | Token | Applied | Finished | Failed


@dataclass(frozen=True, slots=True)
class Events:
    """What one or a few engine steps had to say, in order."""

    events: tuple[Event, ...]


Report: TypeAlias = Loading | Ready | LoadFailed | Events
