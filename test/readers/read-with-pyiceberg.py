"""Reads an Iceberg table with PyIceberg and PyArrow, and prints what it finds as JSON.

    python3 test/readers/read-with-pyiceberg.py TABLE FROM TO
"""

import json
import sys

from pyiceberg.table import StaticTable

location, start, end = sys.argv[1:]
table = StaticTable.from_metadata(location)
rows = table.scan().to_arrow()
hours = f"received_at >= '{start.replace(' ', 'T')}+00:00' and received_at < '{end.replace(' ', 'T')}+00:00'"


def count(row_filter):
    return table.scan(row_filter=row_filter).to_arrow().num_rows


print(
    json.dumps(
        {
            "found": {
                "rows": rows.num_rows,
                "messageIds": len(set(rows["message_id"].to_pylist())),
                "pro": count("plan = 'pro'"),
                "amountSum": sum(amount or 0 for amount in rows["amount"].to_pylist()),
                "withoutTime": count("received_at is null"),
                "inHours": count(hours),
            },
            "files": sorted(task.file.file_path for task in table.scan().plan_files()),
            "hourFiles": sorted(task.file.file_path for task in table.scan(row_filter=hours).plan_files()),
            "unknownEventFiles": len(list(table.scan(row_filter="event = 'zzz'").plan_files())),
            "columns": rows.column_names,
            "entries": table.inspect.entries().num_rows,
            "snapshots": table.inspect.snapshots().num_rows,
        }
    )
)
