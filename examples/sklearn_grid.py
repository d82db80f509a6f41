"""Which source and which layer? Asked with scikit-learn's own search.

Every picture goes through every encoder once, however many folds and layers are tried.

Run: python examples/sklearn_grid.py photos/       (photos/CLASS/*.jpg)
"""

import sys
from pathlib import Path

from sklearn.model_selection import GridSearchCV

from retarget.estimators import TransferClassifier

pictures = sorted(path for path in Path(sys.argv[1]).glob("*/*") if path.is_file())
labels = [path.parent.name for path in pictures]

search = GridSearchCV(
    TransferClassifier(),
    param_grid={
        "source": ["bundled:efficientnet-lite0", "bundled:efficientnet-lite1"],
        "layer": ["last", "all"],
    },
    cv=3,
)
search.fit(pictures, labels)
print(f"{search.best_params_}: {search.best_score_:.1%} of {len(pictures)} right in 3 folds")
