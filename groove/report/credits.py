"""A picture of what LPG's push is made of."""

from collections.abc import Sequence

import numpy as np

from groove.lifetime.credit import Credit
from groove.report.figures import GREY, INK, Picture, canvases, colour, finished

CREDITS = (
    "Left: what a reward adds to the push pi_hat on the action that came k steps before it in the same episode, the mean "
    "slope over the steps of fixed rollouts; dashed grey, what GAE would add, scaled to the first age's own k = 0. "
    "Right: the push of single steps against their advantage by GAE, of a critic that learned beside the agents; r is "
    "their correlation over all steps. The same agents, halfway through their lives, and the same rollouts at every age "
    "n/N of a life of "
)

TITLES = (
    ("credit for a reward k steps later", "k, in steps", "d pi_hat / d reward"),
    ("push and advantage", "advantage by GAE", "pi_hat"),
)
"""Of the two charts: title, horizontal and vertical axis."""


def picture(family: str, row: Credit, index: int, told: Sequence[str] = ()) -> Picture:
    """The profile of credit, and pushes against advantages, at each age.

    Args:
        family: Its name.
        row: What was measured.
        index: Of the family, for its colour.
        told: Sentences on which lives the rule was trained on.
    """
    figure, (left, right) = canvases(6.4, 3.2, 1, 2)
    figure.suptitle(family, x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    steps = np.arange(row.profile.shape[1])
    left.axhline(0, color=GREY, linewidth=0.6)
    right.axhline(0, color=GREY, linewidth=0.6)
    for place, age in enumerate(row.age):
        ink, pale = colour(index), 0.3 + 0.7 * place / max(1, row.age.size - 1)
        left.plot(steps, row.profile[place], linewidth=1.6, label=f"n/N = {age:.2g}", color=ink, alpha=pale)
        right.plot(row.advantage, row.push[place], ".", markersize=3, markeredgewidth=0, color=ink, alpha=pale)
    left.plot(steps, row.profile[0, 0] * row.decay**steps, color=GREY, linewidth=1.2, linestyle="--", label="GAE")
    for axes, (title, across, up) in zip((left, right), TITLES, strict=True):
        axes.set_title(title, fontsize=8.5, loc="left", color=INK)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7.5, frameon=False)
    ages = list(zip(row.age, row.correlation, row.profile, strict=True))
    said = "; ".join(f"n/N = {age:.2g}: {_half(profile)}, r = {r:.2f}" for age, r, profile in ages)
    caption = f"{CREDITS}{row.lifetime} updates: {', '.join(f'r = {r:.2f} at {age:.2g}' for age, r, _ in ages)}."
    return Picture(
        f"credit-{family}", finished(figure), f"What LPG's push on {family} is made of. {said}.", " ".join([caption, *told])
    )


def _half(profile: np.ndarray) -> str:
    """In words, how far credit reaches: the steps after which half of what k = 0 has is left."""
    below = np.flatnonzero(np.abs(profile) < abs(profile[0]) / 2)
    return f"half of a reward's credit is gone after {below[0]} steps" if below.size else "credit does not halve"
