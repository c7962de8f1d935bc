"""Texts of about so many words to ask a model with: ordinary words, other ones for every number. Knows no tokens."""

from __future__ import annotations

import random

_WORDS = (
    "the of and a to in is was it for on with as his they at be this from have or by one had not but what all were when "
    "we there can an your which their said if do will each about how up out them then she many some so these would other "
    "into has more her two like him see time could no make than first been its who now people my made over did down only "
    "way find use may water long little very after words called just where most know get through back much before go good "
    "new write our used me man too any day same right look think also around another came come work three word must because"
)
_A_SENTENCE = (6, 14)


def question_text(words: int, number: int) -> str:
    """Return ``words`` words in sentences. Texts of different numbers differ from their first sentence on."""
    chance, words_known = random.Random(number), _WORDS.split()
    left, sentences = words, []
    while left > 0:
        some = min(left, chance.randint(*_A_SENTENCE))
        sentences.append(" ".join(chance.choices(words_known, k=some)).capitalize() + ".")
        left -= some
    return f"{number}. " + " ".join(sentences)
