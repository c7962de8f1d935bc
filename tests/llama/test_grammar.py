"""Grammars: what they let through, and that none that would end the process or never end reaches llama.cpp."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import llama_cpp.llama_grammar
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmlab.errors import ConstraintError
from lmlab.gbnf import check_gbnf
from lmlab.llama import Model, Vocabulary
from lmlab.llama import grammar as grammar_module
from lmlab.llama.grammar import CANDIDATE, Grammar


class Grammars:
    """Makes grammars for one vocabulary and closes them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._made: list[Grammar] = []

    def __call__(self, gbnf: str) -> Grammar:
        self._made.append(Grammar(self.vocabulary, gbnf))
        return self._made[-1]

    def all(self) -> np.ndarray:
        candidates = np.zeros(self.vocabulary.size, CANDIDATE)
        candidates["id"] = np.arange(self.vocabulary.size)
        return candidates

    def token(self, text: str) -> int:
        """Return a token that spells ``text`` exactly, and is no control token."""
        (token,) = self.vocabulary.tokenize(text, special=False)
        assert self.vocabulary.piece(token) == text.encode()
        return token

    def follow(self, grammar: Grammar, text: str) -> bool:
        """Accept ``text`` a byte at a time; return whether all of it was allowed."""
        for letter in text:
            token = self.token(letter)
            if not grammar.allows(token):
                return False
            grammar.accept(token)
        return True

    def next(self, grammar: Grammar) -> set[bytes]:
        """Return the spellings of what may come next; an end of generation is b""."""
        return {self.vocabulary.piece(token) for token in grammar.mask(self.all())["id"].tolist()}

    def close(self) -> None:
        for grammar in self._made:
            grammar.close()


@pytest.fixture
def grammars(tiny: Model) -> Iterator[Grammars]:
    made = Grammars(tiny.vocabulary)
    yield made
    made.close()


def test_only_what_the_grammar_says_is_allowed(grammars: Grammars) -> None:
    grammar = grammars('root ::= "a" [bc] "d"')
    assert grammars.next(grammar) == {b"a"}
    grammar.accept(grammars.token("a"))
    assert grammars.next(grammar) == {b"b", b"c"}
    assert [grammar.allows(grammars.token(text)) for text in "abcd"] == [False, True, True, False]


def test_the_end_is_allowed_exactly_when_the_grammar_is_complete(grammars: Grammars) -> None:
    end = grammars.vocabulary.eos
    grammar = grammars('root ::= "a"+')
    assert not grammar.allows(end)
    grammar.accept(grammars.token("a"))
    assert grammar.allows(end)
    assert grammar.allows(grammars.token("a"))
    finished = grammars('root ::= "a"')
    finished.accept(grammars.token("a"))
    left = finished.mask(grammars.all())["id"].tolist()
    assert left
    assert all(grammars.vocabulary.is_end(token) for token in left)
    finished.accept(end)
    assert finished.allows(end), "an end of generation changes nothing"


def test_what_is_not_allowed_is_refused_before_llama_cpp_sees_it(grammars: Grammars) -> None:
    grammar = grammars('root ::= "a"')
    for token in (grammars.token("b"), grammars.vocabulary.eos, -1, grammars.vocabulary.size):
        assert not grammar.allows(token)
        with pytest.raises(ValueError, match=f"does not allow token {token}"):
            grammar.accept(token)
    with pytest.raises(ValueError, match="not all in a vocabulary"):
        grammar.mask(np.array([(grammars.vocabulary.size, 0, 0)], CANDIDATE))


def test_a_control_token_is_not_the_text_of_its_name(grammars: Grammars) -> None:
    (control,) = grammars.vocabulary.tokenize("<|im_start|>", special=True)
    assert not grammars.vocabulary.is_end(control)
    grammar = grammars("root ::= .*")
    assert not grammar.allows(control)
    assert control not in grammar.mask(grammars.all())["id"]


def test_a_mask_keeps_logits_and_order(grammars: Grammars) -> None:
    grammar = grammars("root ::= [abc]")
    tokens = [grammars.token(text) for text in "cxab"]
    candidates = np.array([(token, logit, 0) for token, logit in zip(tokens, (4, 3, -2, 1), strict=True)], CANDIDATE)
    kept = grammar.mask(candidates)
    assert kept["id"].tolist() == [tokens[0], tokens[2], tokens[3]]
    assert kept["logit"].tolist() == [4, -2, 1]
    assert candidates["logit"].tolist() == [4, 3, -2, 1]


def test_a_clone_goes_its_own_way(grammars: Grammars) -> None:
    grammar = grammars('root ::= "a" ("b" | "c") "d"')
    grammar.accept(grammars.token("a"))
    clone = grammar.clone()
    clone.accept(grammars.token("b"))
    assert grammars.next(clone) == {b"d"}
    assert grammars.next(grammar) == {b"b", b"c"}
    grammar.close()
    assert grammars.next(clone) == {b"d"}
    clone.close()


