"""What every route answers on every example, for an experiment that is asked to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resanalysis.errors import ResanalysisError
from resanalysis.routes.batches import EvaluationData


@dataclass(eq=False)
class Answers:
    """Filled by the experiment that is given one: the scores that its table averages.

    Attributes
    ----------
    data : the examples that were measured.
    values : by name an array (routes, N): ``error``, ``loss``, ``agreement``, ``kl``, ``prediction`` (NaN of an
        output that answers several times an example), ``entropy`` (nats) and, if there is one, ``metric``.
    """

    data: EvaluationData | None = None
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])

    def keep(self, data: EvaluationData, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Called once, with the scores of all routes."""
        if self.data is not None:
            raise ResanalysisError("these answers are of another experiment; give it new ones")
        self.data, self.values = data, dict(values)

    def measured(self) -> Any:
        """The examples.

        Raises
        ------
        ResanalysisError : if nothing was kept.
        """
        if self.data is None:
            raise ResanalysisError("no experiment has kept its answers here: give it answers=…")
        return self.data
