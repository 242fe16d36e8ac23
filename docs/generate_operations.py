"""Write docs/operations-lambda.md: which of Lambda's operations are built.

    python docs/generate_operations.py

What is built is read from the source, from the tables in the methods `handlers` and `service`; nothing is run. The names of all
operations come from botocore's model. tests/unit/test_docs.py fails when the page is not what this would write.
"""

import ast
import re
from collections.abc import Collection
from pathlib import Path

HERE = Path(__file__).parent
SERVICES = HERE.parent / "src" / "lambdad" / "services"
PAGE = HERE / "operations-lambda.md"

_REMARKS = {
    "AddPermission": "asked when another service invokes; callers with an access key are not refused by it yet",
    "CreateFunction": "code as ZipFile; see [limits and differences](limits-and-differences.md)",
    "GetFunctionCodeSigningConfig": "always empty: there is no code signing",
    "GetFunctionRecursionConfig": "always Terminate, which is AWS's default; loops are not detected yet",
    "GetRuntimeManagementConfig": "always Auto: the machine's interpreter is what runs",
    "Invoke": "RequestResponse, Event and DryRun; see [invoking](invoke.md)",
    "InvokeAsync": "AWS's older form of an Event invoke, 256 KB",
    "ListTags": "of functions; no other resource that has tags is built",
    "PublishLayerVersion": "content as ZipFile",
    "PutResourcePolicy": "as AddPermission",
    "TagResource": "functions only",
    "UntagResource": "functions only",
    "UpdateFunctionCode": "ZipFile and DryRun",
}
_HEAD = """\
# Lambda's operations

Written by `python docs/generate_operations.py`. Do not edit.

{built} of AWS Lambda's {all} operations are built. The others answer HTTP 501 with the error `NotImplementedException`, whose message
names the operation.

| operation | built | remarks |
|---|---|---|
"""


def built(service_folder: str) -> frozenset[str]:
    """Return the names of the operations that a service's folder has handlers for, e.g. built("lambda_")."""
    names: set[str] = set()
    for path in (SERVICES / service_folder).glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef) and function.name in ("handlers", "service"):
                tables = [node for node in ast.walk(function) if isinstance(node, ast.Dict)]
                names |= {str(key.value) for table in tables for key in table.keys if isinstance(key, ast.Constant)}
    return frozenset(names)


def render(names: Collection[str]) -> str:
    """Return the page for a model with these operations."""
    there = built("lambda_")
    rows = [f"| {name} | {'yes' if name in there else 'no'} | {_REMARKS.get(name, '')} |\n" for name in sorted(names)]
    return _HEAD.format(built=len(there), all=len(names)) + "".join(rows)


def names_on(page: str) -> list[str]:
    """Return the operations that a rendered page lists."""
    return re.findall(r"^\| ([A-Z]\w+) \| (?:yes|no) \|", page, re.MULTILINE)


if __name__ == "__main__":
    import botocore.session

    model = botocore.session.get_session().get_service_model("lambda")
    PAGE.write_text(render(model.operation_names), encoding="utf-8")
