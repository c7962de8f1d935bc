"""The distribution at one place of a reply, as a message: each token by its text. Computes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmlab.llama.distribution import weigh
from lmlab.llama.model import Vocabulary
from lmlab.sampling import SamplingParams
from lmlab.worker.looks import Alternative, Distribution, Stage


def describe(
    request_id: str,
    vocabulary: Vocabulary,
    logits: npt.NDArray[np.float32],
    sampling: SamplingParams,
    history: Sequence[int],
    *,
    top: int,
    drawn: int | None = None,
) -> Distribution:
    """Return what was weighed after ``history``; ``sampling`` must be complete. Arguments as for ``weigh``."""
    weighed = weigh(logits, sampling, history, top=top, drawn=drawn)
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
            )
            for token in weighed.tokens
        ),
    )


def token_text(vocabulary: Vocabulary, token: int) -> str:
    r"""Return the text of a token: a control token by its name, bytes that are part of a character as ``\xHH``."""
    piece = vocabulary.piece(token, special=True)
    return piece.decode("utf-8", "backslashreplace") or vocabulary.text(token)
