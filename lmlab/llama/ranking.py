"""A model with a rank head, and a context that scores whole token sequences with it. Knows no text.

Such a model is a reranker or a reward model: an encoder that reads a sequence at once, or a decoder whose last position
is read. llama.cpp trusts the file where it is wrong, so what it would read past is refused here first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import llama_cpp
import numpy as np

from lmlab.errors import EngineStopped, ModelLoadError
from lmlab.llama.batch import Batch
from lmlab.llama.context import KV_TYPES, MAX_SEQUENCE_IDS, check_kv_types
from lmlab.llama.model import Model

CHUNK = 256
"""Rows a decoder reads at once. llama.cpp computes the logits of every row though nobody asks for them: of a vocabulary
of 150,000 these are 150 MB."""

PACKED = 512
"""Rows of short sequences that an encoder reads at once; its attention is computed between all of them."""

_FAVOURABLE = frozenset({"yes", "true", "positive", "relevant"})
_SOFTMAX = frozenset({"qwen3", "qwen3vl"})
_ONE_LAYER = "jina-bert-v2"


@dataclass(frozen=True, slots=True)
class RankHead:
    """``outputs`` numbers come for a sequence, named by ``labels`` if by anything; number ``score`` says how good it is.

    That is the one whose label says yes, or else the first, as llama-server has it.
    """

    outputs: int
    labels: tuple[str, ...]
    score: int


def rank_head(model: Model, path: str, tensors: Collection[str]) -> RankHead:
    """Return the head of ``model``, whose file holds ``tensors``. Raises ModelLoadError when there is none to use."""
    architecture = model.metadata("general.architecture") or ""
    wanted = "cls.weight" if architecture == _ONE_LAYER else "cls.output.weight"
    if wanted not in tensors:
        raise ModelLoadError(f"{path} has no rank head, so it cannot score answers: give a reward model or reranker")
    outputs = int(llama_cpp.llama_model_n_cls_out(model.pointer))
    if architecture == _ONE_LAYER and outputs != 1:
        raise ModelLoadError(f"{path} names {outputs} outputs and its rank head has 1: use another file of this model")
    if architecture in _SOFTMAX and outputs == 1:
        raise ModelLoadError(
            f"{path} has a rank head of one output, which llama.cpp makes 1 for every answer in a {architecture} model: "
            "use a reranker with two, or a reward model of another architecture"
        )
    labels = [llama_cpp.llama_model_cls_label(model.pointer, number) for number in range(outputs)]
    names = tuple(label.decode("utf-8", "replace") for label in labels if label)
    favourable = [number for number, name in enumerate(names) if name.strip().lower() in _FAVOURABLE]
    return RankHead(outputs, names, favourable[0] if len(favourable) == 1 else 0)


def reads_whole(model: Model) -> bool:
    """Whether ``model`` must read a sequence in one piece: an encoder, which looks both ways."""
    context = _open(model, context=CHUNK, sequences=1, whole=False, threads=1)
    try:
        return not llama_cpp.llama_get_memory(context) or not llama_cpp.llama_get_causal_attn(context)
    finally:
        llama_cpp.llama_free(context)


class RankContext:
    """Scores up to ``sequences`` sequences at a time; a decoder has ``context`` cells for them together.

    ``whole`` is what ``reads_whole`` says. ``longest``: tokens one sequence may have. ``key_type`` and ``value_type`` are
    of KV_TYPES. Raises ModelLoadError when llama.cpp would refuse, most often for want of memory.
    """

    def __init__(
        self,
        model: Model,
        head: RankHead,
        *,
        context: int,
        sequences: int,
        whole: bool,
        threads: int,
        flash_attention: bool | None = None,
        key_type: str = "f16",
        value_type: str = "f16",
    ) -> None:
        if not 0 < sequences <= MAX_SEQUENCE_IDS:
            raise ValueError(f"{sequences} sequences are not 1 to {MAX_SEQUENCE_IDS}")
        check_kv_types(model, flash_attention, key_type, value_type)
        self.pointer = _open(
            model,
            context=context,
            sequences=min(sequences, context),
            whole=whole,
            threads=threads,
            flash_attention=flash_attention,
            key_type=key_type,
            value_type=value_type,
        )
        self.head = head
        self.size = int(llama_cpp.llama_n_ctx(self.pointer))
        self.ubatch = int(llama_cpp.llama_n_ubatch(self.pointer))
        self.sequences = min(sequences, context)
        self.batch = Batch(int(llama_cpp.llama_n_batch(self.pointer)))
        # An encoder may keep an embedding for each position: one beyond them ends the process.
        self.longest = min(self.batch.capacity, model.context_trained or context) if whole else self.size
        self._whole = whole
        self._memory = llama_cpp.llama_get_memory(self.pointer)

    def score(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """Return the score of each sequence. Raises ValueError for one that is empty or longer than ``longest``."""
        for tokens in sequences:
            if not 0 < len(tokens) <= self.longest:
                raise ValueError(f"a sequence of {len(tokens)} tokens is not of 1 to {self.longest}")
        scores: list[float] = []
        for group in self._groups(sequences):
            scores += self._read_whole(group) if self._whole else self._read_chunks(group)
        return scores

    def close(self) -> None:
        if self.pointer:
            llama_cpp.llama_free(self.pointer)
            self.pointer = None

    def _groups(self, sequences: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
        """Return ``sequences``, in order, as groups that are held at once."""
        room = min(PACKED, self.batch.capacity) if self._whole else self.size
        groups: list[list[Sequence[int]]] = []
        rows = 0
        for tokens in sequences:
            rows += len(tokens)
            if not groups or rows > room or len(groups[-1]) == self.sequences:
                groups.append([])
                rows = len(tokens)
            groups[-1].append(tokens)
        return groups

    def _read_whole(self, group: list[Sequence[int]]) -> list[float]:
        self.batch.clear()
        for sequence, tokens in enumerate(group):
            self.batch.add(tokens, 0, sequence, logits=True, every=True)
        self._decode()
        scores = [self._score(sequence) for sequence in range(len(group))]
        if self._memory:
            llama_cpp.llama_memory_clear(self._memory, False)
        return scores

    def _read_chunks(self, group: list[Sequence[int]]) -> list[float]:
        """Read ``group`` one after another in as many rows as there are; what all begin with is read once."""
        llama_cpp.llama_memory_clear(self._memory, False)
        scores = [0.0] * len(group)
        shared = _common_length(group) if len(group) > 1 else 0
        if shared:
            self._feed([(0, group[0][:shared], 0)], lambda sequence: None)
            for sequence in range(1, len(group)):
                llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, 0, shared)

        def keep(sequence: int) -> None:
            scores[sequence] = self._score(sequence)

        self._feed([(sequence, tokens[shared:], shared) for sequence, tokens in enumerate(group)], keep)
        return scores

    def _feed(self, parts: list[tuple[int, Sequence[int], int]], ended: Callable[[int], None]) -> None:
        """Decode ``parts`` (sequence, tokens, first position) in full batches; say of each that its last row was decoded."""
        self.batch.clear()
        room, ending = self.batch.capacity, []
        for sequence, tokens, position in parts:
            begin = 0
            while begin < len(tokens):
                piece = tokens[begin : begin + room]
                self.batch.add(piece, position + begin, sequence, logits=True, every=True)
                begin += len(piece)
                room -= len(piece)
                if begin == len(tokens):
                    ending.append(sequence)
                if not room:
                    self._flush(ending, ended)
                    room, ending = self.batch.capacity, []
        if room < self.batch.capacity:
            self._flush(ending, ended)

    def _flush(self, ending: list[int], ended: Callable[[int], None]) -> None:
        self._decode()
        for sequence in ending:
            ended(sequence)
        self.batch.clear()

    def _decode(self) -> None:
        if llama_cpp.llama_decode(self.pointer, self.batch.struct) != 0:
            if self._memory:
                llama_cpp.llama_memory_clear(self._memory, False)
            raise EngineStopped("llama.cpp could not compute these scores: try again, or with a smaller --ctx-size")

    def _score(self, sequence: int) -> float:
        pointer = llama_cpp.llama_get_embeddings_seq(self.pointer, sequence)
        if not pointer:
            raise EngineStopped("llama.cpp gave no score for a sequence that it has read: use another model")
        return float(np.ctypeslib.as_array(pointer, shape=(self.head.outputs,))[self.head.score])


def _common_length(group: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all of ``group`` begin with; the last of each is read by itself, for its score."""
    limit = min(map(len, group)) - 1
    first = group[0]
    for place in range(limit):
        if any(tokens[place] != first[place] for tokens in group):
            return place
    return limit


def _open(
    model: Model,
    *,
    context: int,
    sequences: int,
    whole: bool,
    threads: int,
    flash_attention: bool | None = None,
    key_type: str = "f16",
    value_type: str = "f16",
) -> llama_cpp.llama_context_p:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = context
    # An encoder reads all rows in one go.
    parameters.n_batch = parameters.n_ubatch = context if whole else max(min(CHUNK, context), sequences)
    parameters.n_seq_max = sequences
    # Every row is an output; 0 is as many as a batch has.
    parameters.n_outputs_max = 0
    parameters.embeddings = True
    parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_RANK
    parameters.flash_attn_type = -1 if flash_attention is None else int(flash_attention)
    parameters.type_k = KV_TYPES[key_type]
    parameters.type_v = KV_TYPES[value_type]
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.kv_unified = True
    parameters.swa_full = True
    parameters.no_perf = True
    pointer = llama_cpp.llama_init_from_model(model.pointer, parameters)
    if not pointer:
        raise ModelLoadError(
            f"llama.cpp could not make a context of {context:,} tokens: try a smaller one with --ctx-size"
        )
    return pointer
