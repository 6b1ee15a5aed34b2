"""``recsim/Coat-v0``: coat shopping."""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from recsim_envs.envs import RecommenderEnv, RecommenderVectorEnv
from recsim_envs.users.shoppers import Window, load_shopper_simulator
from recsim_envs.users.simulator import Repeats, Split


class CoatEnv(RecommenderEnv):
    """A shopper is shown one coat after another, and leaves when two of them are too alike.

    ## Description
    290 users and 300 coats of Schnabel et al., "Recommendations as Treatments" (ICML 2016). A user
    rates each recommended coat from 1 to 5. Variety keeps the user: a coat that users rate
    much as one of those just shown ends the session. This is the CoatEnv of EasyRL4Rec (SIGIR
    2024), whose published results the WSDM 2025 paper's baselines repeat.

    ## Action Space
    `Discrete(n_items)`: the coat to recommend. `action_masks()` returns the allowed coats,
    `(n_items,)` booleans.

    ## Observation Space
    A dict of
    - `user`: `Discrete(n_users)`,
    - `history`: `Box(0, n_items, (12,), int32)`: the last 12 recommended coats, newest last, padded
      on the left with `n_items`; all padding at first.

    ## Starting State
    A uniformly drawn user who has seen nothing. `reset(options={"user": 7})` brings user 7. In
    `gym.make_vec` the value may be one for each user, and `reset_mask` says which users are
    replaced. Other options are refused.

    ## Rewards
    The user's rating of the coat, from 1 to 5. `split="test"`: the completed rating matrix.
    `split="train"`: the mean of five DeepFM models fitted on the self-selected ratings.

    ## Episode End
    - Termination: from the second step on, when the distance `D_ij = ||M[:, i] - M[:, j]||_2` of
      the completed ratings' columns is below 6 between the coat and one of the last 7 recommended.
      Repeating a coat within 7 steps therefore ends the session.
    - Truncation: after 30 steps.

    ## Information
    `step` returns `item`, `distinct` (share of distinct coats in the session), `nearest` (distance
    to the most alike recent coat; infinite at first). `reset` returns the same keys: no coat was
    recommended yet, so `item` is `n_items`, `distinct` 0 and `nearest` infinite.

    ## Rendering
    "human", "ansi" and "rgb_array", as in LFM-v0. The bar is full at twice `leave_distance` to the
    most alike recent coat, and empty where the shopper leaves.

    ## Arguments
    ```python
    gym.make("recsim/Coat-v0", data="replica", split="train", window="exact")
    ```
    - `data`: "replica" (synthetic, inside the package) or a name given to `recsim prepare`.
    - `split`: "train" or "test": whose rewards.
    - `window`: "exact": the last 7 coats count. "easyrl4rec": as EasyRL4Rec computes it, with a
      slice whose negative start forgets early coats in the first 7 steps.
    - `leave_distance`, `n_recent`, `max_steps`: 6, 7 and 30, EasyRL4Rec's settings.
    - `leaves`: False keeps every user to the cap.
    - `repeats`: "allow" or "mask".

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        data: str = "replica",
        split: Split = "train",
        window: Window = "exact",
        leave_distance: float = 6.0,
        n_recent: int = 7,
        max_steps: int = 30,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        simulator = load_shopper_simulator(
            1,
            data=data,
            split=split,
            window=window,
            leave_distance=leave_distance,
            n_recent=n_recent,
            max_steps=max_steps,
            leaves=leaves,
            repeats=repeats,
        )
        super().__init__(simulator, render_mode)


class CoatVectorEnv(RecommenderVectorEnv):
    """``num_envs`` shoppers of :class:`CoatEnv`.

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
        window: Window = "exact",
        leave_distance: float = 6.0,
        n_recent: int = 7,
        max_steps: int = 30,
        leaves: bool = True,
        repeats: Repeats = "allow",
    ) -> None:
        simulator = load_shopper_simulator(
            num_envs,
            data=data,
            split=split,
            window=window,
            leave_distance=leave_distance,
            n_recent=n_recent,
            max_steps=max_steps,
            leaves=leaves,
            repeats=repeats,
        )
        super().__init__(simulator, render_mode, autoreset_mode)
