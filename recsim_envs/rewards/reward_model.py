"""The learned reward of LFM and Industry: how likely a user is to like an item after a history.

``score(h, a) = <encoder(h), e_a> + <sum_l w_l u_{h_l}, u_a> + b_a``: a SASRec encoder, and beside
it the similarity of the item to those of the history, weighted by how long ago they were (lag l).
The second term follows Fossil (He and McAuley, "Fusing Similarity Models with Markov Chains for
Sparse Sequential Recommendation", ICDM 2016). It is what item-kNN knows and the encoder lacks where
an item has a dozen events: wide vectors ``u`` tell thousands of brands and artists apart, and the
sum costs nothing that a wider Transformer would. Both parts are one inner product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsim_envs.arrays import Float32Array
from recsim_envs.rewards.sasrec import SASRec
from recsim_envs.rewards.sequence import N_HEADS

SIMILARITY_DIM = 256
"""D, the size of the vectors of the similarity term (not given; measured on Industry:
HR@10 0.126, 0.137, 0.145 and 0.137 with 64, 128, 256 and 512)."""


class SequenceRewardModel(nn.Module):
    """Scores items after a history: ``sigmoid(score)`` is the probability of a positive response.

    Args:
        n_items: catalogue size.
        history_length: H, the longest history (not given; the longest session is 12 steps).
        embedding_dim: d of the encoder (not given).
        similarity_dim: D, of the similarity term's vectors.
    """

    def __init__(
        self,
        n_items: int,
        history_length: int = 12,
        embedding_dim: int = 64,
        similarity_dim: int = SIMILARITY_DIM,
    ) -> None:
        super().__init__()
        self.encoder = SASRec(n_items, history_length, embedding_dim, n_heads=N_HEADS, dropout=0.3)
        self.similarity_embedding = nn.Embedding(n_items + 1, similarity_dim, padding_idx=n_items)
        nn.init.normal_(self.similarity_embedding.weight, std=similarity_dim**-0.5)
        with torch.no_grad():
            self.similarity_embedding.weight[n_items].zero_()
        self.dropout = nn.Dropout(0.3)
        # Starts as "the newer, the more": the lags' weights are learned.
        self.lag_weight = nn.Parameter(0.7 ** torch.arange(history_length))  # (H,), newest first
        self.item_bias = nn.Embedding(n_items + 1, 1, padding_idx=n_items)
        nn.init.zeros_(self.item_bias.weight)

    def start_from(self, features: Float32Array, noise: float = 0.1) -> None:
        """Starts both tables of item vectors from features, such as those of the item texts.

        Args:
            features: (n_items, F), the most informative columns first (as an SVD gives them), each
                row of length about 1. A row of zeros leaves that item's random vectors.
            noise: length of the random vector added to each. Without it a column that is zero for
                all items (a small vocabulary) would have no gradient, and stay so.
        """
        given = torch.from_numpy(features).float()
        known = given.any(dim=1, keepdim=True)  # (n_items, 1)
        with torch.no_grad():
            for embedding in (self.encoder.item_embedding, self.similarity_embedding):
                table = embedding.weight[:-1]  # (n_items, dim): all but padding
                dim = table.shape[1]
                start = F.normalize(F.pad(given[:, :dim], (0, max(0, dim - given.shape[1]))))
                table.copy_(torch.where(known, start + noise * table, table))

    def rescale(self, slope: float, intercept: float) -> None:
        """Makes every score ``slope * score + intercept``, exactly, by rescaling weights."""
        n_items = self.encoder.n_items
        with torch.no_grad():
            for weight in (*self.encoder.norm.parameters(), self.lag_weight, self.item_bias.weight):
                weight.mul_(slope)
            self.item_bias.weight[:n_items] += intercept

    def queries(self, histories: Tensor) -> Tensor:
        """What each prefix of each history asks for: (B, H) to (B, H, d + D)."""
        similar = self.lag_weights(histories) @ self.dropout(self.similarity_embedding(histories))
        return torch.cat([self.encoder(histories), similar], dim=-1)

    def lag_weights(self, histories: Tensor) -> Tensor:
        """How much each item counts for each prefix: (B, H) to (B, prefix H, item H).

        An item counts once, at its newest place: a history that holds one item many times is not
        many times as similar to it.
        """
        place = torch.arange(histories.shape[1])
        lag = place[:, None] - place  # (prefix H, item H), negative = to come
        weight = torch.where(lag >= 0, self.lag_weight[lag.clamp(min=0)], 0.0)
        same = (histories[:, :, None] == histories[:, None, :]) & (lag < 0)  # (B, H, later H)
        again = torch.where(same, place, len(place)).amin(dim=2)  # (B, H), the next place of each
        return torch.where(place[:, None] < again[:, None, :], weight, 0.0)

    def item_vectors(self, items: Tensor) -> Tensor:
        """What the queries are compared with: (...) to (..., d + D)."""
        parts = (self.encoder.item_embedding(items), self.similarity_embedding(items))
        return torch.cat(parts, dim=-1)

    def logits(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of ``items`` (..., K) for ``queries`` (..., d + D): (..., K)."""
        match: Tensor = (self.item_vectors(items) @ queries[..., None]).squeeze(-1)
        bias: Tensor = self.item_bias(items).squeeze(-1)
        return match + bias

    def shared_logits(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores the same ``items`` (K,) for all ``queries`` (P, d + D): (P, K), one product."""
        return F.linear(queries, self.item_vectors(items), self.item_bias(items)[:, 0])
