"""Which galaxies each number of a run uses, and how many they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lenspipe.candidates.area import format_area

__all__ = ["Number", "describe_numbers"]


@dataclass(frozen=True)
class Number:
    """A row of the table "Which galaxies does each number use?".

    Attributes
    ----------
    numbers
        What is measured.
    galaxies
        With which galaxies, in words.
    n_lenses, n_others
        How many; None where they are not divided so, or there are none.
    file
        Below the run's folder.
    """

    numbers: str
    galaxies: str
    n_lenses: int | None
    n_others: int | None
    file: str

    @property
    def counts(self) -> str:
        """The numbers in words, such as ``242 lenses and 1,408 other galaxies``."""
        parts = [f"{self.n_lenses:,} lenses"] if self.n_lenses is not None else []
        parts += [f"{self.n_others:,} other galaxies"] if self.n_others is not None else []
        return " and ".join(parts)


def describe_numbers(documents: Mapping[str, Any]) -> dict[str, Number]:
    """Describe the galaxies behind each number of a run.

    Parameters
    ----------
    documents
        Contents of the JSON documents that the run has, by the key of their product:
        ``summary``, ``threshold``, ``metrics``, ``stamps``, ``model_metrics`` and ``training`` (of
        the model of the search), ``purity``, ``realism``, ``selection``, ``prediction``,
        ``expected``; and ``recovery``, a list.

    Returns
    -------
    dict
        Key -> row, in the order of the table.
    """
    rows: dict[str, Number] = {}
    add = _Rows(rows, documents)
    add.searched()
    add.sample()
    add.search()
    add.injected()
    for content in documents.get("recovery", ()):
        name = content["catalogue"]
        rows.setdefault("recovery", Number(
            f"recovery of {name}",
            f"systems of the published catalogue, {content['n_entries']:,} entries",
            content["n_systems"], None, f"recovery/{name}.json",
        ))  # fmt: skip
    return rows


@dataclass
class _Rows:
    """Adds rows from the documents that a run has."""

    rows: dict[str, Number]
    documents: Mapping[str, Any]

    def searched(self) -> None:
        summary = self.documents["summary"]
        n_candidates = summary["n_candidates"]
        self.rows["searched"] = Number(
            "galaxies searched, candidates, checks of drift and duplicates",
            f"all {summary['n_galaxies']:,} galaxies with a cutout, of which {n_candidates:,} "
            "systems are candidates",
            None, None, "summary.json",
        )  # fmt: skip

    def sample(self) -> None:
        if training := self.documents.get("training"):
            counts = training.get("counts", {})
            train = counts.get("train", {})
            self.rows["trained"] = Number(
                "training of the network",
                "labelled sample, bricks of the training split: lenses of the catalogues, random "
                "and confusing non-lenses",
                train.get("lens"), train.get("other"),
                f"models/{training['name']}/training.json",
            )  # fmt: skip
        if metrics := self.documents.get("model_metrics"):
            split = next((s for s in ("test", "validation") if f"{s}_n_lenses" in metrics), "")
            if split:
                self.rows["model"] = Number(
                    "metrics and figures of the network",
                    f"labelled sample, bricks of the {split} split: lenses of the catalogues, "
                    "random and confusing non-lenses",
                    metrics[f"{split}_n_lenses"], metrics[f"{split}_n_nonlenses"],
                    f"models/{metrics['name']}/metrics.json",
                )  # fmt: skip
        threshold = self.documents["threshold"]
        if threshold["measured_on"]:
            expected = threshold["expected"]
            self.rows["forecast"] = Number(
                "expected completeness and purity of the candidates",
                "the same lenses; of other galaxies only random ones, as confusing ones are more "
                "frequent in the sample than on the sky: those of the search in bricks never "
                "trained on, where these are known",
                expected["n_lenses"], expected["n_nonlenses"], "candidates/threshold.json",
            )  # fmt: skip

    def search(self) -> None:
        if metrics := self.documents.get("metrics"):
            visible = metrics.get("n_visible_lenses")
            by_truth = metrics["judged_by"] == "truth"
            self.rows["search"] = Number(
                "evaluation of the search: ROC curve, completeness, scores",
                "all galaxies of the bricks never trained on, by the truth of the simulated "
                f"sky; {visible:,} of the lenses are visible"
                if by_truth and visible is not None
                else "labelled galaxies of the bricks never trained on",
                metrics["n_lenses"], metrics["n_nonlenses"], "evaluation/metrics.json",
            )  # fmt: skip
        if stamps := self.documents.get("stamps"):
            self.rows["stamps"] = Number(
                "evaluation on simulated stamps",
                "visible lenses and other galaxies that are simulated without bricks",
                stamps["n_lenses"], stamps["n_nonlenses"], "evaluation/stamps.json",
            )  # fmt: skip
        if purity := self.documents.get("purity"):
            left_out = sum(purity["left_out"].values())
            self.rows["random"] = Number(
                "false-positive rate and purity of the search; check for leaks of depth",
                f"{purity['n_searched']:,} galaxies searched without those that are no random "
                f"galaxies ({left_out:,}: near known lenses, trained on, flagged, ...)",
                None, purity["n_random"], "purity/purity.json",
            )  # fmt: skip

    def injected(self) -> None:
        if realism := self.documents.get("realism"):
            self.rows["realism"] = Number(
                "realism of injected lenses",
                f"{realism['n_real']:,} lenses of the catalogues in bricks never trained on"
                if not realism["trained_on"]
                else f"{realism['n_real']:,} lenses of the catalogues, some of them trained on",
                realism["n_real"], None, "selection/realism.json",
            )  # fmt: skip
        if selection := self.documents.get("selection"):
            self.rows["injected"] = Number(
                "selection function",
                "lenses injected into galaxies never trained on, uniformly in Einstein "
                f"radius and brightness; {selection['n_found']:,} of them found",
                selection["n_painted"], None, "selection/selection.json",
            )  # fmt: skip
        if prediction := self.documents.get("prediction"):
            self.rows["planted"] = Number(
                "test of the selection function",
                "all lenses of the simulated sky in bricks never trained on",
                prediction["n"], None, "selection/prediction.json",
            )  # fmt: skip
        if expected := self.documents.get("expected"):
            self.rows["expected"] = Number(
                "expected and found numbers of lenses",
                f"{expected['population']}, {format_area(expected['area_deg2'])}"
                + (
                    f", {expected['n_bricks']} bricks never trained on"
                    if expected.get("n_bricks")
                    else ""
                ),
                None, None, "expected/expected.json",
            )  # fmt: skip
