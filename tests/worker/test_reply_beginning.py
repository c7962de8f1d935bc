"""What a reply may begin with, and the texts of single tokens."""

from __future__ import annotations

import pytest
from vocabulary_reader import Reader

from lmlab.errors import UsageError
from lmlab.llama import Grammar
from lmlab.worker.questions import Spell, Spelled
from lmlab.worker.reply_beginning import check_beginning, take_in
from lmlab.worker.spelling import spelled


def tokens_of(reader: Reader, text: str) -> list[int]:
    return reader.vocabulary.tokenize(text, special=True)


def test_ordinary_tokens_are_a_beginning(smol: Reader, gemma: Reader) -> None:
    for reader in (smol, gemma):
        check_beginning(tokens_of(reader, "Hello \N{PILE OF POO}, and\n"), reader.vocabulary)
        check_beginning((), reader.vocabulary)


def test_nothing_comes_behind_an_end(smol: Reader, gemma: Reader) -> None:
    for reader, end in ((smol, "<|im_end|>"), (gemma, "<end_of_turn>"), (gemma, "<eos>")):
        with pytest.raises(UsageError, match=rf"over at '{end.replace('|', '.')}', token 1 of"):
            check_beginning([*tokens_of(reader, "Hello"), *tokens_of(reader, end)], reader.vocabulary)


@pytest.mark.parametrize("token", [-1, 49_152, 2**40])
def test_a_token_of_another_vocabulary_is_none(smol: Reader, token: int) -> None:
    with pytest.raises(UsageError, match=rf"token {token} is not one of the 49,152 that this model has"):
        check_beginning([5, token], smol.vocabulary)
    with pytest.raises(UsageError, match="another model"):
        spelled(Spell("a", (5, token)), smol.vocabulary)


def test_a_grammar_goes_on_behind_the_beginning(smol: Reader) -> None:
    vocabulary = smol.vocabulary
    grammar = Grammar(vocabulary, 'root ::= "yes" | "no"')
    take_in(grammar, vocabulary.tokenize("ye", special=False), vocabulary)
    (s,) = vocabulary.tokenize("s", special=False)
    (n,) = vocabulary.tokenize("n", special=False)
    assert grammar.allows(s)
    assert not grammar.allows(n)
    grammar.close()


def test_a_grammar_refuses_a_beginning_that_it_forbids(smol: Reader) -> None:
    vocabulary = smol.vocabulary
    digits = Grammar(vocabulary, "root ::= [0-9]+")
    with pytest.raises(UsageError, match=r"the constraint forbids 'x' as token 2 of the reply"):
        take_in(digits, vocabulary.tokenize("12x", special=False), vocabulary)
    (one,) = vocabulary.tokenize("1", special=False)
    assert digits.allows(one)
    digits.close()


def test_tokens_are_spelled_each_by_itself(smol: Reader) -> None:
    vocabulary = smol.vocabulary
    tokens = (*tokens_of(smol, "Hello Paris\n<|im_end|>"), *tokens_of(smol, "\N{PILE OF POO}"))
    answer = spelled(Spell("a", tokens), vocabulary)
    assert answer == Spelled("a", answer.texts)
    assert answer.texts[:4] == ("Hello", " Paris", "\n", "<|im_end|>")
    assert all(text.startswith(("\\x", " \\x")) for text in answer.texts[4:])
    assert len(answer.texts) == len(tokens)
    assert spelled(Spell("a", ()), vocabulary).texts == ()
