"""The judge: it stands in for the user while an agent is pre-trained.

The language model is not imported here, since transformers takes seconds to import:
``from llm_oracle.models import LanguageModel``. `llm_oracle.build.build_judge` builds any judge by
name.
"""

from llm_oracle.evaluate import Accuracy, next_item_accuracy
from llm_oracle.judge import NONE, Judge, JudgeError, PopularityJudge, TfidfJudge
from llm_oracle.language_judge import LanguageModelJudge
from llm_oracle.oracle_env import LLMOracleEnv, LLMOracleVectorEnv

__all__ = [
    "NONE",
    "Accuracy",
    "Judge",
    "JudgeError",
    "LLMOracleEnv",
    "LLMOracleVectorEnv",
    "LanguageModelJudge",
    "PopularityJudge",
    "TfidfJudge",
    "next_item_accuracy",
]
