"""From a judge's scores to choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm_oracle.judge import NONE
from recsim_envs.arrays import Float32Array, IntArray
from recsim_envs.errors import DamagedFileError
from recsim_envs.files import require_fields

MOST = 1e6
"""Of a number in a file: more would leave float32 where it meets scores."""


@dataclass(frozen=True)
class Calibration:
    """A conditional logit model (McFadden, 1974) of three numbers.

    Candidate i of a slate has the utility ``scale * score_i + popularity * log(1 + count_i)``,
    "None of them" has the utility ``none``; the probabilities are the softmax of the k + 1
    utilities, and the verdict is the likeliest. The paper takes the likeliest label: the defaults.

    Attributes:
        scale: of the score, in one over its unit.
        popularity: weight of the log of an item's popularity; 0 ignores it.
        none: utility of "None of them".
    """

    scale: float = 1.0
    popularity: float = 0.0
    none: float = 0.0

    @classmethod
    def read(cls, fields: Mapping[str, Any], where: object) -> Calibration:
        """The calibration that a file's fields describe.

        Raises:
            DamagedFileError: if one is missing or no number between -:data:`MOST` and it.
        """
        names = ("scale", "popularity", "none")
        require_fields(fields, dict.fromkeys(names, (int, float)), where)
        for name in names:
            if not -MOST <= fields[name] <= MOST:
                raise DamagedFileError(
                    f"{where}: {name!r} is {str(fields[name])[:80]}, beyond {MOST:g}: fit the "
                    "calibration again"
                )
        return cls(*(float(fields[name]) for name in names))

    def choose(self, scores: NDArray[np.floating], counts: NDArray[np.number]) -> IntArray:
        """Returns the index of the likeliest candidate, (B,), -1 where it is none of them.

        The arguments are those of :meth:`utilities`.
        """
        utilities = self.utilities(scores, counts)
        best, none = utilities[:, :-1], utilities[:, -1]
        return np.where(best.max(axis=1) > none, best.argmax(axis=1), NONE).astype(np.int64)

    def utilities(self, scores: NDArray[np.floating], counts: NDArray[np.number]) -> Float32Array:
        """Returns the utilities (B, k + 1), that of "None of them" last.

        Args:
            scores: (B, k) in nats, or in the judge's units.
            counts: (B, k) how often people took each candidate.
        """
        chosen = self.scale * scores + self.popularity * np.log1p(counts)
        none = np.full((len(scores), 1), self.none)
        result: Float32Array = np.hstack([chosen, none]).astype(np.float32)
        return result
