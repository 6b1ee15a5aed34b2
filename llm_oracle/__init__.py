"""The judge: it stands in for the user while an agent is pre-trained.

The language model is not imported here, since transformers takes seconds to import:
``from llm_oracle.transformers_judge import TransformersJudge``.
"""

from llm_oracle.evaluate import Accuracy, next_item_accuracy
from llm_oracle.judge import NONE, Judge, PopularityJudge, TfidfJudge
from llm_oracle.oracle_env import LLMOracleEnv, LLMOracleVectorEnv

__all__ = [
    "NONE",
    "Accuracy",
    "Judge",
    "LLMOracleEnv",
    "LLMOracleVectorEnv",
    "PopularityJudge",
    "TfidfJudge",
    "next_item_accuracy",
]
