"""A-iALP: Algorithm 2 of the paper, iALP's pre-trained policy taken online."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import polyak_update

from ialp_agents.ialp import IALP, pretrained_of
from ialp_agents.mixture import MixturePolicy
from ialp_agents.policies import SASRecPolicy
from ialp_agents.saving.pretrained import Pretrained
from recsim_envs.checks import check_choice

SelfAIALP = TypeVar("SelfAIALP", bound="AIALP")
Scheme = Literal["ft", "ap"]
AlphaSchedule = Literal["linear", "step"]
BetaInit = Literal["pretrained", "random"]


class AIALP(IALP):
    """Adaptive iALP: a pre-trained policy that learns on from its users' own rewards.

    Paper: https://arxiv.org/abs/2501.13816, Algorithm 2. Made with :meth:`from_pretrained`.
    ``scheme="ft"`` (``SASRecPolicy``) goes on training the pre-trained weights. ``scheme="ap"``
    (``MixturePolicy``) keeps them frozen and mixes them with a learning policy whose share alpha
    rises to 1, so that the first users meet the pre-trained policy.

    Args:
        policy: ``"SASRecPolicy"`` or ``"MixturePolicy"``.
        env: an environment of item sessions.
        learning_rate: of Adam (not given; for ``"ap"`` the best of a small search, for ``"ft"``
            within its noise of the best: ``docs/agents.md``).
        alpha_initial: the learner's first share, in (0, 1] (Eq. 14 starts from 0, but at 0 the
            learner gets no gradient). Mixtures only.
        alpha_fraction: share of the training after which alpha is 1, in (0, 1] (not given).
            Mixtures only.
        alpha_schedule: how alpha gets there: ``"linear"``, or ``"step"``, which stays at
            ``alpha_initial`` and then hands over at once (not given). Mixtures only.

    The other arguments are those of :class:`IALP`.

    Alpha never falls. Its schedule spans the steps asked of one call of ``learn``, so it is that of
    the first call that gets it to 1: with ``learn(1000)`` in a loop, the first 1000 steps. To
    spread it over more, ask for all of them in one call, and use callbacks for what happens in
    between.

    Raises:
        ValueError: for alphas out of range, an unknown schedule, and as :class:`IALP`.

    Example:
        >>> import gymnasium as gym
        >>> import recsim_envs
        >>> from ialp_agents import AIALP, IALP
        >>> from recsim_envs.sb3 import BatchedVecEnv
        >>> users = BatchedVecEnv(gym.make_vec("recsim/Coat-v0", num_envs=4))
        >>> IALP("SASRecPolicy", users).save_pretrained("ialp")  # after it has learned, see there
        >>> agent = AIALP.from_pretrained("ialp", users, scheme="ap").learn(80)
        >>> items, _ = agent.predict(users.reset())
        >>> float(agent.policy.alpha)  # the learning policy's share
        1.0
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "SASRecPolicy": SASRecPolicy,
        "MixturePolicy": MixturePolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        alpha_initial: float = 0.1,
        alpha_fraction: float = 0.5,
        alpha_schedule: AlphaSchedule = "linear",
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        check_choice("alpha_schedule", alpha_schedule, get_args(AlphaSchedule))
        for name, value in (("alpha_initial", alpha_initial), ("alpha_fraction", alpha_fraction)):
            if not 0 < value <= 1:
                raise ValueError(
                    f"{name}={value} is out of range: it must be above 0 and at most 1"
                )
        super().__init__(policy, env, learning_rate, _init_setup_model=False, **kwargs)
        self.alpha_initial = alpha_initial
        self.alpha_fraction = alpha_fraction
        self.alpha_schedule = alpha_schedule
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        if isinstance(self.policy, MixturePolicy):
            assert isinstance(self.policy_target, MixturePolicy)
            self.policy.alpha.fill_(self.alpha_initial)
            # One frozen policy and one alpha: only the learner has a lagging copy.
            self.policy_target.frozen = self.policy.frozen
            self.policy_target.alpha = self.policy.alpha

    def _on_step(self) -> None:
        """Moves alpha along its schedule, after each step of the environments."""
        if isinstance(self.policy, MixturePolicy):
            elapsed = 1 - self._current_progress_remaining
            to_go = 1 - min(elapsed / self.alpha_fraction, 1)
            if self.alpha_schedule == "step":
                to_go = float(to_go > 0)
            # Never back: a second call of learn() starts its progress anew, the learner does not.
            alpha = max(float(self.policy.alpha), 1 - to_go * (1 - self.alpha_initial))
            self.policy.alpha.fill_(alpha)
            self.logger.record("rollout/alpha", alpha)

    def _update_target(self, tau: float) -> None:
        if not isinstance(self.policy, MixturePolicy):
            super()._update_target(tau)
            return
        assert isinstance(self.policy_target, MixturePolicy)
        learner, lagging = self.policy.learner, self.policy_target.learner
        polyak_update(learner.parameters(), lagging.parameters(), tau)

    def pretrained(self) -> Pretrained:
        """Returns the learner, see :meth:`IALP.pretrained`.

        Raises:
            ValueError: if the policy is a mixture still.
        """
        if not isinstance(self.policy, MixturePolicy):
            return super().pretrained()
        if self.policy.alpha < 1:
            raise ValueError(
                f"the policy is a mixture with alpha={self.policy.alpha:.3g}, so the learner alone "
                "is not what acts: train until alpha is 1, or keep both with save()"
            )
        return Pretrained.of(self, self.policy.learner)

    def arguments(self) -> dict[str, Any]:
        """Returns IALP's and its own."""
        return super().arguments() | {
            "alpha_initial": self.alpha_initial,
            "alpha_fraction": self.alpha_fraction,
            "alpha_schedule": self.alpha_schedule,
        }

    @classmethod
    def from_pretrained(
        cls: type[SelfAIALP],
        source: str | Path | IALP,
        env: GymEnv,
        scheme: Scheme = "ap",
        beta_init: BetaInit = "pretrained",
        **kwargs: Any,
    ) -> SelfAIALP:
        """Takes the weights that ``IALP.save_pretrained`` wrote to the users of ``env``.

        Args:
            source: the folder; or the agent itself.
            env: an environment of the same catalogue.
            scheme: ``"ft"`` fine-tunes the weights, ``"ap"`` mixes them, frozen, with a learner.
            beta_init: where ap's learner starts: from a copy of the pre-trained weights
                (Algorithm 2) or at random (section 5.4).
            **kwargs: arguments of the constructor, as for :meth:`IALP.from_pretrained`.

        Raises:
            FileNotFoundError: if the folder holds no weights.
            ValueError: for an unknown choice, or weights of another catalogue or made with other
                ``policy_kwargs``.
        """
        check_choice("scheme", scheme, get_args(Scheme))
        check_choice("beta_init", beta_init, get_args(BetaInit))
        if scheme == "ft":
            return super().from_pretrained(source, env, **kwargs)
        saved = pretrained_of(source)
        model = saved.make(cls, "MixturePolicy", env, kwargs)
        assert isinstance(model.policy, MixturePolicy)
        saved.give_to(model.policy.frozen)
        if beta_init == "pretrained":
            saved.give_to(model.policy.learner)
            model._update_target(tau=1.0)
        return model
