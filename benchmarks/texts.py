"""The texts that the benchmarks send, all written for this project. Pure: the same seed gives the same text."""

from __future__ import annotations

import random
from collections.abc import Callable

Count = Callable[[str], int]
"""How many tokens a text has."""

SENTENCES = (
    "The harbour of Ostrava Bay lies open to the west, and ships wait outside it until the tide has turned.",
    "A pilot goes on board of every vessel longer than forty metres, in summer as in winter.",
    "The old crane on the northern quay lifts twelve tonnes, though it was built to lift twenty.",
    "Fish is sold from six in the morning, and what is left at nine goes to the smokehouse.",
    "In the year of the great frost the basin froze over for thirty-one days.",
    "The keeper of the light writes down the wind every four hours, in a book that nobody reads.",
    "Three families own the salt pans, and they have not spoken to one another since the flood.",
    "Rope is made in the long shed behind the chapel, where the floor is worn into two grooves.",
    "The ferry takes eleven minutes to the island and fourteen minutes back, because of the current.",
    "Nobody may anchor between the two white posts, where the cable to the mainland runs.",
    "When the fog bell rings twice, boats in the channel keep to the right and sound their horns.",
    "The customs house has a green roof, and its clock is wrong by seven minutes on purpose.",
    "Grain comes by rail on Tuesdays and leaves by sea on Fridays, if the weather allows it.",
    "Children learn to row in the inner basin, in boats that their grandparents learned in.",
    "The dredger works at night, so that the fairway is free again before the first tide.",
    "A storm in March took the outer mole, and the stones of it still lie below the water.",
    "The harbour master is elected for five years by those who own a boat, however small it is.",
    "Coal has not been landed here for forty years, but the dust of it is in every wall.",
    "The museum keeps a letter from a sailor who wrote home every week and never posted anything.",
    "Paint for the hulls is mixed by hand, from a recipe that is older than the town hall.",
    "On the eve of the regatta every window on the water shows a lamp of a different colour.",
    "The tide gauge under the bridge has been read without a gap since the bridge was built.",
    "Two tugs are kept under steam when the wind is above thirty knots from the southwest.",
    "The bakery opens first of all the shops, because the crews of the night boats are hungry.",
    "Ice for the holds is cut from the lake above the town and slides down a wooden chute.",
    "A law from another century forbids whistling on the quay while a ship is being named.",
    "The lifeboat went out nineteen times last year and came back nineteen times.",
    "Letters for the islands are sorted on the ferry, at a table that is screwed to the floor.",
    "The shipyard has built nothing longer than thirty metres since its slipway cracked.",
    "Every net is mended in the same way, from the left hand to the right, with a bone needle.",
    "The inn by the lock has nine rooms, and the tenth door leads straight to the water.",
    "A map of the sandbanks is drawn anew each spring, and the old one is burned on the beach.",
)

QUESTIONS = (
    "How long does the ferry take to the island?",
    "What is the clock of the customs house like?",
    "When is fish sold at the harbour?",
    "Who elects the harbour master?",
    "How much does the old crane lift today?",
    "Why is there no anchoring between the white posts?",
)

PROMPTS = (
    "The history of the sea is a long one. In the beginning",
    "When the train had left the station, the old man on the bench",
    "A good soup begins with patience. First of all one",
    "The mountain above our village has two names, because",
    "My grandmother kept bees for fifty years, and she always said that",
    "In the workshop at the end of the street a clockmaker",
    "The first rule of the library was silence, and the second",
    "Rain had fallen for three weeks when the river",
)

COUNTING = tuple(", ".join(str(number) for number in range(start, start + 6)) + "," for start in range(110, 910, 100))
"""Eight beginnings that a model, drawing greedily, goes on with for long."""

_EXAMPLES = (
    ("The kettle boils quickly and looks lovely on the shelf.", "positive"),
    ("The zip of the tent broke on the very first night.", "negative"),
    ("We laughed from the first scene to the last one.", "positive"),
    ("Nobody answered the phone and the parcel never came.", "negative"),
    ("The guide knew every stone and had time for questions.", "positive"),
    ("The pages fall out and the print is far too small.", "negative"),
    ("A quiet room, a soft bed and a very friendly host.", "positive"),
    ("The battery is empty again before lunch, every day.", "negative"),
    ("The bread is warm, fresh and worth the long walk.", "positive"),
    ("The seats are hard and the heating did not work.", "negative"),
    ("It does what it promises, and it does it quietly.", "positive"),
    ("The colours faded after one wash in cold water.", "negative"),
    ("The teacher explains hard things in simple words.", "positive"),
)
_THINGS = ("soup", "room", "film", "tour", "phone", "train", "coat", "garden")
_VERDICTS = (
    "was far better than I had hoped.",
    "was a waste of good money.",
    "made the whole week a joy.",
    "let us down at the worst time.",
    "is the one I would choose again.",
    "was not what the picture showed.",
    "was worth every single penny.",
    "gave us nothing but trouble.",
)


def few_shot(seed: int, shared: int, count: Count) -> tuple[str, list[str]]:
    """Return the beginning that 64 prompts share, ``shared`` tokens or a few less, and the 64 prompts."""
    chance = random.Random(seed)
    examples = list(_EXAMPLES) * (1 + shared // 150)
    chance.shuffle(examples)
    beginning = f"Set {seed}. Say whether each review is positive or negative.\n\n"
    for text, label in examples:
        longer = f"{beginning}Review: {text}\nSentiment: {label}\n\n"
        if count(longer + "Review:") <= shared:
            beginning = longer
    beginning += "Review:"
    reviews = [f"The {thing} {verdict}" for thing in _THINGS for verdict in _VERDICTS]
    chance.shuffle(reviews)
    return beginning, [f"{beginning} {review}\nSentiment:" for review in reviews]


def document(seed: int, tokens: int, count: Count) -> str:
    """Return a text of ``tokens`` tokens or a few less, that no other seed's begins like."""
    chance = random.Random(seed)
    parts = [f"Report number {seed} on the harbour of Ostrava Bay."]
    size = count(parts[0])
    while True:
        paragraph = list(SENTENCES)
        chance.shuffle(paragraph)
        for sentence in paragraph:
            # A sentence has the same tokens wherever it stands, but for one or two at its edges.
            size += count(" " + sentence)
            if size > tokens:
                return " ".join(parts)
            parts.append(sentence)


def copy_and_edit(seed: int, sentences: int) -> str:
    """Return a prompt that goes on as a text of ``sentences`` sentences, written again with one name changed.

    The first sentence, which holds the name, is there: small models seldom begin by themselves and then copy well.
    """
    first = SENTENCES[0]
    text = " ".join([first, *random.Random(seed).sample(SENTENCES[1:], sentences - 1)])
    changed = first.replace("Ostrava Bay", "Lindmouth")
    return f"Draft:\n{text}\n\nFinal version, the same text with the name Lindmouth for Ostrava Bay:\n{changed}"
