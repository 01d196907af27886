"""Methods that a reader of the field looks for and that are not here yet, with what is missing for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planned:
    """A method that is not implemented: where it was published, and what is missing for it."""

    paper: str
    year: int
    missing: str


PLANNED: dict[str, Planned] = {
    "agmh": Planned(
        "Attributes Grouping and Mining Hashing for Fine-Grained Image Retrieval (AAAI)", 2023,
        "a near-official code exists; its grouping and its stages of training are still to be read",
    ),
    "chn": Planned(
        "title not at hand (CHN of DSH_Analysis)", 2023,
        "only a re-implementation is at hand; which paper it follows is not settled",
    ),
    "cmbh": Planned(
        "Characteristics Matching Based Hash Codes Generation for Efficient Fine-Grained Retrieval (CVPR)",
        2024, "no code at hand; its matching losses are known from the abstract alone",
    ),
    "cnet": Planned(
        "title not at hand (FG-CNET)", 2022,
        "official code exists without a licence; its weights between the cascades are still to be read",
    ),
    "concepthash": Planned(
        "ConceptHash: Interpretable Fine-Grained Hashing via Concept Discovery (CVPR workshops)", 2024,
        "needs a vision transformer with prompt tokens and a text encoder; the published code lacks modules",
    ),
    "dahnet": Planned(
        "title not at hand (DAHNet of DSH_Analysis)", 2023,
        "only a re-implementation is at hand; its weights of the attention terms are still to be read",
    ),
    "mdsh": Planned(
        "Deep Hashing with Minimal-Distance-Separated Hash Centers (CVPR)", 2023,
        "its search for the centres; hyp2 and csq cover the two ideas around it",
    ),
    "queryopt": Planned(
        "title not at hand (QueryOpt)", 2025,
        "official code exists without a licence; the paper is not at hand",
    ),
}  # fmt: skip
