"""Replicas: synthetic data in the shape of the real sets, so that every environment runs at once.

A replica has the counts of the paper's Table 2 and the shape of the public data, but none of its
content: items, names and texts are made up from ``words.toml``. The figures that were matched, for
seed 0 (``python -m tools.replica.shape`` prints them again, and those of any prepared data)::

    LFM                                              real     replica
    items (real: what is public of Table 2's)      12,448      18,297
    sessions; events                      10,947; 146,400    the same
    session length: median, 95%, longest      11, 27, 230    11, 26, 228
    events of the top 1%, 10%, 50% of items    6, 31, 77%   7, 36, 81%
    next track by the same artist                     46%         50%
    an artist of the last 12 tracks                   52%         56%
    next track of the same genre                      52%         56%

    Industry                                         real     replica
    items (real: what is public of Table 2's)       4,385       5,850
    customers; events                       8,442; 59,427    10,170; 71,600
    sequence length: median, 95%, longest        6, 13, 80    6, 12, 86
    events of the top 1%, 10%, 50% of items   10, 37, 77%  10, 37, 76%
    next product of the same brand                    11%         11%
    next product of the same category                 14%         20%
    repeats                                        0.5%        0.5%

    Coat, completed ratings                          real     replica
    users; items; mean rating             290; 300; 2.23    290; 300; 2.26
    distance of two items: 1%, 50%, 75%   5.7, 10.7, 13.1   5.6, 10.7, 13.4
    pairs closer than 6                              1.7%        1.9%

Not matched: Industry's many tiny categories (766; 264 here), and item-kNN's hit rate on LFM, whose
events are spread over half as many items again as in what is public of the real set.
"""

from tools.replica.catalogues import generate_industry, generate_lfm
from tools.replica.coat import generate_coat

__all__ = ["generate_coat", "generate_industry", "generate_lfm"]
