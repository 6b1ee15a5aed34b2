"""From a judge's scores to choices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsim_envs.arrays import Float32Array


@dataclass(frozen=True)
class Calibration:
    """A conditional logit model (McFadden, 1974) of three numbers.

    Candidate i of a slate has the utility ``scale * score_i + popularity * log(1 + count_i)``,
    "None of them" has the utility ``none``; the probabilities are the softmax of the k + 1
    utilities, and the verdict is the likeliest. The paper takes the likeliest label: the defaults.

    Attributes:
        scale: of the score, in 1 / nats.
        popularity: weight of the log of an item's popularity; 0 ignores it.
        none: utility of "None of them".
    """

    scale: float = 1.0
    popularity: float = 0.0
    none: float = 0.0

    def utilities(self, scores: Float32Array, counts: NDArray[np.number]) -> Float32Array:
        """Returns the utilities (B, k + 1), that of "None of them" last.

        Args:
            scores: (B, k) nats.
            counts: (B, k) how often people took each candidate.
        """
        chosen = self.scale * scores + self.popularity * np.log1p(counts)
        none = np.full((len(scores), 1), self.none)
        result: Float32Array = np.hstack([chosen, none]).astype(np.float32)
        return result
