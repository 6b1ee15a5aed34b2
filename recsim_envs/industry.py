"""``recsim/Industry-v0``: a shop for industrial and scientific supplies."""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from recsim_envs.envs import RecommenderEnv, RecommenderVectorEnv
from recsim_envs.users.sessions import History, TestModel, UserModel, load_session_simulator
from recsim_envs.users.simulator import Repeats, Split


class IndustryEnv(RecommenderEnv):
    """A customer is shown one product after another, and goes elsewhere when bored.

    ## Description
    The dynamics of `recsim/LFM-v0` on purchases of Amazon's category Industrial and Scientific: the
    session starts with one product that a customer bought, a reward model learned from purchase
    sequences says how well each recommended product fits, and each one that pleases too little
    costs patience. Like LFM-v0 it is a reconstruction of the environment of the WSDM 2025 paper.

    ## Action Space
    `Discrete(n_items)`: the product to recommend. `action_masks()` returns the allowed products,
    `(n_items,)` booleans.

    ## Observation Space
    `Box(0, n_items, (12,), int32)`: the last 12 products, newest last, padded on the left with
    `n_items`; with `history="accepted"` a dict of `history` and `shown`, as in LFM-v0.

    ## Starting State
    The first product of a sequence drawn uniformly from the split, or what `reset`'s options
    `start_item` or `sequence` choose, as in LFM-v0.

    ## Rewards
    `r = 5 * sigmoid(score(history, product))`, from 0 to 5.

    ## Episode End
    - Termination: the patience, 10 at first, falls by `clip(2 - r, 0, 2)` at each step; the
      customer leaves when it is below 1.
    - Truncation: after 12 steps.

    ## Information
    `item`, `distinct`, `probability`, `patience` and `accepted`, from `reset` and `step`, as in
    LFM-v0.

    ## Rendering
    "human", "ansi" and "rgb_array", as in LFM-v0.

    ## What wins it
    Mean Return and share of the oracle's, on the real data (Amazon Industrial and Scientific 2018,
    hash 8c0df445ac0282c6; `recsim env-report industry`, 500 sessions of the test split each):

    | policy | `"shown"` | `"accepted"` |
    | --- | --- | --- |
    | random | 1.7 (3%) | 2.0 (4%) |
    | popularity | 37.7 (65%) | 33.4 (58%) |
    | one item for ever | 3.3 (6%) | 5.0 (9%) |
    | two alternating | 8.7 (15%) | 10.5 (18%) |
    | best fixed list | 55.7 (96%) | 51.2 (88%) |
    | item-kNN | 31.2 (54%) | 25.1 (43%) |
    | nearest text, newest item | 48.1 (83%) | 41.7 (72%) |
    | nearest text, whole history | 49.4 (85%) | 43.5 (75%) |
    | training model | 56.9 (98%) | 56.3 (97%) |
    | myopic oracle | 58.3 (100%) | 57.9 (100%) |

    With `"shown"`, the paper's rule, what is recommended becomes the customer: a list of products
    that fit each other wins without knowing anybody. With `"accepted"` a recommender has to know
    its customer. One product for ever, or two in turn, win nowhere: repeats are answered as in the
    data.

    ## Arguments
    Those of `recsim/LFM-v0`: `data`, `split`, `test_model`, `user_model`, `history`, `patience`,
    `max_steps`, `leaves`, `repeats`.

    ## Version History
    - v0: first version. Its rewards changed before any release: repeats are answered as in the data
      (one item for ever had earned nearly the oracle's Return), and the reward model is another.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        data: str = "replica",
        split: Split = "train",
        test_model: TestModel = "all",
        user_model: UserModel = "reconstruction",
        history: History | None = None,
        patience: float | None = None,
        max_steps: int = 12,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        simulator = load_session_simulator(
            1,
            "industry",
            "products",
            data=data,
            split=split,
            test_model=test_model,
            user_model=user_model,
            history=history,
            patience=patience,
            max_steps=max_steps,
            leaves=leaves,
            repeats=repeats,
        )
        super().__init__(simulator, render_mode)


class IndustryVectorEnv(RecommenderVectorEnv):
    """``num_envs`` customers of :class:`IndustryEnv`, with one reward-model call a step.

    ``autoreset_mode`` is :class:`RecommenderVectorEnv`'s.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        *,
        data: str = "replica",
        split: Split = "train",
        test_model: TestModel = "all",
        user_model: UserModel = "reconstruction",
        history: History | None = None,
        patience: float | None = None,
        max_steps: int = 12,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        simulator = load_session_simulator(
            num_envs,
            "industry",
            "products",
            data=data,
            split=split,
            test_model=test_model,
            user_model=user_model,
            history=history,
            patience=patience,
            max_steps=max_steps,
            leaves=leaves,
            repeats=repeats,
        )
        super().__init__(simulator, render_mode, autoreset_mode)
