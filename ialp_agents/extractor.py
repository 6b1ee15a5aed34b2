"""The SASRec encoder as a Stable-Baselines3 features extractor: one encoder for every agent."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.linalg import helmert
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from recsim_envs.rewards.sasrec import SASRec

KEYS = {"history", "user", "shown"}


class SASRecExtractor(BaseFeaturesExtractor):
    """Encodes a session (and its user, where the environment names one) as d features.

    With SB3's own agents, pass ``net_arch=[]`` so that the head stands directly on the encoder::

        policy_kwargs = dict(features_extractor_class=SASRecExtractor, net_arch=[])
        DQN("MlpPolicy", env, policy_kwargs=policy_kwargs)  # "MultiInputPolicy" for Dict

    Args:
        observation_space: ``Box(0, n_items, (H,))`` of item ids, left-padded with ``n_items``,
            newest last; or a ``Dict`` with it as ``history``, and optionally ``user``
            (``Discrete(n_users)``), whose learned vector is added to the encoded session, and
            ``shown``, the latest offers, which the encoder leaves to others: of items that were
            refused it learns nothing.
        embedding_dim: d, also ``features_dim`` (not given in the paper; HAC's is 32, SASRec's 50).
        n_layers: attention blocks (not given; SASRec's 2).
        n_heads: heads a block; divides ``embedding_dim`` (not given).
        dropout: dropout rate while training (not given; 0, as in SB3's networks: noise in the
            critic is noise in the actor's weights).
        item_features: (n_items, f) description of the items, such as ``text_features(dataset)``.
            The encoding then *starts* as the features of the newest item and the session's mean:
            the item vectors as their ``embedding_dim - 1`` principal components, attention even. A
            policy of this package on it starts as a recommender of what is most like that. All of
            it stays learnable. (Not given; the paper's agents start at random.)

    Raises:
        ValueError: if the space is not one of the two forms, or ``item_features`` has another
            number of rows than the catalogue; in ``forward``, for histories that hold no item ids
            (``VecNormalize`` scales them without a word in the space), or are not padded on the
            left (``VecFrameStack``).
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        embedding_dim: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.0,
        item_features: NDArray[np.floating] | None = None,
    ) -> None:
        super().__init__(observation_space, embedding_dim)
        history, n_users = read_space(observation_space)
        self.n_items = int(history.high.max())
        self.n_users = n_users
        self.history_length = history.shape[0]
        self.architecture = {
            "embedding_dim": embedding_dim,
            "n_layers": n_layers,
            "n_heads": n_heads,
            "dropout": dropout,
        }
        self.sasrec = SASRec(
            self.n_items, self.history_length, embedding_dim, n_layers, n_heads, dropout
        )
        self.user_embedding = nn.Embedding(n_users, embedding_dim) if n_users else None
        if self.user_embedding is not None:
            nn.init.normal_(self.user_embedding.weight, std=embedding_dim**-0.5)
        self.starts_from_features = item_features is not None
        if item_features is not None:
            self._start_from(item_features)

    @property
    def item_vectors(self) -> Tensor:
        """The learned item vectors, (n_items, d)."""
        return self.sasrec.item_embedding.weight[: self.n_items]

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Encodes what SB3's preprocessing made of the observations.

        Args:
            observations: (B, H) item ids, as floats (exact up to 16.7 million items); or a dict
                with those as ``history`` and, where there are users, ``user``, one-hot:
                (B, n_users), or (B, 1, n_users) from a buffer.

        Returns:
            (B, d) features.
        """
        history = observations["history"] if isinstance(observations, dict) else observations
        is_no_id = (history < 0) | (history > self.n_items) | (history != history.floor())  # (B, H)
        is_padding = history == self.n_items  # (B, H)
        is_misplaced = is_padding[:, 1:] & ~is_padding[:, :-1]
        if is_no_id.any() | is_misplaced.any():  # one read of a GPU's memory, not two
            self._refuse(history[is_no_id])
        encoded: Tensor = self.sasrec.encode(history)  # (B, d)
        if self.user_embedding is None:
            return encoded
        assert isinstance(observations, dict)
        user = observations["user"].argmax(dim=-1).reshape(-1)  # (B,)
        embedded: Tensor = self.user_embedding(user)  # (B, d)
        return encoded + embedded

    def _refuse(self, no_ids: Tensor) -> NoReturn:
        if len(no_ids):
            raise ValueError(
                f"a history holds {no_ids[0]:.4g}, which is no item id: ids are whole numbers "
                f"0..{self.n_items - 1} ({self.n_items} as padding); with VecNormalize set "
                "norm_obs=False"
            )
        raise ValueError(
            f"a history holds padding ({self.n_items}) to the right of an item: pad on the "
            "left, newest item last, and leave out VecFrameStack (a history is no image: it "
            "holds the session's latest items already)"
        )

    def _start_from(self, item_features: NDArray[np.floating]) -> None:
        if item_features.ndim != 2 or len(item_features) != self.n_items:
            raise ValueError(
                f"item_features has shape {item_features.shape}, but the observation space has "
                f"{self.n_items} items: give one row an item, in the order of the actions"
            )
        vectors = torch.as_tensor(item_features, dtype=torch.float32)
        vectors = vectors - vectors.mean(dim=0)
        n_components = min(self.features_dim - 1, *vectors.shape)
        left, scale, _ = torch.linalg.svd(vectors, full_matrices=False)
        components = left[:, :n_components] * scale[:n_components]  # (n_items, < d)
        # Laid into the plane in which a vector's entries add up to 0: the encoder's last layer
        # takes their mean off, and would turn the vectors otherwise.
        plane = torch.as_tensor(helmert(self.features_dim), dtype=torch.float32)  # (d - 1, d)
        laid = components @ plane[:n_components]  # (n_items, d)
        with torch.no_grad():
            # The random start has rows of length about 1, so these replace it like for like; what
            # remains of it tells apart items whose features are equal.
            self.item_vectors.mul_(0.01).add_(F.normalize(laid, dim=1))
        self.sasrec.average()


def read_space(space: spaces.Space[Any]) -> tuple[spaces.Box, int]:
    """Returns the history's space and the number of users (0: the observation names none).

    Raises:
        ValueError: if it is not a session of items.
    """
    history, n_users = space, 0
    if isinstance(space, spaces.Dict) and {"history"} <= set(space.spaces) <= KEYS:
        history = space["history"]
        if "user" in space.spaces:
            user = space["user"]
            n_users = int(user.n) if isinstance(user, spaces.Discrete) else -1
    if (
        n_users < 0
        or not isinstance(history, spaces.Box)
        or len(history.shape) != 1
        or not np.issubdtype(history.dtype, np.integer)
    ):
        raise ValueError(
            f"observation_space={space} is not a session of items: it must be "
            "Box(0, n_items, (H,), an integer type), or a Dict of it as history and optionally "
            "user=Discrete(n_users) and shown=Box; item ids can't be scaled, so with VecNormalize "
            "set norm_obs=False"
        )
    return history, n_users
