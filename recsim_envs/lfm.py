"""``recsim/LFM-v0``: music sessions."""

from __future__ import annotations

from gymnasium.vector import AutoresetMode

from recsim_envs.envs import RecommenderEnv, RecommenderVectorEnv
from recsim_envs.users.sessions import History, TestModel, UserModel, load_session_simulator
from recsim_envs.users.simulator import Repeats, Split


class LFMEnv(RecommenderEnv):
    """A listener hears one recommended track after another, and stops when bored.

    ## Description
    A session starts with one track of a real (or replica) listening history. At each step the agent
    recommends a track. A reward model, learned from listening histories, says how well it fits what
    was heard so far. Each recommendation that pleases too little costs the listener patience; when
    the patience is used up, the listener leaves. The environment is a reconstruction of the one
    in "Large Language Model driven Policy Exploration for Recommender Systems" (WSDM 2025), whose
    paper gives no formula: the rule below is the one that fits the paper's published figures, and
    may not be its authors' own.

    ## Action Space
    `Discrete(n_items)`: the track to recommend. `action_masks()` returns the allowed tracks,
    `(n_items,)` booleans: all, or with `repeats="mask"` those not yet recommended in the session.

    ## Observation Space
    `Box(0, n_items, (12,), int32)`: the last 12 tracks, newest last. The left is padded with
    `n_items`, so that an id in the history equals the action that recommends it. With
    `history="accepted"` a dict of two of them: `history`, the tracks that the listener accepted,
    and `shown`, the last 12 that were recommended.

    ## Starting State
    The first track of a sequence drawn uniformly from the split. `reset(options={"start_item": 7})`
    begins with another track, `reset(options={"sequence": 7})` with the first one of sequence 7,
    which must belong to the split. In `gym.make_vec` the value may be one for each listener, and
    `reset_mask` says which listeners are replaced. Other options are refused.

    ## Rewards
    `r = 5 * sigmoid(score(history, track))`, from 0 to 5. A uniformly random policy gets about 0.4
    a step. `user_model="hac"` and `"kuaisim"` give the rewards of those simulators instead: see
    `recsim_envs.users.sessions.SessionSimulator`.

    ## Episode End
    - Termination: the patience, 10 at first, falls by `clip(2 - r, 0, 2)` at each step; the
      listener leaves when it is below 1.
    - Truncation: after 12 steps.

    ## Information
    `step` returns `item` (the track just recommended), `distinct` (share of distinct tracks in the
    session, from 0 to 1), `probability` (`sigmoid(score)`), `patience` and `accepted` (whether the
    listener accepted the track: true with that probability). `reset` returns the same keys: nothing
    was recommended yet, so `item` is `n_items`, and all but `patience` are 0.

    ## Rendering
    `render_mode="human"` prints the session to the terminal at each `reset` and `step`: the history
    that it began with, what was recommended since, rewards, what is left of the patience as a bar,
    and how it ended. `"ansi"`: `render()` returns the same as plain text. `"rgb_array"`: as a
    picture, `(640, 960, 3)` uint8; needs `pip install 'recsim-ialp[render]'`. `gym.make_vec` takes
    the latter two, and `render()` returns a tuple of a frame for each listener.

    ## What wins it
    Mean Return and share of the oracle's, on the real data (LFM-1M, hash 441c41dff0d5367f; `recsim
    env-report lfm`, 500 sessions of the test split each):

    | policy | `"shown"` | `"accepted"` |
    | --- | --- | --- |
    | random | 1.3 (2%) | 1.9 (3%) |
    | popularity | 27.5 (46%) | 17.7 (30%) |
    | one item for ever | 1.2 (2%) | 4.4 (7%) |
    | two alternating | 6.0 (10%) | 8.2 (14%) |
    | best fixed list | 56.0 (94%) | 31.7 (53%) |
    | item-kNN | 43.4 (73%) | 41.9 (71%) |
    | nearest text, newest item | 43.7 (74%) | 39.2 (66%) |
    | nearest text, whole history | 44.7 (75%) | 43.6 (74%) |
    | training model | 58.0 (98%) | 57.4 (97%) |
    | myopic oracle | 59.4 (100%) | 59.2 (100%) |

    With `"shown"`, the paper's rule, what is recommended becomes the listener: a list of tracks
    that fit each other wins without knowing anybody. With `"accepted"` a recommender has to know
    its listener. One track for ever, or two in turn, win nowhere: repeats are answered as in the
    data.

    ## Arguments
    ```python
    gym.make("recsim/LFM-v0", data="replica", split="train", user_model="reconstruction")
    ```
    - `data`: "replica" (synthetic, inside the package) or a name given to `recsim prepare`.
    - `split`: "train": start tracks and reward model from 80% of the sequences. "test": start
      tracks from the other 20%, and another reward model.
    - `test_model`: "all": the test split's model is fitted on all sequences, with another seed.
      "disjoint": on the held-out 20% alone, as HAC does.
    - `user_model`: "reconstruction", "hac" or "kuaisim".
    - `history`: which recommended tracks become part of the history: "shown", all, or "accepted",
      those with `accepted`; None is the user model's own ("reconstruction": "shown").
    - `patience`: the initial patience; None is the user model's own.
    - `max_steps`: the length cap.
    - `leaves`: False keeps every listener to the cap. Pre-training with a judge uses it, so that no
      listener's departure tells the agent anything.
    - `repeats`: "allow" or "mask".

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
            "lfm",
            "music",
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


class LFMVectorEnv(RecommenderVectorEnv):
    """``num_envs`` listeners of :class:`LFMEnv`, with one reward-model call a step.

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
            "lfm",
            "music",
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
