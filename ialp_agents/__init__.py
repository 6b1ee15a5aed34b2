"""Stable-Baselines3 agents for recommendation: iALP, A-iALP, PG, and a SASRec encoder for all.

The agents know no language model. A judge stands on the environment's side: where one is asked,
the action space is a slate (``MultiDiscrete([n_items] * k)``); where users answer, a single item
(``Discrete(n_items)``).
"""

from ialp_agents.actor_critic import SASRecActorCriticPolicy
from ialp_agents.aialp import AIALP
from ialp_agents.buffers import DictItemReplayBuffer, ItemReplayBuffer
from ialp_agents.extractor import SASRecExtractor
from ialp_agents.ialp import IALP
from ialp_agents.mixture import MixturePolicy
from ialp_agents.pg import PG
from ialp_agents.policies import SASRecPolicy
from ialp_agents.q_policy import SASRecQPolicy
from ialp_agents.recommender import Recommender
from ialp_agents.saving.checkpoint import Checkpoints, resume

__all__ = [
    "AIALP",
    "IALP",
    "PG",
    "Checkpoints",
    "DictItemReplayBuffer",
    "ItemReplayBuffer",
    "MixturePolicy",
    "Recommender",
    "SASRecActorCriticPolicy",
    "SASRecExtractor",
    "SASRecPolicy",
    "SASRecQPolicy",
    "resume",
]
