"""In Great Expectations' own environment: make a suite and data, and say what the library thinks of them."""

import json
import sys
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

folder = Path(sys.argv[1])
rows = 200
data = {
    "cid": pa.array(list(range(1, rows + 1)), pa.int64()),
    "email": pa.array(
        [None if i % 10 == 0 else "bad" if i % 25 == 3 else f"u{i}@x.org" for i in range(rows)], pa.string()
    ),
    "state": pa.array([["open", "closed", "lost"][i % 3] for i in range(rows)], pa.string()),
    "amount": pa.array([i / 2 for i in range(rows)], pa.float64()),
    "nothing": pa.array([None] * rows, pa.string()),
    "a": pa.array([i // 20 for i in range(rows)], pa.int64()),
    "b": pa.array([i % 20 for i in range(rows)], pa.int64()),
}
table = pa.table(data)
(folder / "data" / "customers").mkdir(parents=True)
pq.write_table(table, folder / "data" / "customers" / "part-0.parquet")
frame = table.to_pandas()

expectations = [
    gxe.ExpectColumnValuesToNotBeNull(column="cid"),
    gxe.ExpectColumnValuesToNotBeNull(column="email"),
    gxe.ExpectColumnValuesToNotBeNull(column="email", mostly=0.9),
    gxe.ExpectColumnValuesToNotBeNull(column="email", mostly=0.95),
    gxe.ExpectColumnValuesToBeNull(column="nothing"),
    gxe.ExpectColumnValuesToBeNull(column="email"),
    gxe.ExpectColumnValuesToBeUnique(column="cid"),
    gxe.ExpectColumnValuesToBeUnique(column="state"),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["a", "b"]),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["a", "state"]),
    gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["open", "closed", "lost"]),
    gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["open", "closed"]),
    gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["open", "closed"], mostly=0.6),
    gxe.ExpectColumnValuesToNotBeInSet(column="state", value_set=["gone"]),
    gxe.ExpectColumnValuesToNotBeInSet(column="state", value_set=["lost"]),
    gxe.ExpectColumnValuesToMatchRegex(column="email", regex=r".+@.+\..+"),
    gxe.ExpectColumnValuesToMatchRegex(column="email", regex=r".+@.+\..+", mostly=0.9),
    gxe.ExpectColumnValuesToMatchRegex(column="email", regex=r"^[\w\.-]+@[\w\.-]+\.\w+$", mostly=0.5),
    gxe.ExpectColumnValuesToMatchRegex(column="state", regex=r"^(?=open|closed|lost)"),
    gxe.ExpectColumnValuesToNotMatchRegex(column="email", regex="bad"),
    gxe.ExpectColumnValuesToNotMatchRegex(column="state", regex="^x"),
    gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0, max_value=99.5),
    gxe.ExpectColumnValuesToBeBetween(column="amount", min_value=0, max_value=99.5, strict_min=True),
    gxe.ExpectColumnValuesToBeBetween(column="amount", max_value=50, mostly=0.5),
    gxe.ExpectColumnValueLengthsToBeBetween(column="state", min_value=4, max_value=6),
    gxe.ExpectColumnValueLengthsToBeBetween(column="state", max_value=5),
    gxe.ExpectColumnValueLengthsToEqual(column="state", value=4),
    gxe.ExpectTableRowCountToBeBetween(min_value=100, max_value=300),
    gxe.ExpectTableRowCountToBeBetween(min_value=201),
    gxe.ExpectTableRowCountToEqual(value=200),
    gxe.ExpectColumnToExist(column="email"),
    gxe.ExpectColumnToExist(column="phone"),
    gxe.ExpectTableColumnsToMatchSet(column_set=list(data)),
    gxe.ExpectTableColumnsToMatchSet(column_set=["cid", "email"]),
    gxe.ExpectTableColumnsToMatchSet(column_set=["cid", "email"], exact_match=False),
    gxe.ExpectColumnMinToBeBetween(column="amount", min_value=0, max_value=1),
    gxe.ExpectColumnMaxToBeBetween(column="amount", min_value=100),
    gxe.ExpectColumnMeanToBeBetween(column="amount", min_value=49, max_value=50),
    gxe.ExpectColumnSumToBeBetween(column="amount", max_value=100),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="state", min_value=3, max_value=3),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="state", min_value=4),
    # No form of ours: these go through the library.
    gxe.ExpectColumnMedianToBeBetween(column="amount", min_value=49, max_value=50),
    gxe.ExpectColumnStdevToBeBetween(column="amount", max_value=1),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="cid", column_B="a"),
    gxe.ExpectColumnDistinctValuesToContainSet(column="state", value_set=["open", "gone"]),
]
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
suite = context.suites.add(gx.ExpectationSuite(name="erp_quality", expectations=expectations))
batch = (
    context.data_sources.add_pandas("frame")
    .add_dataframe_asset("customers")
    .add_batch_definition_whole_dataframe("all")
    .get_batch({"dataframe": pd.DataFrame(frame)})
)
verdicts = [[e.expectation_type, bool(batch.validate(e).success)] for e in expectations]
(folder / "erp_quality.json").write_text(json.dumps(suite.to_json_dict()))
(folder / "verdicts.json").write_text(json.dumps(verdicts))
print("passed")
