"""What the two processes say to each other: frozen values, pickled over an authenticated private connection.

Parent to worker: Load, then Commands; closing its input ends it. Worker to parent: Loading, Ready, LoadFailed, and groups
of Event. Knows nothing of llama.cpp, of processes, or of who draws what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams
from lmlab.worker.looks import Distribution, Inspect, Reweigh
from lmlab.worker.prompts import Prompt
from lmlab.worker.questions import Encode, Encoded, Rank, Ranked, Spell, Spelled

ABORT_MARK = "lmlab-abort:"
"""Begins the line in the worker's log that says why llama.cpp ended the process."""

LOOKUP = "lookup"
"""The draft that is no model: n-grams of the context, continued as they were before."""

DEFAULT_CONTEXT = 8192
"""Tokens of context at most when nobody asks for a size."""

LARGEST_BATCH = 2048
"""Tokens of one decode, and so computed at once, at most."""

MOST_CANDIDATES = 64
"""Of one request, where a person says how many: each has a sequence of its own."""

KvType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
FinishReason: TypeAlias = Literal["stop", "length", "context", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a reply must look like: a GBNF grammar, or a JSON Schema as JSON text."""

    kind: Literal["gbnf", "json-schema"]
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work. ``sampling`` is what was asked for; the worker fills what is unset and reports it in Started.

    ``id`` is unique within a worker. ``candidates`` replies are drawn after one prefill, candidate k with the same
    random numbers however many there are. ``logprobs`` asks for the log-probability of each token (before any sampler).
    ``lora`` are the scales of the adapters that the model was loaded with; None is the scales they were loaded at.
    ``session`` names whose prefix it is: with snapshots on, what it decoded survives the program.
    ``stream`` False sends no Prefill and no Token: the whole text of each candidate comes as the ``tail`` of its end.
    ``reply``: tokens that each candidate already begins with. They are decoded with the prompt and counted with it, and
    are part of the reply for all else: its length and stop texts, the constraint, the penalties.
    """

    id: str
    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    logprobs: bool = False
    candidates: int = 1
    constraint: Constraint | None = None
    lora: tuple[float, ...] | None = None
    session: str | None = None
    stream: bool = True
    reply: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA adapter file and how strongly it applies."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Where prefixes outlive the program: a folder, and how many bytes it may hold."""

    folder: str
    budget: int


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """Which model to load and how.

    ``context``: tokens; None is the model's own up to DEFAULT_CONTEXT, less when memory is short, 0 is all it was
    trained for. ``gpu_layers``: None is all of them, 0 is CPU only. ``threads``: None is one a physical core.
    ``sequences``: how many are decoded at once, at most. ``flash_attention``: None leaves it to llama.cpp.
    ``ubatch``: tokens computed at once, at most; None is the usual 512. ``draft``: a model file that drafts for this
    one, or LOOKUP.
    ``deterministic``: the same bytes for the same seed, one sequence at a time in fixed batches, nothing reused.
    ``reuse`` False decodes every prompt whole. ``snapshots`` None keeps no prefix on disk.
    ``rank``: a reward model or reranker, to score answers; it cannot generate then, and another model cannot rank.
    """

    path: str
    context: int | None = None
    gpu_layers: int | None = None
    threads: int | None = None
    sequences: int = 8
    flash_attention: bool | None = None
    key_type: KvType = "f16"
    value_type: KvType = "f16"
    lora: tuple[Lora, ...] = ()
    draft: str | None = None
    deterministic: bool = False
    reuse: bool = True
    snapshots: Snapshots | None = None
    rank: bool = False
    ubatch: int | None = None


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
    """End a request, or one ``candidate`` of it."""

    request_id: str
    candidate: int | None = None


Question: TypeAlias = Inspect | Reweigh | Encode | Spell | Rank
"""What is answered by one event."""

Answer: TypeAlias = Distribution | Encoded | Spelled | Ranked

Command: TypeAlias = Generate | Update | Cancel | Question
"""Commands about a request; Load comes first, once."""


# Worker to parent: about the model


@dataclass(frozen=True, slots=True)
class Loading:
    """``fraction`` of the weights read so far, 0 to 1."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Layout:
    """How the context was laid out. ``weights``, ``kv``, ``compute`` and ``available`` (before loading) in bytes, in
    main memory; ``ubatch``: tokens computed at once; ``outputs``: logits rows a step. ``mapped``: the weights are read
    from the file as needed rather than held in memory of their own."""

    sequences: int
    outputs: int
    ubatch: int
    flash_attention: bool
    key_type: KvType
    value_type: KvType
    mapped: bool
    weights: int
    kv: int
    compute: int
    available: int


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model. Sizes in tokens and bytes, ``load_s`` in seconds.

    ``context`` is what was allotted, ``context_trained`` what the model was trained for. ``recommended`` is the
    sampling its file recommends. ``chat_template`` False means a base model. ``template_hash`` names the template.
    ``reuse`` is the prefix reuse policy of its kind of memory: ``full``, ``sliding-window``, ``recurrent``, or ``none``.
    ``draft`` names what drafts for it, if anything does. ``layout`` is how its context was laid out. ``alone``: sequences are
    decoded one at a time, though more were asked for, since llama.cpp would mix them up.
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
    layout: Layout
    draft: str | None = None
    deterministic: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class LoadFailed:
    error: LmlabError


# Worker to parent: about a request


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. ``cached_tokens`` of the prompt's were really not decoded again, ``restored_tokens`` of these came from
    disk. ``completion_tokens`` are those drawn for all candidates."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    restored_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the worker's receipt of the request, and rates over what was really decoded. None: nothing to measure.

    ``draft_tokens`` were proposed by the draft, ``draft_accepted`` of them became part of the reply.
    """

    ttft_s: float | None
    prefill_tokens_per_s: float | None
    decode_tokens_per_s: float | None
    total_s: float
    draft_tokens: int | None = None
    draft_accepted: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The request is in. ``sampling`` is in force, complete, with the seed used (candidate 0's; the others' follow from it).

    ``prompt_tokens`` include those that the reply already begins with, and ``text`` is theirs, as far as it is certain.
    """

    request_id: str
    prompt_tokens: int
    cached_tokens: int
    sampling: SamplingParams
    restored_tokens: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Prefill:
    """``done`` of ``total`` prompt tokens are in the KV cache, reused ones included."""

    request_id: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """Token number ``index`` of the reply (from 0). ``text`` may be empty: half a character, or what could become a stop text."""

    request_id: str
    index: int
    id: int
    text: str
    logprob: float | None = None
    candidate: int = 0

    def __reduce__(self) -> tuple[type[Token], tuple[Any, ...]]:
        # A frozen dataclass with slots is pickled by Python code; this one is pickled for every token.
        return Token, (self.request_id, self.index, self.id, self.text, self.logprob, self.candidate)


@dataclass(frozen=True, slots=True)
class Applied:
    """New sampling is in force from token ``at_token`` on; ``changes`` are ``(name, old, new)``."""

    request_id: str
    at_token: int
    sampling: SamplingParams
    changes: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class CandidateEnded:
    """One of several candidates is over; fields as in Finished. Not sent for a request of one candidate."""

    request_id: str
    candidate: int
    reason: FinishReason
    tail: str
    tokens: tuple[int, ...]
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end. ``tail`` is text held back until now; when not streamed, all that follows the text of Started. ``tokens``
    are the reply's ids, those that it began with included, the end token not among them.

    ``logprob`` is the mean log-probability of every draw, the end and what a stop text cut away included, when asked
    for. ``context_used`` counts the tokens held. With several candidates each one's end has been told by CandidateEnded;
    ``reason``, ``tokens``, ``logprob`` and ``context_used`` are candidate 0's and ``tail`` is empty.
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


Event: TypeAlias = Started | Prefill | Token | Applied | CandidateEnded | Finished | Failed | Answer


@dataclass(frozen=True, slots=True)
class Events:
    """What one or a few engine steps had to say, in order."""

    events: tuple[Event, ...]


Report: TypeAlias = Loading | Ready | LoadFailed | Events
