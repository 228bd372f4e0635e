"""The score of the 2025 echocardiography dehazing challenge: three groups of measures, each 0 to 100.

| group    | weight | measures (0 points -> 100 points)                                          |
| -------- | ------ | -------------------------------------------------------------------------- |
| quality  | 5      | .33 FID (150 -> 60), .33 signed CNR (1 -> 1.5), .34 gCNR (.5 -> .8)        |
| fidelity | 3      | half KS of tissue (.3 -> .1), half KS of the cavity (0 -> .5)              |
| anatomy  | 2      | half Dice (.85 -> .95), half average surface distance (2 -> .7)            |

Each measure is linear between its two ends and clipped outside. KS compares input and output: low in
tissue, high in the hazy cavity. The challenge page words that direction the other way round; its scoring
code uses this one. A high score does not make a good picture: settings tuned to maximise it look worse and
add artefacts, so the score is reported and never optimised.
"""

import math
from typing import NamedTuple

from core.errors import DataError

__all__ = ["ChallengeScore", "challenge_score"]


class ChallengeScore(NamedTuple):
    """Points in [0, 100]: the total and its three groups."""

    total: float
    quality: float
    fidelity: float
    anatomy: float


def challenge_score(
    *,
    fid: float,
    cnr: float,
    gcnr: float,
    ks_tissue: float,
    ks_cavity: float,
    dice: float,
    surface_distance: float,
) -> ChallengeScore:
    """Combine the seven measures: `(5 quality + 3 fidelity + 2 anatomy) / 10`.

    Args:
        fid: Frechet distance of the output's features to those of clean images.
        cnr: signed contrast-to-noise ratio, tissue minus cavity.
        gcnr: of tissue and cavity in the output.
        ks_tissue: input against output, in tissue.
        ks_cavity: input against output, in the cavity.
        dice: of the ventricle outlined in the output, against the reference outline.
        surface_distance: average distance of the two outlines, in pixels.

    Raises:
        DataError: a measure is not finite.
    """
    quality = 0.33 * _points(fid, 150, 60) + 0.33 * _points(cnr, 1, 1.5) + 0.34 * _points(gcnr, 0.5, 0.8)
    fidelity = 0.5 * _points(ks_tissue, 0.3, 0.1) + 0.5 * _points(ks_cavity, 0, 0.5)
    anatomy = 0.5 * _points(dice, 0.85, 0.95) + 0.5 * _points(surface_distance, 2, 0.7)
    return ChallengeScore((5 * quality + 3 * fidelity + 2 * anatomy) / 10, quality, fidelity, anatomy)


def _points(value: float, worst: float, best: float) -> float:
    if not math.isfinite(value):
        raise DataError(f"a challenge measure is {value}; all seven must be finite.")
    return 100 * min(max((value - worst) / (best - worst), 0.0), 1.0)
