"""What stands on the encoder in every policy: a score for each item of the catalogue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ialp_agents.extractor import SASRecExtractor


class ItemHead(nn.Module):
    """Gives each item a score: the product of a query, made from the state, and the item's vector.

    An untrained head says (almost) the same of every item, as SB3's policy heads do. On an encoder
    that starts from item features it starts instead as the items' likeness to the session.

    Args:
        encoder: the encoder that it will stand on.
        tied: whether the item vectors are the encoder's, so that what is learned of an item as
            history also serves it as candidate; else the head has its own, which start alike.
        likeness: the score of an item that is just like the session, of a head that starts from
            item features. It is the sharpness of an actor's softmax.
    """

    def __init__(self, encoder: SASRecExtractor, tied: bool, likeness: float) -> None:
        super().__init__()
        dim = encoder.features_dim
        self.query = nn.Linear(dim, dim)
        nn.init.zeros_(self.query.bias)
        if encoder.starts_from_features:
            # The encoder's output has length sqrt(dim), the item vectors 1.
            nn.init.eye_(self.query.weight).data.mul_(likeness * dim**-0.5)
        else:
            nn.init.orthogonal_(self.query.weight, gain=0.01)  # SB3's gain for policy heads
        self.own_vectors = None
        if not tied:
            self.own_vectors = nn.Parameter(torch.empty(encoder.n_items, dim))
            nn.init.normal_(self.own_vectors, std=dim**-0.5)
            if encoder.starts_from_features:
                self.own_vectors.data.copy_(encoder.item_vectors)

    def vectors(self, encoder: SASRecExtractor) -> Tensor:
        """The item vectors, (n_items, d)."""
        return encoder.item_vectors if self.own_vectors is None else self.own_vectors

    def scores(self, encoder: SASRecExtractor, features: Tensor) -> Tensor:
        """Scores of all items (B, n_items) for states (B, d)."""
        scores: Tensor = self.query(features) @ self.vectors(encoder).T
        return scores

    def scores_of(self, encoder: SASRecExtractor, features: Tensor, items: Tensor) -> Tensor:
        """Scores of some items (B, m): of their rows alone, without a pass over the catalogue."""
        item = F.embedding(items, self.vectors(encoder))  # (B, m, d)
        scores: Tensor = (item @ self.query(features)[:, :, None])[:, :, 0]
        return scores
