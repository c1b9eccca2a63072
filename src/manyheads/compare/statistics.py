"""The difference that sharing makes to one task, how sure it is, and Holm's correction over tasks.

One task has S paired seeds; in each, the shared and the single model were scored on the same test set. The estimate is the
mean difference; its variance has two parts, seeds and test set (`bootstrap.py`); the interval and both tests are those of
Student's t with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from manyheads.compare.bootstrap import Variance, drawn_differences, metrics_of, variance
from manyheads.metrics.evidence import Evidence
