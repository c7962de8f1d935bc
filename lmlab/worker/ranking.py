"""A reward model or reranker at work: what is asked of it, answered. Pairs become tokens here; how they are scored is llama's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.errors import ContextOverflow, LmlabError, PromptError, UsageError
from lmlab.llama import Model, Vocabulary
from lmlab.llama.ranking import RankContext
from lmlab.worker.looks import Inspect, Reweigh
from lmlab.worker.messages import Event, Failed, Generate, ModelInfo, Question
from lmlab.worker.prompt import PromptEncoder
from lmlab.worker.prompts import ChatPrompt, Message
from lmlab.worker.questions import Encode, Encoded, Rank, Ranked, RankPair, Spell
from lmlab.worker.spelling import spelled


@dataclass(frozen=True, slots=True)
class LoadedRanker:
    model: Model
    context: RankContext
    encoder: PromptEncoder
    info: ModelInfo


class Ranking:
    """Answers for one loaded ranker. Nothing is kept from one question to the next."""

    def __init__(self, loaded: LoadedRanker) -> None:
        self._context = loaded.context
        self._encoder = loaded.encoder
        self._vocabulary = loaded.model.vocabulary
        self._pairs = PairEncoder(loaded.encoder, self._vocabulary, loaded.model.rank_template)

    def answer(self, command: Generate | Question) -> Event:
        """Return what to tell the parent of ``command``."""
        request_id = command.request.id if isinstance(command, Generate) else command.request_id
        try:
            match command:
                case Rank():
                    return Ranked(request_id, tuple(self._score(command.pairs)))
                case Encode():
                    return encoded(command, self._encoder)
                case Spell():
                    return spelled(command, self._vocabulary)
                case Generate() | Inspect() | Reweigh():
                    raise UsageError("this model was loaded to score answers and cannot generate: use another for that")
        except LmlabError as error:
            return Failed(request_id, error)

    def _score(self, pairs: Sequence[RankPair]) -> list[float]:
        tokens = [self._pairs.encode(pair) for pair in pairs]
        longest = max(map(len, tokens), default=0)
        if longest > self._context.longest:
            raise ContextOverflow(longest, self._context.longest)
        return self._context.score(tokens)


class PairEncoder:
    """Pairs to tokens, as llama-server has it: in the model's own ``template`` for pairs, or else in its chat template,
    the answer as the assistant's turn, or else question and answer with the vocabulary's marks between."""

    def __init__(self, encoder: PromptEncoder, vocabulary: Vocabulary, template: str | None) -> None:
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._template = template

    def encode(self, pair: RankPair) -> list[int]:
        """Return the ids of ``pair``. Raises PromptError or TemplateError."""
        if self._template is not None:
            return self._encoder.fill(self._template, {"query": _text(pair.question), "document": pair.answer})
        if self._encoder.has_template:
            turns = (*pair.question, Message("assistant", pair.answer))
            return self._encoder.encode(ChatPrompt(turns), generation_prompt=False)
        vocabulary = self._vocabulary
        bos, sep = vocabulary.bos, vocabulary.sep
        eos = vocabulary.eos if vocabulary.eos >= 0 else sep
        ids = [bos] * vocabulary.add_bos
        ids += self._plain(_text(pair.question))
        ids += [eos] * vocabulary.add_eos + [sep] * vocabulary.add_sep
        ids += self._plain(pair.answer)
        ids += [eos] * vocabulary.add_eos
        ids = [token for token in ids if token >= 0]
        if not ids:
            raise PromptError("there is nothing to score: question and answer are empty")
        return ids

    def _plain(self, text: str) -> list[int]:
        return self._encoder.fill("{text}", {"text": text})


def encoded(command: Encode, encoder: PromptEncoder) -> Encoded:
    """Return the tokens and the final text of a prompt. Raises PromptError or TemplateError."""
    tokens = tuple(encoder.encode(command.prompt))
    return Encoded(command.request_id, tokens, encoder.spell(tokens))


def _text(question: Sequence[Message]) -> str:
    """Return a conversation as the one text that such a model knows: a single message as it is, several with their roles."""
    if len(question) == 1:
        return question[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in question)
