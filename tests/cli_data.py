"""Rows for the tests of the command line: three labels whose names are anything but harmless."""

import pandas as pd

from course_utils.data import take_per_label

LABELS = {"billing": "7", "delivery": "../../<script>alert(1)</script>", "fault": "=SUM(A1)"}
COLUMNS = ["--text-column", "message", "--label-column", "queue"]


def make_rows(splits, count: int = 14) -> pd.DataFrame:
    rows = take_per_label(splits["train"][splits["train"]["label"].isin(list(LABELS))], count)
    rows = pd.DataFrame({"message": rows["text"], "queue": rows["label"].map(LABELS)})
    rows.iloc[0, 0] = "=1+1 is a formula, and <b>this</b> is bold. " + rows.iloc[0, 0]
    return rows
