"""The distribution at one place of a reply, as a message: each token by its text. Computes nothing itself."""

from __future__ import annotations

from lmlab.llama.distribution import Weigher
from lmlab.llama.model import Vocabulary
from lmlab.sampling import SamplingParams
from lmlab.worker.looks import Alternative, Distribution, Stage
from lmlab.worker.spelling import token_text


def describe(
    request_id: str,
    vocabulary: Vocabulary,
    weigher: Weigher,
    sampling: SamplingParams,
    *,
    top: int,
    drawn: int | None = None,
) -> Distribution:
    """Return what ``weigher`` makes of its place at ``sampling``. Arguments as for its ``weigh``."""
    weighed = weigher.weigh(sampling, top=top, drawn=drawn)
    return Distribution(
        request_id=request_id,
        sampling=sampling,
        stages=tuple(Stage(stage.name, stage.left, stage.entropy) for stage in weighed.stages),
        alternatives=tuple(
            Alternative(
                token=token.token,
                text=token_text(vocabulary, token.token),
                rank=token.rank,
                logit=token.logit,
                probabilities=token.probabilities,
                removed_by=token.removed_by,
                end=vocabulary.is_end(token.token),
            )
            for token in weighed.tokens
        ),
    )