def test_a_closed_grammar_is_not_used(grammars: Grammars) -> None:
    grammar = grammars('root ::= "a"')
    grammar.close()
    grammar.close()
    for use in (lambda: grammar.allows(0), grammar.clone, lambda: grammar.mask(grammars.all())):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_character_of_several_tokens_is_followed_through(grammars: Grammars) -> None:
    grammar = grammars('root ::= "é!"')
    first, second = grammars.vocabulary.tokenize("é", special=False)
    assert len(grammars.vocabulary.piece(first)) == 1
    grammar.accept(first)
    assert not grammar.allows(grammars.token("!"))
    grammar.accept(second)
    assert grammars.next(grammar) == {b"!"}


@pytest.mark.parametrize(
    ("lead", "good", "bad"), [(0xE0, 0xA0, 0x9F), (0xED, 0x9F, 0xA0), (0xF0, 0x90, 0x8F), (0xF4, 0x8F, 0x90)]
)
def test_bytes_that_are_no_character_are_not_allowed(grammars: Grammars, lead: int, good: int, bad: int) -> None:
    byte = {grammars.vocabulary.piece(token): token for token in range(grammars.vocabulary.size)}
    grammar = grammars("root ::= [^a]*")
    grammar.accept(byte[bytes([lead])])
    for other in (grammar, grammar.clone()):
        assert other.allows(byte[bytes([good])])
        assert not other.allows(byte[bytes([bad])])


def test_one_that_takes_too_long_is_given_up(grammars: Grammars, monkeypatch: pytest.MonkeyPatch) -> None:
    grammar = grammars('root ::= "a"*')
    monkeypatch.setattr(grammar_module, "MAX_SECONDS", 0.0)
    with pytest.raises(ConstraintError, match="make it less ambiguous"):
        grammar.mask(grammars.all())


@pytest.mark.parametrize(
    "gbnf", ["root ::= [^a]*", "root ::= [^é]+", '"x" | [é-ü] "日"', "[ -~]* [α-ω]", '("ab" | "\\n")*']
)
def test_a_mask_of_many_is_the_mask_of_each(smollm2_model: Model, gbnf: str) -> None:
    vocabulary = smollm2_model.vocabulary
    grammar = Grammar(vocabulary, gbnf if "::=" in gbnf else f"root ::= {gbnf}")
    every = np.zeros(vocabulary.size, CANDIDATE)
    every["id"] = np.arange(vocabulary.size)
    for _ in range(3):
        want = [token for part in np.array_split(every, 100) for token in grammar.mask(part)["id"].tolist()]
        got = grammar.mask(every)["id"].tolist()
        assert got == want
        going = [token for token in got if not vocabulary.is_end(token)]
        # On into the middle of a character where that is possible.
        if going:
            grammar.accept(max(going, key=lambda token: vocabulary.piece(token)[-1]))
    grammar.close()


CHAIN = "\n".join(f"r{i} ::= r{i + 1}" for i in range(20_000)) + '\nr20000 ::= "a"\nroot ::= r0'
DOUBLING = "root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1} r{i + 1} | r{i + 1}" for i in range(30)) + '\nr30 ::= "a"'

# Each of these but the plain mistakes ended llama.cpp, kept it busy for ever, or was taken for something else.
REFUSED = {
    "": "no rule called root",
    "# nothing\n": "no rule called root",
    'a ::= "b"': "no rule called root",
    "root ::= foo": "line 1, column 10: there is no rule called 'foo'",
    'root ::= "a"\nroot ::= "b"': "line 2, column 1: there are two rules called 'root'",
    'root ::= "a': "line 1, column 10: the text is never closed",
    "root ::= [a": r"line 1, column 10: the \[ is never closed",
    'root ::= ("a"': r"line 1, column 10: the \( is never closed",
    'root ::= "a")': "line 1, column 13: a new line is expected",
    'root := "a"': "line 1, column 6: ::= is expected",
    'root ::= "a"\n  | "b"': "line 2, column 3: a rule's name is expected",
    "root ::= *": "line 1, column 10: there is nothing before it to repeat",
    'root ::= ""*': "nothing before it to repeat",
    'root ::= "\\q"': "line 1, column 11: an escape is one of",
    'root ::= "\\u12"': "an escape is one of",
    "root ::= []": "line 1, column 10: the class holds no character",
    "root ::= [^]": "the class holds no character",
    "root ::= [z-a]": "line 1, column 11: the range is empty",
    'root ::= "a\0b"': "NUL",
    'root ::= "\ud800"': "surrogate",
    "root ::= <[5]>": "line 1, column 10: a token cannot be named",
    "root ::= !<think>": "a token cannot be named",
    'root ::= "a"{5,2}': "line 1, column 13: at least 5 and at most 2 times is never",
    'root ::= "a"{0,100000}': "more than 2,000 times",
    'root ::= "a"{99999999999999999999999}': "more than 2,000 times",
    'root ::= ("a"{0,100}){0,100}': "line 1, column 22: repeated that often it takes 10,",
    'root ::= "a"{x}': "a number is expected",
    f'root ::= "{"a" * 1000}"{{0,2000}}': "grows beyond 200,000",
    'root ::= root "a" | "b"': "'root' of the grammar can come back to itself",
    'root ::= a root "x" | "y"\na ::= b\nb ::= "" | "z"': "'root' of the grammar can come back to itself",
    'root ::= ("a"?)*': "repeats what may be empty",
    'root ::= "a" x\nx ::= n x\nn ::= m\nm ::= "" | ""': "the rule 'x' of the grammar has no end",
    'root ::= x{0,2000}\nx ::= "a"?': "begins in too many ways",
    "root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000: "nested more than 64 deep",
    CHAIN: "begins in too many ways",
    DOUBLING: "begins in too many ways",
}


