"""The judge: it stands in for the user while an agent is pre-trained.

The language model is not imported here, since transformers takes seconds to import:
``from llm_oracle.language_model.local import LanguageModel``. Any judge by name builds
:func:`llm_oracle.judges.build.build_judge`. The floors, each on those before it: `texts` (and
`judge`, what a judge is), `language_model`, `scoring`, `judges`, `study`.
"""

from llm_oracle.judge import NONE, Judge, JudgeError
from llm_oracle.judges.language import LanguageModelJudge
from llm_oracle.judges.simple import PopularityJudge, TfidfJudge
from llm_oracle.oracle_env import LLMOracleEnv, LLMOracleVectorEnv
from llm_oracle.study.evaluate import Accuracy, next_item_accuracy

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
