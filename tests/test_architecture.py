"""The rules of docs/architecture.md that a program can check."""
import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(p for folder in ("minidl", "kernels", "benchmarks", "tests") for p in (ROOT / folder).rglob("*")
               if p.suffix in (".py", ".c", ".h", ".pyx", ".cu"))
LIBRARY = [p for p in FILES if p.parts[len(ROOT.parts)] in ("minidl", "kernels") and p.suffix == ".py"]
FAMILIES = sorted(p.parent for p in ROOT.glob("kernels/*/__init__.py") if not p.parent.name.startswith("_"))

# Each floor may import from its own and from those below it.
FLOORS = [{"_quick", "kernels"}, {"autograd"}, {"ops", "random"}, {"linalg", "fft"},
          {"nn", "optim", "serialization", "func", "plan"}, {"data"}, {"train"},
          {"layers", "models", "callbacks", "keras", "zoo"}, {"cli", "bench", "__main__", "demo"}]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def floor(path):
    """The part of minidl that a file belongs to: 'nn' for minidl/nn/linear.py; None for minidl/__init__.py."""
    parts = path.relative_to(ROOT).parts
    if parts[0] == "kernels":
        return "kernels"
    name = parts[1] if len(parts) > 2 else Path(parts[1]).stem
    return None if name in ("__init__", "_config", "_pure") else name


def imported(path):
    """The parts of minidl that a file imports, wherever in the file."""
    package = ["minidl", *path.relative_to(ROOT / "minidl").parent.parts] if path.is_relative_to(ROOT / "minidl") else \
        ["minidl", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            modules = [module] if module != ["minidl"] else [["minidl", alias.name] for alias in node.names]
        else:
            continue
        for module in modules:
            if module[0] == "minidl" and len(module) > 1:
                yield module[1], node.lineno


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_floors_only(path):
    here = floor(path)
    if here is None:
        return
    assert here in HEIGHT, f"{here} stands on no floor: add it to FLOORS and to docs/architecture.md"
    for name, line in imported(path):
        height = HEIGHT.get(name, 0)  # names such as Tensor come from the floors below
        assert height <= HEIGHT[here], f"line {line}: {here} imports {name}, which stands above it"


def test_no_file_exceeds_500_lines():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 500}
    assert not long


def test_the_simd_header_stays_small():
    assert len((ROOT / "kernels/_native/simd.h").read_text().splitlines()) <= 300


@pytest.mark.parametrize("folder", FAMILIES, ids=lambda p: p.name)
def test_every_kernel_folder_has_a_specification_and_a_reference(folder):
    assert (folder / "reference.py").exists()
    assert "@kernel" in (folder / "__init__.py").read_text() or "kernel(" in (folder / "__init__.py").read_text()
    known = {"__init__.py", "reference.py", "numba_.py", "cuda.py", "__pycache__", f"{folder.name}.cu"}
    assert not {p.name for p in folder.iterdir() if not re.fullmatch(r"native\w*\.c|\w+\.h", p.name)} - known


def test_every_operation_has_a_docstring_and_a_rule_or_a_reason():
    import minidl.linalg  # loads the operations behind it
    import minidl.ops
    count = 0
    for path in (ROOT / "minidl/ops").glob("*.py"):
        module = getattr(minidl.ops, path.stem, None)
        for name, value in vars(module).items() if hasattr(module, "__file__") else ():
            if not hasattr(value, "vjp"):
                continue
            count += 1
            doc = value.__doc__ or ""
            assert len(doc) > 30, f"{name} has no docstring"
            assert value.rule or "derivative" in doc.lower(), f"{name} has no rule and gives no reason"
    assert count > 10


def test_rules_are_named_functions():
    for path in (ROOT / "minidl/ops").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any("vjp" in ast.unparse(d) for d in node.decorator_list):
                assert node.name.endswith("_vjp"), f"{path.name}: {node.name}"


def test_no_signature_is_written_more_than_twice():
    """Long parameter lists repeated at each level are how libraries rot; five names make a signature."""
    seen = Counter()
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.endswith("_vjp"):  # a rule repeats its operation's names
                names = tuple(a.arg for a in node.args.args if a.arg not in ("self", "cls", "p"))
                if len(names) >= 5 and path.name not in ("reference.py", "numba_.py"):
                    seen[names] += 1
    assert not {names: n for names, n in seen.items() if n > 2}


@pytest.mark.parametrize("package", ["minidl", "minidl/nn", "minidl/optim", "minidl/data", "minidl/layers", "minidl/models",
                                     "minidl/callbacks", "minidl/train", "minidl/zoo"])
def test_public_names_are_one_visible_list(package):
    path = ROOT / package / "__init__.py"
    path = path if path.exists() else ROOT / f"{package}.py"
    assert re.search(r"^__all__ = ", path.read_text(), re.M), f"{package} has no __all__"


def test_kernels_are_imported_as_part_of_minidl_only():
    for path in FILES:
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    assert not any(a.name.split(".")[0] == "kernels" for a in node.names), path
                if isinstance(node, ast.ImportFrom) and not node.level:
                    assert (node.module or "").split(".")[0] != "kernels", path


def test_nothing_that_loads_a_file_can_run_code():
    for path in LIBRARY:
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (pickle|marshal|shelve|joblib|dill)\b", text, re.M), path
        assert "allow_pickle=True" not in text, path
        assert not re.search(r"(?<![\w.])(?<!def )(eval|exec)\(", text), path