@pytest.mark.parametrize("gbnf", REFUSED, ids=lambda text: ascii(text[:30]))
def test_a_grammar_that_llama_cpp_must_not_see_is_refused(grammars: Grammars, gbnf: str) -> None:
    with pytest.raises(ConstraintError, match=REFUSED[gbnf]) as caught:
        grammars(gbnf)
    assert "\n" not in str(caught.value)


NAMES = ("ARITHMETIC_GBNF", "C_GBNF", "CHESS_GBNF", "JAPANESE_GBNF", "JSON_ARR_GBNF", "JSON_GBNF", "LIST_GBNF")


@pytest.mark.parametrize("name", NAMES)
def test_grammars_that_come_with_the_library_are_taken(grammars: Grammars, name: str) -> None:
    grammar = grammars(getattr(llama_cpp.llama_grammar, name))
    assert len(grammar.mask(grammars.all()))


def test_comments_groups_repeats_and_escapes_are_read_as_llama_cpp_reads_them(grammars: Grammars) -> None:
    gbnf = 'root ::= # what a reply is\n ("x" |\n "y"){2} [\\x30-2-]+ end # and more\n\n\r\nend ::= "\\n"?  "." {1}'
    for text, complete in {"xy0.": True, "yy2-\n.": True, "x0": False, "xx.": False, "xx0": False}.items():
        grammar = grammars(gbnf)
        assert (grammars.follow(grammar, text) and grammar.allows(grammars.vocabulary.eos)) is complete


LETTERS = st.sampled_from(["a", "b", "c"])
ITEMS = st.recursive(
    st.one_of(LETTERS.map(lambda c: f'"{c}"'), st.sampled_from(["[ab]", "[^a]", '"ab"', "x", "y", '""'])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({' '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' | '.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{1,}"])).map("".join),
    ),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(root=ITEMS, x=ITEMS, y=ITEMS, seed=st.integers(0, 2**32))
def test_whatever_is_taken_can_be_walked_to_the_end(grammars: Grammars, root: str, x: str, y: str, seed: int) -> None:
    gbnf = f"root ::= {root}\nx ::= {x}\ny ::= {y}"
    try:
        check_gbnf(gbnf)
    except ConstraintError:
        return
    grammar = Grammar(grammars.vocabulary, gbnf)
    choose = random.Random(seed)
    # A token of hundreds of letters can be read in more ways than there is time for.
    short = [token for token in range(grammars.vocabulary.size) if len(grammars.vocabulary.piece(token)) <= 4]
    candidates = grammars.all()[short]
    for _ in range(12):
        allowed = grammar.mask(candidates)["id"].tolist()
        assert allowed, "a grammar of which every rule can end is never stuck with single bytes to choose from"
        token = choose.choice(allowed)
        if grammars.vocabulary.is_end(token):
            break
        grammar.accept(token)
    grammar.close()


@pytest.mark.parametrize(
    ("gbnf", "pattern"),
    [
        ('root ::= ("a" | "bc")* "d"?', "(a|bc)*d?"),
        ('root ::= x{2,3}\nx ::= [a-b] "c"?', "([ab]c?){2,3}"),
        ('root ::= "(" root ")" | "a"', None),
    ],
)
def test_it_accepts_what_the_same_regular_expression_accepts(
    grammars: Grammars, gbnf: str, pattern: str | None
) -> None:
    alphabet = "abcd" if pattern else "a()"
    for number in range(4**5):
        text = "".join(alphabet[number // len(alphabet) ** place % len(alphabet)] for place in range(number % 6))
        grammar = Grammar(grammars.vocabulary, gbnf)
        got = grammars.follow(grammar, text) and grammar.allows(grammars.vocabulary.eos)
        grammar.close()
        depth = len(text) // 2
        want = re.fullmatch(pattern, text) is not None if pattern else text == "(" * depth + "a" + ")" * depth
        assert got is want, text
