"""The SASRec encoder, shared by the reward model and the agents.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018), with three
deliberate differences: pre-norm blocks (stable without warm-up), GELU, and positions counted from
the start of the session instead of from its end. The last one makes training and acting see the
same inputs: an item at session position t carries position t in both, whatever the padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttentionBlock(nn.Module):
    """One pre-norm Transformer block: masked self-attention, then a pointwise feed-forward net."""

    def __init__(self, embedding_dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.query_key_value = nn.Linear(embedding_dim, 3 * embedding_dim)
        self.project = nn.Linear(embedding_dim, embedding_dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(embedding_dim),
            nn.Linear(embedding_dim, embedding_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(embedding_dim, embedding_dim),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maps each position, or only the last few, to what it makes of those before it.

        Args:
            x: (B, H, d).
            mask: (B, 1, L, H), True = may attend; its L <= H rows are the last positions.

        Returns:
            (B, L, d).
        """
        batch, length, dim = x.shape
        n_last = mask.shape[2]
        normed = self.attention_norm(x)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = F.linear(normed[:, -n_last:], weight[:dim], bias[:dim])  # (B, L, d)
        key_value = F.linear(normed, weight[dim:], bias[dim:])  # (B, H, 2d)
        head_dim = dim // self.n_heads
        query = query.view(batch, n_last, self.n_heads, head_dim).transpose(1, 2)
        key_value = key_value.view(batch, length, 2, self.n_heads, head_dim)
        key, value = key_value.permute(2, 0, 3, 1, 4)  # each (B, heads, H, d / heads)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        attended = attended.transpose(1, 2).reshape(batch, n_last, dim)  # (B, L, d)
        x = x[:, -n_last:] + F.dropout(self.project(attended), self.dropout, self.training)
        out: Tensor = x + self.feed_forward(x)
        return out

    def silence(self) -> None:
        """Makes the block return what it is given, until it learns something better."""
        for layer in (self.project, self.feed_forward[4]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def average(self) -> None:
        """Makes the block add the mean of the positions it sees, each of length 1."""
        self.silence()
        dim = self.project.in_features
        nn.init.zeros_(self.query_key_value.weight[:dim])  # no query prefers a key
        nn.init.zeros_(self.query_key_value.bias)
        nn.init.eye_(self.query_key_value.weight[2 * dim :])  # the value is the normalised position
        nn.init.eye_(self.project.weight).mul_(dim**-0.5)


class SASRec(nn.Module):
    """Causal self-attention over a session's items.

    The id ``n_items`` is padding: it stands on the left and is never attended to. A history that
    is padding only (a user's first step) has a well-defined encoding, the same for every such user.

    Args:
        n_items: catalogue size; item ids are ``0..n_items-1`` and ``n_items`` is padding.
        history_length: H, the longest history; older items are the caller's to drop.
        embedding_dim: d (64: the paper's embedding size is not given; HAC's is 32, SASRec's 50).
        n_layers: number of attention blocks (not given; SASRec's 2).
        n_heads: heads a block; must divide ``embedding_dim`` (not given).
        dropout: dropout rate (not given).

    Raises:
        ValueError: if ``n_heads`` does not divide ``embedding_dim``.
    """

    causal: Tensor

    def __init__(
        self,
        n_items: int,
        history_length: int = 12,
        embedding_dim: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if embedding_dim % n_heads:
            raise ValueError(
                f"n_heads={n_heads} does not divide embedding_dim={embedding_dim}: "
                "choose a divisor, for example n_heads=1"
            )
        self.n_items = n_items
        self.history_length = history_length
        self.embedding_dim = embedding_dim
        self.dropout = nn.Dropout(dropout)
        self.item_embedding = nn.Embedding(n_items + 1, embedding_dim, padding_idx=n_items)
        self.position_embedding = nn.Embedding(history_length, embedding_dim)
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(embedding_dim, n_heads, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(embedding_dim)
        for embedding in (self.item_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=embedding_dim**-0.5)
        with torch.no_grad():
            self.item_embedding.weight[n_items].zero_()
        causal = torch.ones(history_length, history_length, dtype=torch.bool).tril()
        self.register_buffer("causal", causal, persistent=False)

    def forward(self, history: Tensor) -> Tensor:
        """Encodes every prefix of each history.

        Args:
            history: (B, H) integer item ids, left-padded with ``n_items``, newest last.

        Returns:
            (B, H, d); position t encodes the items up to and including t.
        """
        return self._encode(history, n_last=history.shape[1])

    def encode(self, history: Tensor) -> Tensor:
        """Returns the encoding (B, d) of each whole history (B, H)."""
        # Nothing reads the last block's other positions: a third less work.
        return self._encode(history, n_last=1)[:, 0]

    @torch.no_grad()
    def average(self) -> None:
        """Makes the encoding the newest item's vector and the mean of all, until it learns more.

        The item vectors are taken to have length 1; positions become a hundredth as long.
        """
        *blocks, last = self.blocks
        for block in blocks:
            assert isinstance(block, SelfAttentionBlock)
            block.silence()
        assert isinstance(last, SelfAttentionBlock)
        last.average()
        self.position_embedding.weight.mul_(0.01)

    def _encode(self, history: Tensor, n_last: int) -> Tensor:
        history = history.long()
        real = history != self.n_items  # (B, H)
        position = (real.cumsum(dim=1) - 1).clamp(min=0)  # (B, H)
        x = self.dropout(self.item_embedding(history) + self.position_embedding(position))
        # A row without any True would be NaN in the softmax, so each position may see itself.
        itself = torch.eye(history.shape[1], dtype=torch.bool, device=history.device)
        mask = ((self.causal & real[:, None, :]) | itself)[:, None]  # (B, 1, H, H)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, mask)
        encoded: Tensor = self.norm(last(x, mask[:, :, -n_last:]))  # (B, n_last, d)
        return encoded
