"""The stages of a run, in order. A further stage is a file here and its line in `STAGES`.

Stages look at each other's artifacts (`scrcl._contract.Artifact`) and, where they have to, at records. They never look
at each other's folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrcl.engine.stages.associations import AssociationsStage
from scrcl.engine.stages.batches import BatchesStage
from scrcl.engine.stages.cluster import ClusterStage
from scrcl.engine.stages.correct import CorrectStage
from scrcl.engine.stages.doublets import DoubletsStage
from scrcl.engine.stages.embed import EmbedStage
from scrcl.engine.stages.features import FeaturesStage
from scrcl.engine.stages.genes import GenesStage
from scrcl.engine.stages.graph import GraphStage
from scrcl.engine.stages.inputs import InputsStage
from scrcl.engine.stages.links import LinksStage
from scrcl.engine.stages.markers import MarkersStage
from scrcl.engine.stages.names import NamesStage
from scrcl.engine.stages.pseudotime import PseudotimeStage
from scrcl.engine.stages.read import ReadStage
from scrcl.engine.stages.reduce import ReduceStage
from scrcl.engine.stages.report import ReportStage
from scrcl.engine.stages.stats import StatsStage
from scrcl.engine.stages.subclusters import SubclustersStage
from scrcl.engine.stages.tissue import TissueStage
from scrcl.engine.stages.train import TrainStage
from scrcl.engine.stages.umap import UmapStage

if TYPE_CHECKING:
    from scrcl.engine.stage import Stage

__all__ = ["STAGES"]

STAGES: tuple[Stage[Any], ...] = (
    ReadStage(),
    StatsStage(),
    FeaturesStage(),
    ReduceStage(),
    CorrectStage(),
    GraphStage(),
    TissueStage(),
    GenesStage(),
    InputsStage(),
    TrainStage(),
    EmbedStage(),
    UmapStage(),
    DoubletsStage(),
    ClusterStage(),
    BatchesStage(),
    LinksStage(),
    MarkersStage(),
    AssociationsStage(),
    NamesStage(),
    SubclustersStage(),
    PseudotimeStage(),
    ReportStage(),
)
