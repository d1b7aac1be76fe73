"""Trains small models of tables, and keeps what the frameworks themselves say for four rows of them."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import skops.io
import xgboost as xgb
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
X, y = load_iris(return_X_y=True)
names = np.array(["setosa", "versicolor", "virginica"])[y]
B, yes = load_breast_cancer(return_X_y=True)
picks = [0, 60, 120, 149]
rows = X[picks]
missing = rows.copy()
missing[1, 2] = np.nan
expected: dict[str, dict[str, Any]] = {}


def own_step(values: Any) -> Any:
    """Somebody's own code in a pipeline."""
    return values


def keep(name: str, **outputs: Any) -> None:
    """Write down what a framework answers."""
    expected[name] = {key: np.asarray(value).tolist() for key, value in outputs.items()}


pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
skops.io.dump(pipeline, folder / "pipeline.skops")
keep("pipeline.skops", label=pipeline.predict(rows), probabilities=pipeline.predict_proba(rows))
forest = RandomForestClassifier(10, n_jobs=2, random_state=0).fit(X, names)
skops.io.dump(forest, folder / "forest.skops")
keep("forest.skops", label=forest.predict(rows), probabilities=forest.predict_proba(rows))
hist = HistGradientBoostingClassifier(max_iter=5).fit(X, y)
skops.io.dump(hist, folder / "hist.skops")
keep("hist.skops", label=hist.predict(missing), probabilities=hist.predict_proba(missing))
linear = LinearRegression().fit(X, X[:, :2])
skops.io.dump(linear, folder / "linear.skops")
keep("linear.skops", value=linear.predict(rows))
vectors = LinearSVC().fit(X, y)
skops.io.dump(vectors, folder / "vectors.skops")
keep("vectors.skops", label=vectors.predict(rows), score=vectors.decision_function(rows))
groups = KMeans(3, random_state=0).fit(X)
skops.io.dump(groups, folder / "groups.skops")
keep("groups.skops", label=groups.predict(rows))
skops.io.dump(StandardScaler().fit(X), folder / "scaler.skops")
keep("scaler.skops", transformed=StandardScaler().fit(X).transform(rows))
skops.io.dump(
    make_pipeline(FunctionTransformer(own_step), LogisticRegression()).fit(X, y), folder / "own.skops"
)
skops.io.dump({"weights": X}, folder / "nothing.skops")
(folder / "pickled.pkl").write_bytes(pickle.dumps(pipeline))

table = pd.DataFrame({"age": [20.0, 30, 40, 50], "city": ["Bern", "Rom", "Rom", "Oslo"]})
columns = ColumnTransformer(
    [("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough"
)
named = pd.DataFrame(X, columns=["a", "b", "c", "d"])
framed = make_pipeline(StandardScaler(), LogisticRegression()).fit(named, y)
skops.io.dump(framed, folder / "framed.skops")
keep(
    "framed.skops",
    label=framed.predict(named.iloc[picks]),
    probabilities=framed.predict_proba(named.iloc[picks]),
)
choose = ColumnTransformer([("some", StandardScaler(), ["d", "a"])])
chosen = make_pipeline(choose, LogisticRegression()).fit(named, y)
skops.io.dump(chosen, folder / "chosen.skops")
keep(
    "chosen.skops",
    label=chosen.predict(named.iloc[picks]),
    probabilities=chosen.predict_proba(named.iloc[picks]),
)
mixed = make_pipeline(columns, LogisticRegression()).fit(table, [0, 0, 1, 1])
skops.io.dump(mixed, folder / "mixed.skops")
keep("mixed.skops", label=mixed.predict(table), probabilities=mixed.predict_proba(table))

several = xgb.XGBClassifier(n_estimators=8, n_jobs=1).fit(X, y)
for name in ("several.json", "several.ubj"):
    several.save_model(folder / name)
    keep(name, label=several.predict(missing), probabilities=several.predict_proba(missing))
binary = xgb.XGBClassifier(n_estimators=8, n_jobs=1).fit(B, yes)
binary.save_model(folder / "binary.json")
keep("binary.json", label=binary.predict(B[:4]), probabilities=binary.predict_proba(B[:4]))
stopped = xgb.XGBRegressor(n_estimators=60, early_stopping_rounds=2, n_jobs=1)
stopped.fit(X[::2, :3], X[::2, 3], eval_set=[(X[1::2, :3], X[1::2, 3])], verbose=False)
stopped.save_model(folder / "stopped.json")
assert stopped.best_iteration < stopped.get_booster().num_boosted_rounds() - 1
keep("stopped.json", value=stopped.predict(rows[:, :3]))
flat = xgb.XGBRegressor(booster="gblinear", n_estimators=5, n_jobs=1).fit(X[:, :3], X[:, 3])
flat.save_model(folder / "flat.json")
keep("flat.json", value=flat.predict(rows[:, :3]))
frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
called = xgb.XGBClassifier(n_estimators=8, n_jobs=1).fit(frame, y)
called.save_model(folder / "called.json")
keep(
    "called.json",
    label=called.predict(frame.iloc[[0, 60]]),
    probabilities=called.predict_proba(frame.iloc[[0, 60]]),
)

three = lgb.LGBMClassifier(n_estimators=8, verbose=-1).fit(X, y)
three.booster_.save_model(folder / "three.txt")
keep("three.txt", label=three.predict(missing), probabilities=three.predict_proba(missing))
two = lgb.LGBMClassifier(n_estimators=8, verbose=-1).fit(B, yes)
two.booster_.save_model(folder / "two.txt")
keep("two.txt", label=two.predict(B[:4]), probabilities=two.predict_proba(B[:4]))
number = lgb.LGBMRegressor(n_estimators=8, verbose=-1).fit(X[:, :3], X[:, 3])
number.booster_.save_model(folder / "number.txt")
keep("number.txt", value=number.predict(rows[:, :3]))

inputs = {"rows": rows, "missing": missing, "wide": B[:4], "narrow": rows[:, :3]}
told = {key: value.tolist() for key, value in inputs.items()}
(folder / "expected.json").write_text(json.dumps({"outputs": expected, "inputs": told}))
