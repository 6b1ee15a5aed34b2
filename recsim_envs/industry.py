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

    ## Arguments
    Those of `recsim/LFM-v0`: `data`, `split`, `test_model`, `user_model`, `history`, `patience`,
    `max_steps`, `leaves`, `repeats`.

    ## Version History
    - v0: first version.
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
